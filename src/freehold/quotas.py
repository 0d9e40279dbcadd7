"""What an account may hold in a region: the quotas of quotas.csv, with AWS's codes and names.

Every quota of the table is enforced. The defaults are AWS's where those are generous, and larger where they are not;
``[quotas]`` in ``freehold.toml`` changes them, and each account may be given its own (records/quotas.py).
https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import resources

import msgspec

RUNNING_VCPUS = "L-1216C47A"
SPOT_VCPUS = "L-34B43A08"
ELASTIC_IPS = "L-0263D0A3"
IMAGES = "L-B665C33B"
LAUNCH_TEMPLATES = "L-FB451C26"
LAUNCH_TEMPLATE_VERSIONS = "L-142B4294"
SECURITY_GROUPS = "L-E79EC296"
RULES_PER_GROUP = "L-0EA8095F"
GROUPS_PER_INTERFACE = "L-2AFB9258"
SNAPSHOTS = "L-309BACF6"
PROVISIONED_IOPS: Mapping[str, str] = {"io1": "L-B3A130E6", "io2": "L-8D977E7E"}
"""By volume type."""
STORAGE_TIB: Mapping[str, str] = {
    "gp2": "L-D18FCD1D",
    "gp3": "L-7A658B76",
    "io1": "L-FD252861",
    "io2": "L-09BD8365",
    "sc1": "L-17AF77E8",
    "st1": "L-82ACEF56",
    "standard": "L-9CF3C2EB",
}
"""By volume type."""

SERVICES: Mapping[str, str] = {
    "ebs": "Amazon Elastic Block Store (Amazon EBS)",
    "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
    "vpc": "Amazon Virtual Private Cloud (Amazon VPC)",
}
"""The names of the services that have quotas."""


class Quota(msgspec.Struct, frozen=True):
    code: str
    service: str
    name: str
    default: float
    adjustable: bool


def _table() -> dict[str, Quota]:
    lines = (resources.files("freehold") / "quotas.csv").read_text("utf-8").splitlines()
    quotas = [msgspec.convert(row, Quota, strict=False) for row in csv.DictReader(lines)]
    return {quota.code: quota for quota in quotas}


QUOTAS: Mapping[str, Quota] = _table()
"""By code."""


def default(given: Mapping[str, float], code: str) -> float:
    """The value of a quota in an account that has none of its own; `given` is what the configuration says."""
    return given.get(code, QUOTAS[code].default)
