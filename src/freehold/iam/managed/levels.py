"""Which actions read and which list, service by service."""

from __future__ import annotations

from collections.abc import Sequence

READ, LIST = "Read", "List"


def services() -> Sequence[str]:
    """Those that there is data about, as actions name them."""
    return (
        "autoscaling",
        "ce",
        "cloudtrail",
        "cloudwatch",
        "ec2",
        "elasticloadbalancing",
        "iam",
        "kms",
        "logs",
        "rds",
        "s3",
        "sts",
    )


def actions_of_level(service: str, levels: Sequence[str]) -> Sequence[str]:
    """The service's actions of these levels."""
    verbs = ["Describe*", "List*", *(["Get*"] if READ in levels else [])]
    return [f"{service}:{verb}" for verb in verbs]
