"""What operations need is what the Service Authorization Reference says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from freehold.config import Config
from freehold.iam import data
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer
from freehold.services.ec2.default_vpc import open_region
from freehold.services.operation import Call, Needed, Operation, Principal
from tests.cloudapi import ApiServer, api_server
from tests.front.test_walk import BUILT, NAMED, least

# What a request must name for its resources to be known.
ARNS = {
    "OpenIDConnectProviderArn": "oidc-provider/example.com",
    "PolicyArn": "policy/a",
    "PolicySourceArn": "user/a",
    "SerialNumber": "mfa/a",
}
VALUES: Mapping[str, Mapping[str, Any]] = {
    "ec2:RunInstances": {
        "ImageId": "ami-0123456789abcdef0",
        "InstanceType": "t3.nano",
        "Placement": {"AvailabilityZone": "us-east-1a"},  # else what depends on the subnet is known when it is chosen
    },
    "kms:CreateAlias": {"AliasName": "alias/a"},
    "kms:DeleteAlias": {"AliasName": "alias/a"},
    "kms:UpdateAlias": {"AliasName": "alias/a"},
}
# Not before they run, or not from what the request says alone.
OTHERS = {
    "ec2:GetImageAncestry": "it is newer than the reference",
    "iam:GetAccessKeyLastUsed": "whose key it is, is not in the request",
    "iam:GenerateServiceLastAccessedDetails": "any of the four types",
    "iam:ListPoliciesGrantingServiceAccess": "any of the three types",
    "kms:Decrypt": "the key is in the ciphertext",
    "kms:DeleteAlias": "the key is whose alias it is",
    "kms:ReEncrypt": "it is two actions, ReEncryptFrom and ReEncryptTo",
    "kms:RetireGrant": "the key is in the token",
    "sts:AssumeRole": "decided with the code of an MFA device",
    "sts:AssumeRoleWithWebIdentity": "nobody signs it: the role's trust policy decides",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud")) as served:
        with served.store.write() as tx:
            open_region(tx, Config(), served.account_id, "us-east-1")
        yield served


def asked(operation: Operation, account_id: AccountId) -> dict[str, Any]:
    shape = operation.model.input_shape
    params = least(shape) if shape else {}
    params |= NAMED.get(f"{operation.service}.{operation.name}", {})
    for member, path in ARNS.items():
        if member in params and operation.service == "iam":
            params[member] = f"arn:aws:iam::{account_id}:{path}"
    return params | VALUES.get(operation.action, {})


def form(arn: str) -> re.Pattern[str]:
    """``arn:${Partition}:ec2:${Region}:${Account}:vpc/${VpcId}`` as a pattern."""
    return re.compile("[^:]*".join(map(re.escape, re.split(r"\$\{\w+\}", arn))))


@pytest.mark.parametrize("service", BUILT.models)
def test_operations_need_the_resources_of_the_reference(api: ApiServer, service: str) -> None:
    arn = f"arn:aws:iam::{api.account_id}:user/alice"
    alice = Principal(api.account_id, arn, "AIDA", "user", "AKIA", "AIDA", arn)
    missing = {}
    for operation in BUILT.operations.values():
        if operation.service != service or operation.action in OTHERS:
            continue
        prefix, _, name = operation.action.partition(":")
        reference = data.service(prefix)
        with api.store.read() as tx:
            call = Call(
                service, operation.name, alice, "us-east-1", "1", "127.0.0.1", "", Config(), tx, Sealer(b"0" * 32)
            )
            needed = [
                one if isinstance(one, Needed) else Needed(one)
                for one in operation.resources(call, asked(operation, api.account_id))
            ]
        named = {
            kind
            for kind, arn in reference.arns.items()
            for one in needed
            if one.action in ("", operation.action) and form(arn).fullmatch(one.arn)
        }
        required = {kind for kind, use in reference.actions[name].uses.items() if kind and use.required}
        if not required <= named:
            missing[name] = required - named
    assert missing == {}


@pytest.mark.parametrize(
    ("service", "operation", "action"),
    [
        ("cloudwatch", "PutMetricAlarm", "cloudwatch:PutMetricAlarm"),
        ("elbv2", "CreateLoadBalancer", "elasticloadbalancing:CreateLoadBalancer"),
        ("resourcegroupstaggingapi", "GetResources", "tag:GetResources"),
        ("service-quotas", "GetServiceQuota", "servicequotas:GetServiceQuota"),
        ("logs", "CreateLogGroup", "logs:CreateLogGroup"),
    ],
)
def test_actions_have_the_names_of_the_reference(service: str, operation: str, action: str) -> None:
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
    function = next(iter(BUILT.operations.values()))
    assert replace(function, name=operation, model=model.operation_model(operation)).action == action
    prefix, _, name = action.partition(":")
    assert name in data.service(prefix).actions
