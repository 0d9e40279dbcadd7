"""An account that sends too many requests is slowed down, and nobody else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from freehold.buckets import Buckets
from freehold.config import Config, Throttle
from tests.cloudapi import api_server

SLOW = Config(throttle=Throttle(reads_per_second=0.001, reads_burst=5, writes_per_second=0.001, writes_burst=2))


def _refused(call: Any, **parameters: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as refused:
        call(**parameters)
    response = refused.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_each_account_and_family_has_its_own_bucket(tmp_path: Path) -> None:
    with api_server(tmp_path, SLOW) as api:
        ec2, iam, kms = (api.client(name) for name in ("ec2", "iam", "kms"))
        for _ in range(5):
            ec2.describe_regions()
            iam.list_users()
            kms.list_keys()
        assert _refused(ec2.describe_regions) == ("RequestLimitExceeded", 503)
        assert _refused(ec2.describe_vpcs) == ("RequestLimitExceeded", 503)
        assert _refused(iam.list_users) == ("Throttling", 400)
        assert _refused(kms.list_keys) == ("ThrottlingException", 400)
        for name in ("one", "two"):
            ec2.create_security_group(GroupName=name, Description="d")
        assert _refused(ec2.create_security_group, GroupName="three", Description="d")[0] == "RequestLimitExceeded"
        _, other = api.create_account()
        api.client("ec2", keys=other).describe_regions()


def test_a_client_that_waits_gets_through(tmp_path: Path) -> None:
    """botocore takes the codes for what they are, and tries again."""
    config = Config(throttle=Throttle(reads_per_second=20, reads_burst=1))
    with api_server(tmp_path, config) as api:
        client = boto3.client(
            "ec2",
            region_name="us-east-1",
            endpoint_url=api.url,
            aws_access_key_id=api.root.access_key_id,
            aws_secret_access_key=api.root.secret_access_key,
            config=BotoConfig(retries={"mode": "standard", "total_max_attempts": 10}),
        )
        attempts = [client.describe_regions()["ResponseMetadata"]["RetryAttempts"] for _ in range(8)]
        client.close()
    assert any(attempts)


def test_processes_share_the_buckets() -> None:
    buckets = Buckets()
    assert buckets.take("key", 0.001, 3)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if buckets.take("key", 0.001, 3) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert buckets.take("key", 0.001, 3)
    assert not buckets.take("key", 0.001, 3)


@given(
    per_second=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=100),
)
def test_never_more_than_the_burst_and_the_rate(per_second: float, burst: int, pauses: list[float]) -> None:
    moment, taken = 1000.0, 0
    clock = pytest.MonkeyPatch()
    clock.setattr("freehold.buckets.time.monotonic", lambda: moment)
    buckets = Buckets()
    for pause in pauses:
        moment += pause
        taken += buckets.take("key", per_second, burst)
        assert taken <= burst + (moment - 1000) * per_second + 1e-6
    clock.undo()
    assert taken >= 1
