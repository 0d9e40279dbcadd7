"""Every operation of the services, one by one: who may not is refused, what is not built says so by its name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

from freehold.iam.policy import _NEEDS_NO_PERMISSION
from freehold.services.operation import Catalog
from tests.cloudapi import ApiServer, Keys, api_server
from tests.front.audited import written
from tests.front.signing import Unsigned, send, signed
from tests.front.test_signatures import refusal
from tests.iam.granting import Grants, allow, deny

SERVICES = (
    "ec2", "sts", "iam", "s3", "kms", "elbv2", "autoscaling", "cloudwatch", "logs", "rds", "ce", "cloudtrail",
    "service-quotas", "ec2-instance-connect",
)  # fmt: skip
BUILT = Catalog()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud")) as served:
        yield served


def least(shape: Shape, depth: int = 0) -> Any:
    """A value of the shape with no more than it needs."""
    match shape:
        case StructureShape():
            if depth >= 6:
                return {}
            # A structure inside may not be empty: a form has no way to say that.
            names = shape.required_members or (list(shape.members)[:1] if depth else [])
            return {name: least(shape.members[name], depth + 1) for name in names}
        case ListShape():
            return [least(shape.member, depth + 1)]
        case MapShape():
            return {least(shape.key, depth + 1): least(shape.value, depth + 1)}
        case StringShape() if shape.enum:
            return shape.enum[0]
        case StringShape():
            return "a" * max(1, shape.metadata.get("min", 1))
    low = shape.metadata.get("min", 1)
    return {"blob": b"a", "boolean": True, "timestamp": 0, "float": float(low), "double": float(low)}.get(
        shape.type_name, low
    )


# What is named must look like what it is: an ARN is made of it.
NAMED = {name: {"Resources": ["vpc-0123456789abcdef0"]} for name in ("ec2.CreateTags", "ec2.DeleteTags")}
NAMED["sts.AssumeRole"] = {"RoleArn": "arn:aws:iam::111122223333:role/a"}
NAMED |= {f"iam.{name}PolicyVersion": {"VersionId": "v1"} for name in ("Delete", "Get", "SetDefault")}
NAMED |= {
    f"ec2-instance-connect.{name}SSHPublicKey": {"InstanceId": "i-0123456789abcdef0"}
    for name in ("Send", "SendSerialConsole")
}
NAMED |= {
    f"iam.{name}MFADevice": {"AuthenticationCode1": "123456", "AuthenticationCode2": "123456"}
    for name in ("Enable", "Resync")
}
_SNAPSHOT = {"SnapshotId": "snap-0123456789abcdef0"}
NAMED |= {
    "ebs.CompleteSnapshot": _SNAPSHOT,
    "ebs.GetSnapshotBlock": _SNAPSHOT | {"BlockToken": "YQ=="},
    "ebs.ListChangedBlocks": {"SecondSnapshotId": "snap-0123456789abcdef0"},
    "ebs.ListSnapshotBlocks": _SNAPSHOT,
    "ebs.PutSnapshotBlock": _SNAPSHOT | {"Checksum": "YQ=="},
}
_RULE = "aaaaaaaaaaa"
NAMED |= {f"rbin.{name}Rule": {"Identifier": _RULE} for name in ("Delete", "Get", "Lock", "Unlock", "Update")}
NAMED |= {
    f"rbin.{name}Resource": {"ResourceArn": f"arn:aws:rbin:us-east-1:111122223333:rule/{_RULE}"}
    for name in ("ListTagsFor", "Tag", "Untag")
}
_QUOTA = {
    "QuotaCode": "L-1216C47A",
    "RequestId": "a1",
    "ResourceARN": "arn:aws:servicequotas:us-east-1:111122223333:a",
    "ServiceCode": "ec2",
}
NAMED |= {
    f"service-quotas.{name}": {member: _QUOTA[member] for member in operation.model.input_shape.members.keys() & _QUOTA}
    for (service, name), operation in BUILT.operations.items()
    if service == "service-quotas"
}


def operations(client: Any, *, built: bool) -> Iterator[tuple[OperationModel, dict[str, Any]]]:
    """The operations that are built, or are not, each with an input."""
    model = client.meta.service_model
    for name in model.operation_names:
        operation = model.operation_model(name)
        if ((model.service_name, name) in BUILT.operations) == built:
            params = least(operation.input_shape) if operation.input_shape else {}
            yield operation, params | NAMED.get(f"{model.service_name}.{name}", {})


def refused(client: Any, operation: OperationModel, params: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ClientError) as caught:
        getattr(client, xform_name(operation.name))(**params)
    error: dict[str, str] = caught.value.response["Error"]
    return error


# What each family says to: an IAM user without policies, an unknown key, a wrong secret, no signature at all.
ANSWERS = {
    "ec2": ("UnauthorizedOperation", "AuthFailure", "AuthFailure", "MissingAuthenticationToken"),
    "query": ("AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken"),
    "json": (
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
    ),
    "rest-json": (
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
    ),
    "rest-xml": ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"),
}


@pytest.mark.parametrize("service", BUILT.models)
def test_built_operations_refuse_who_may_not(api: ApiServer, service: str) -> None:
    user = api.create_user(f"nobody-{service}")
    callers = (
        user,
        Keys("AKIAABCDEFGHIJKLMNOP", "secret"),
        replace(api.root, secret_access_key="wrong"),
        replace(user, secret_access_key="wrong"),
    )
    clients = [api.client(service, keys=keys, parameter_validation=False) for keys in callers]
    anonymous = boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=api.url,
        config=Config(signature_version=UNSIGNED, parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    denied, unknown, mismatch, unsigned = ANSWERS[clients[0].meta.service_model.resolved_protocol]
    attempts: set[tuple[str, str | None]] = set()
    for operation, params in operations(clients[0], built=True):
        action = f"{operation.service_model.signing_name}:{operation.name}"
        if operation.auth_type == "none":  # the token in the request is the proof, and this one is none
            assert refused(anonymous, operation, params)["Code"] == "ValidationError", operation.name
            attempts.add((operation.name, None))
            continue
        found = [refused(client, operation, params)["Code"] for client in clients[1:]]
        assert found == [unknown, mismatch, mismatch], operation.name
        if operation.auth_type != "v4-unsigned-body":  # the client signs those whatever its configuration says
            assert refused(anonymous, operation, params)["Code"] == unsigned, operation.name
            attempts.add((operation.name, None))
        attempts |= {(operation.name, keys.access_key_id) for keys in callers[1:]}
        if action in _NEEDS_NO_PERMISSION:
            continue
        error = refused(clients[0], operation, params)
        assert error["Code"] == denied, (operation.name, error)
        assert f"/nobody-{service} is not authorized to perform: {action}" in error["Message"]
        attempts.add((operation.name, user.access_key_id))
    anonymous.close()
    assert not unrecorded(api, attempts)


def unrecorded(api: ApiServer, attempts: set[tuple[str, str | None]]) -> set[tuple[str, str | None]]:
    """Which attempts, by operation and key, are not in the audit trail a few seconds later."""
    for _ in range(20):
        records = [record for record in written(api.store) if "errorCode" in record]
        found = {(record["eventName"], record["userIdentity"].get("accessKeyId")) for record in records}
        if attempts <= found:
            break
        time.sleep(0.5)
    return attempts - found


@pytest.mark.parametrize("service", BUILT.models)
def test_an_explicit_denial_wins(api: ApiServer, service: str) -> None:
    keys = Grants(api).user(f"denied-{service}", allow("*"), deny("*"))
    client = api.client(service, keys=keys, parameter_validation=False)
    denied, *_ = ANSWERS[client.meta.service_model.resolved_protocol]
    attempts: set[tuple[str, str | None]] = set()
    for operation, params in operations(client, built=True):
        action = f"{operation.service_model.signing_name}:{operation.name}"
        if operation.auth_type == "none" or action in _NEEDS_NO_PERMISSION:
            continue
        error = refused(client, operation, params)
        assert error["Code"] == denied, (operation.name, error)
        assert f"/denied-{service} is not authorized to perform: {action}" in error["Message"]
        assert "with an explicit deny in an identity-based policy" in error["Message"]
        attempts.add((operation.name, keys.access_key_id))
    assert not unrecorded(api, attempts)


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_not_built_says_so(api: ApiServer, service: str) -> None:
    client = api.client(service, parameter_validation=False, inject_host_prefix=False)
    for operation, params in operations(client, built=False):
        error = refused(client, operation, params)
        expected = "NotImplemented" if service == "s3" else "UnsupportedOperation"
        assert error["Code"] == ("501" if operation.http["method"] == "HEAD" else expected), (operation.name, error)
        if operation.http["method"] == "HEAD":
            continue  # without a body
        # S3 has old operations at the address of what came after them, and directory buckets at that of all others.
        if not operation.deprecated and operation.name != "ListDirectoryBuckets":
            assert f"The operation {operation.name} of the service {service} is not supported" in error["Message"]


def test_a_service_that_aws_does_not_have(api: ApiServer) -> None:
    host = api.url.removeprefix("http://")
    request = Unsigned("nosuch", headers={"x-amz-target": "NoSuch.DoIt"}, body=b"{}")
    answer = send(api.url, signed(request, api.root, host))
    assert refusal(answer) == (400, "UnsupportedOperation")
    assert b"The service 'nosuch' is not supported" in answer.body
    kms = Unsigned("kms", headers={"x-amz-target": "TrentService.DoIt"}, body=b"{}")
    assert refusal(send(api.url, signed(kms, api.root, host))) == (400, "UnknownOperationException")
