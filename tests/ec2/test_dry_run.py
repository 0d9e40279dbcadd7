"""DryRun: what the request would have been answered, and nothing done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudapi import ApiServer, api_server
from tests.ec2.launching import IMAGE, add_host, add_images, census

LAUNCH = {"ImageId": IMAGE, "InstanceType": "fh1.nano", "MinCount": 1, "MaxCount": 1}
NOWHERE = "i-0123456789abcdef0"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("dry")) as api:
        add_host(api.store)
        add_images(api.store)
        yield api


@pytest.fixture(scope="module")
def ec2(api: ApiServer) -> Any:
    made = api.client("ec2")
    made.describe_vpcs()  # makes what the account has from the start
    return made


def answer_to(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request, DryRun=True)
    return str(caught.value.response["Error"]["Code"])


def test_a_request_that_would_succeed_leaves_nothing(api: ApiServer, ec2: Any) -> None:
    before = census(api.store)
    for call, request in (
        (ec2.run_instances, {**LAUNCH, "ClientToken": "once"}),
        (ec2.create_security_group, {"GroupName": "web", "Description": "web"}),
        (ec2.create_key_pair, {"KeyName": "lab"}),
        (ec2.allocate_address, {}),
        (ec2.describe_instances, {}),
    ):
        assert answer_to(call, **request) == "DryRunOperation"
    assert census(api.store) == before
    # Nor has the client token been used.
    ec2.run_instances(**LAUNCH | {"ClientToken": "once", "MaxCount": 2})


def test_a_request_that_would_fail_is_told_why(ec2: Any) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html: "Request would have succeeded"."""
    (instance,) = ec2.run_instances(**LAUNCH, DisableApiTermination=True)["Instances"]
    for code, call, request in (
        ("InvalidAMIID.NotFound", ec2.run_instances, LAUNCH | {"ImageId": "ami-00000000000000000"}),
        ("UnsupportedOperation", ec2.run_instances, LAUNCH | {"RamdiskId": "ari-00000000"}),
        ("InvalidParameterValue", ec2.run_instances, LAUNCH | {"MinCount": 2}),
        ("InsufficientInstanceCapacity", ec2.run_instances, LAUNCH | {"MinCount": 500, "MaxCount": 500}),
        ("InvalidInstanceID.NotFound", ec2.stop_instances, {"InstanceIds": [NOWHERE]}),
        ("OperationNotPermitted", ec2.terminate_instances, {"InstanceIds": [instance["InstanceId"]]}),
        ("InvalidParameterValue", ec2.describe_instances, {"MaxResults": 1}),
    ):
        assert answer_to(call, **request) == code
