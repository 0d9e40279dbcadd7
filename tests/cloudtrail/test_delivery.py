"""What trails deliver to buckets: read as any tool would, and validated by the AWS CLI's own code."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from awscli.customizations.cloudtrail.validation import CloudTrailValidateLogs
from botocore.exceptions import ClientError
from botocore.session import Session

from freehold.control.delivery import Delivery
from freehold.control.digests import HOUR, Signer, write_digests
from freehold.records.objects import LocalObjects, NoSuchKey
from freehold.records.store import Store
from freehold.records.trails import Bucket, LogFile, Trail, buckets
from tests.cloudtrail.conftest import Cloud


class Delivered:
    """A cloud with a trail ``main`` that logs, and its deliveries."""

    def __init__(self, cloud: Cloud, directory: Path, **settings: Any) -> None:
        self.cloud = cloud
        self.objects = LocalObjects(directory / "objects")
        self.delivery = Delivery(cloud.api.store, cloud.api.sealer, self.objects)
        self.client = cloud.client()
        made = self.client.create_trail(**{"Name": "main", "S3BucketName": "logs"} | settings)
        self.arn: str = made["TrailARN"]
        self.client.start_logging(Name="main")
        cloud.chain.follow()

    def deliver(self) -> None:
        self.cloud.chain.follow()
        self.delivery.deliver()

    def listed(self, prefix: str = "") -> list[str]:
        return list(self.objects.list("logs", prefix))

    def records(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(gzip.decompress(self.objects.get("logs", key).body))["Records"]
        return found

    def names(self) -> list[str]:
        """The names of all calls that were delivered, but for those to CloudTrail itself."""
        return [
            record["eventName"]
            for key in self.listed()
            if "/CloudTrail/" in key
            for record in self.records(key)
            if record["eventSource"] != "cloudtrail.amazonaws.com" and record["eventType"] == "AwsApiCall"
        ]

    def trail(self) -> Trail:
        with self.cloud.api.store.read() as tx:
            trail = tx.get(Trail, self.arn)
        assert trail is not None
        return trail

    def update(self, **changes: Any) -> Trail:
        with self.cloud.api.store.write() as tx:
            return tx.update(self.trail(), **changes)


def test_files_in_cloudtrails_layout(cloud: Cloud, tmp_path: Path) -> None:
    delivered = Delivered(cloud, tmp_path, S3KeyPrefix="audit", IsMultiRegionTrail=True)
    account = cloud.api.account_id
    _, keys = cloud.api.create_account()
    cloud.api.client("ec2").create_key_pair(KeyName="one")
    cloud.api.client("ec2", "eu-west-1").create_key_pair(KeyName="two")
    cloud.api.client("ec2", keys=keys).create_key_pair(KeyName="theirs")
    delivered.deliver()
    west, east = delivered.listed()
    form = r"audit/AWSLogs/{0}/CloudTrail/{1}/\d{{4}}/\d\d/\d\d/" + (
        r"{0}_CloudTrail_{1}_\d{{8}}T\d{{4}}Z_[0-9a-f]{{16}}\.json\.gz"
    )
    assert re.fullmatch(form.format(account, "eu-west-1"), west)
    assert re.fullmatch(form.format(account, "us-east-1"), east)
    (opened, record) = delivered.records(west)
    assert (opened["eventName"], opened["eventType"]) == ("CreateDefaultVpc", "AwsServiceEvent")
    assert (record["eventName"], record["requestParameters"]) == ("CreateKeyPair", {"keyName": "two"})
    assert {record["recipientAccountId"] for record in delivered.records(east)} == {account}
    status = delivered.client.get_trail_status(Name="main")
    assert status["LatestDeliveryTime"] >= status["StartLoggingTime"]
    assert "LatestDeliveryError" not in status

    cloud.api.client("ec2").create_key_pair(KeyName="three")
    delivered.deliver()
    delivered.deliver()
    assert sorted(delivered.names()) == ["CreateKeyPair"] * 3, "nothing twice, nothing lost"


def test_a_delivery_that_was_cut_writes_the_same_files(cloud: Cloud, tmp_path: Path) -> None:
    delivered = Delivered(cloud, tmp_path)
    before = delivered.trail().block
    cloud.api.client("ec2").create_key_pair(KeyName="one")
    delivered.deliver()
    written = {key: delivered.objects.get("logs", key) for key in delivered.listed()}
    delivered.update(block=before)  # as if it had been killed before it could say how far it was
    delivered.deliver()
    assert {key: delivered.objects.get("logs", key) for key in delivered.listed()} == written


def test_a_bucket_that_is_gone(cloud: Cloud, tmp_path: Path) -> None:
    delivered = Delivered(cloud, tmp_path)
    with cloud.api.store.write() as tx:
        tx.delete_where(Bucket, name="logs")
        assert tx.count(Bucket, buckets.c.name == "logs") == 0
    cloud.api.client("ec2").create_key_pair(KeyName="one")
    delivered.deliver()
    assert delivered.client.get_trail_status(Name="main")["LatestDeliveryError"] == "NoSuchBucket"
    cloud.add_bucket("logs")
    delivered.deliver()
    assert "LatestDeliveryError" not in delivered.client.get_trail_status(Name="main")
    assert delivered.names() == ["CreateKeyPair"]


def test_what_happens_while_a_trail_is_stopped(cloud: Cloud, tmp_path: Path) -> None:
    delivered = Delivered(cloud, tmp_path)
    cloud.api.client("ec2").create_key_pair(KeyName="one")
    delivered.client.stop_logging(Name="main")
    delivered.deliver()
    delivered.update(attempted_at=delivered.trail().stopped_at + dt.timedelta(hours=1))  # type: ignore[operator]
    cloud.api.client("ec2").delete_key_pair(KeyName="one")
    delivered.deliver()
    delivered.client.start_logging(Name="main")
    cloud.chain.follow()
    delivered.deliver()
    assert delivered.names() == ["CreateKeyPair"]


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ({"EventSelectors": [{"ReadWriteType": "WriteOnly"}]}, {"CreateKeyPair"}),
        ({"EventSelectors": [{"ReadWriteType": "ReadOnly"}]}, {"DescribeKeyPairs", "ListKeys"}),
        ({"EventSelectors": [{"ExcludeManagementEventSources": ["kms.amazonaws.com"]}]},
         {"CreateKeyPair", "DescribeKeyPairs"}),
        ({"AdvancedEventSelectors": [{"FieldSelectors": [
            {"Field": "eventCategory", "Equals": ["Management"]},
            {"Field": "eventName", "StartsWith": ["Describe", "List"]},
            {"Field": "eventSource", "NotEquals": ["kms.amazonaws.com"]},
        ]}]}, {"DescribeKeyPairs"}),
        ({"AdvancedEventSelectors": [{"FieldSelectors": [
            {"Field": "eventCategory", "Equals": ["Data"]}, {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
        ]}]}, set()),
    ],
)  # fmt: skip
def test_selectors_are_honoured(shared: Cloud, tmp_path: Path, selectors: Any, expected: set[str]) -> None:
    delivered = Delivered(shared, tmp_path)
    delivered.client.put_event_selectors(TrailName="main", **selectors)
    ec2, kms = shared.api.client("ec2"), shared.api.client("kms")
    ec2.create_key_pair(KeyName="pair")
    ec2.describe_key_pairs()
    shared.settle(kms.list_keys()["ResponseMetadata"]["RequestId"])
    delivered.deliver()
    found = set(delivered.names())
    ec2.delete_key_pair(KeyName="pair")
    delivered.client.delete_trail(Name="main")
    assert found == expected


class Client:
    """The few calls of S3 that the AWS CLI's validation makes, on the seam: there is no S3 yet."""

    def __init__(self, objects: LocalObjects) -> None:
        self._objects = objects

    def get_client(self, _bucket: str) -> Client:
        return self

    def get_paginator(self, _name: str) -> Client:
        return self

    def paginate(self, Bucket: str, Marker: str, Prefix: str) -> Client:
        self._keys = [key for key in self._objects.list(Bucket, Prefix) if key > Marker]
        return self

    def search(self, _expression: str) -> list[str]:
        return self._keys

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        try:
            found = self._objects.get(Bucket, Key)
        except NoSuchKey:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject") from None
        return {"Body": io.BytesIO(found.body), "Metadata": found.metadata}


