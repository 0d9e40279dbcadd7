"""Policy documents that the tests use, and how answers give them back."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote


def allowing(*actions: str, resource: str = "*") -> str:
    """An identity policy that allows actions."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trusting(principal: Any, action: str = "sts:AssumeRole") -> str:
    """A trust policy: ``trusting({"Service": "ec2.amazonaws.com"})``."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": action}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


EC2 = trusting({"Service": "ec2.amazonaws.com"})


def read(document: Any) -> Any:
    """A document of an answer. boto3 decodes those in structures that it knows; the others are as they came."""
    return document if isinstance(document, dict) else json.loads(unquote(document))