class Keys:
    """CloudTrail's client as the AWS CLI has it: blobs are base64."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def describe_trails(self) -> Any:
        return self._client.describe_trails()

    def list_public_keys(self, **request: Any) -> Any:
        answer = self._client.list_public_keys(**request)
        for key in answer["PublicKeyList"]:
            key["Value"] = base64.b64encode(key["Value"])
        return answer


def validate(delivered: Delivered, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``aws cloudtrail validate-logs`` prints at its end."""
    command = CloudTrailValidateLogs(Session())
    command.trail_arn, command.is_verbose = delivered.arn, True
    command.start_time = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    command.end_time = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    command._source_region = "us-east-1"
    command.s3_client_provider = Client(delivered.objects)
    command.cloudtrail_client = Keys(delivered.client)
    command.organization_client = None
    command._call()
    return capsys.readouterr().out.rpartition("Results found")[2]


def test_the_aws_cli_validates_what_was_delivered(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store: Store = cloud.api.store
    delivered = Delivered(cloud, tmp_path, S3KeyPrefix="audit", EnableLogFileValidation=True)
    ec2 = cloud.api.client("ec2")
    started = delivered.trail().digest_end
    assert started is not None
    trail = delivered.update(digest_end=started - 3 * HOUR)
    ec2.create_key_pair(KeyName="one")
    cloud.chain.follow()
    assert delivered.delivery._deliver_some(trail) is not None
    # The digest of an hour, as its controller would have written it at the time.
    write_digests(store, delivered.objects, Signer(store, cloud.api.sealer), trail, started - 2 * HOUR)
    ec2.create_key_pair(KeyName="two")
    delivered.deliver()
    assert len([key for key in delivered.listed() if "CloudTrail-Digest" in key]) == 2
    with store.read() as tx:
        assert tx.select(LogFile) == []
    report = validate(delivered, capsys)
    assert "2/2 digest files valid" in report
    assert "2/2 log files valid" in report

    (first, *_) = delivered.listed("audit/AWSLogs/" + cloud.api.account_id + "/CloudTrail/")
    kept = delivered.objects.get("logs", first)
    delivered.objects.put("logs", first, gzip.compress(gzip.decompress(kept.body).replace(b"CreateKeyPair", b"X")), {})
    assert "1/2 log files INVALID" in validate(delivered, capsys)
    delivered.objects.put("logs", first, kept.body, {})
    (digest, *_) = delivered.listed("audit/AWSLogs/" + cloud.api.account_id + "/CloudTrail-Digest/")
    kept = delivered.objects.get("logs", digest)
    altered = gzip.compress(gzip.decompress(kept.body).replace(b'"logFiles":[{', b'"logFiles":[ {'))
    delivered.objects.put("logs", digest, altered, kept.metadata)
    assert "1/2 digest files INVALID" in validate(delivered, capsys)


def test_public_keys_of_a_time(cloud: Cloud) -> None:
    client, now = cloud.client(), dt.datetime.now(dt.UTC)
    assert client.list_public_keys()["PublicKeyList"] == []
    fingerprint, _ = Signer(cloud.api.store, cloud.api.sealer).key()
    assert Signer(cloud.api.store, cloud.api.sealer).key()[0] == fingerprint
    assert [key["Fingerprint"] for key in client.list_public_keys()["PublicKeyList"]] == [fingerprint]
    before = client.list_public_keys(StartTime=now - dt.timedelta(days=3), EndTime=now - dt.timedelta(days=2))
    assert before["PublicKeyList"] == []
    with pytest.raises(client.exceptions.InvalidTimeRangeException):
        client.list_public_keys(StartTime=now, EndTime=now - dt.timedelta(days=2))
