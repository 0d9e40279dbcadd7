"""LookupEvents."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.records.accounts import User
from freehold.records.lookups import uses_of
from tests.cloudtrail.conftest import Cloud
from tests.ec2.launching import IMAGE, add_host, add_images


def names(answer: Any) -> list[str]:
    return [event["EventName"] for event in answer["Events"]]


def looked_up(client: Any, key: str, value: str, **more: Any) -> list[str]:
    return names(client.lookup_events(LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}], **more))


def test_every_attribute_finds_its_events(cloud: Cloud) -> None:
    user = cloud.api.create_user("alice")
    ec2 = cloud.api.client("ec2")
    ec2.create_key_pair(KeyName="pair")
    with pytest.raises(ClientError):
        cloud.api.client("ec2", keys=user).describe_instances()
    elsewhere = cloud.api.client("ec2", "eu-west-1").describe_regions()
    last = ec2.describe_key_pairs(KeyNames=["pair"])
    for answer in (elsewhere, last):
        cloud.settle(answer["ResponseMetadata"]["RequestId"])
    client = cloud.client()
    everything = client.lookup_events()["Events"]
    assert [event["EventName"] for event in everything] == [
        "DescribeKeyPairs", "DescribeInstances", "CreateKeyPair", "CreateDefaultVpc"
    ]  # fmt: skip
    created = everything[2]
    assert created["Username"] == "root"
    assert created["ReadOnly"] == "false"
    assert created["EventSource"] == "ec2.amazonaws.com"
    assert created["AccessKeyId"] == cloud.api.root.access_key_id
    assert created["Resources"] == [{"ResourceType": "AWS::EC2::KeyPair", "ResourceName": "pair"}]
    record = json.loads(created["CloudTrailEvent"])
    assert (record["eventID"], record["eventName"]) == (created["EventId"], "CreateKeyPair")
    assert created["EventTime"] == dt.datetime.fromisoformat(record["eventTime"])

    for key, value, found in (
        ("EventName", "CreateKeyPair", ["CreateKeyPair"]),
        ("ReadOnly", "false", ["CreateKeyPair", "CreateDefaultVpc"]),
        ("ReadOnly", "true", ["DescribeKeyPairs", "DescribeInstances"]),
        ("Username", "alice", ["DescribeInstances"]),
        ("Username", "root", ["DescribeKeyPairs", "CreateKeyPair"]),
        ("AccessKeyId", user.access_key_id, ["DescribeInstances"]),
        (
            "EventSource",
            "ec2.amazonaws.com",
            ["DescribeKeyPairs", "DescribeInstances", "CreateKeyPair", "CreateDefaultVpc"],
        ),
        ("EventSource", "kms.amazonaws.com", []),
        ("ResourceName", "pair", ["DescribeKeyPairs", "CreateKeyPair"]),
        ("ResourceType", "AWS::EC2::KeyPair", ["DescribeKeyPairs", "CreateKeyPair"]),
        ("EventId", created["EventId"], ["CreateKeyPair"]),
        ("EventId", "no-such-event", []),
    ):
        assert looked_up(client, key, value) == found, (key, value)
    assert names(cloud.client("eu-west-1").lookup_events()) == ["DescribeRegions", "CreateDefaultVpc"]
    _, keys = cloud.api.create_account()
    assert cloud.client(keys=keys).lookup_events()["Events"] == []
    assert looked_up(cloud.client(keys=keys), "EventId", created["EventId"]) == []


def test_the_use_of_a_key_for_a_volume_is_an_event(shared: Cloud) -> None:
    """A key for each volume that is made; none when the launch is only tried."""
    add_host(shared.api.store)
    add_images(shared.api.store)
    ec2 = shared.api.client("ec2", "eu-west-1")
    launch = {"ImageId": IMAGE, "InstanceType": "fh1.nano", "MinCount": 2, "MaxCount": 2}
    with pytest.raises(ClientError):
        ec2.run_instances(**launch, DryRun=True)
    shared.settle(ec2.run_instances(**launch)["ResponseMetadata"]["RequestId"])
    volumes = ec2.describe_volumes()["Volumes"]
    name = {"AttributeKey": "EventName", "AttributeValue": "GenerateDataKeyWithoutPlaintext"}
    events = shared.client("eu-west-1").lookup_events(LookupAttributes=[name])["Events"]
    records = [json.loads(event["CloudTrailEvent"]) for event in events]
    assert {record["userIdentity"]["invokedBy"] for record in records} == {"ec2.amazonaws.com"}
    used = [(one["requestParameters"]["keyId"], one["requestParameters"]["encryptionContext"]) for one in records]
    made = [(volume["KmsKeyId"], {"aws:ebs:id": volume["VolumeId"]}) for volume in volumes]
    assert sorted(used, key=repr) == sorted(made, key=repr)


def test_pages_go_on_while_events_come(cloud: Cloud) -> None:
    ec2 = cloud.api.client("ec2")
    for number in range(7):
        ec2.create_key_pair(KeyName=f"pair-{number}")
    cloud.chain.follow()
    client = cloud.client()
    pairs = [{"AttributeKey": "EventName", "AttributeValue": "CreateKeyPair"}]
    first = client.lookup_events(LookupAttributes=pairs, MaxResults=3)
    ec2.create_key_pair(KeyName="pair-7")
    cloud.chain.follow()
    second = client.lookup_events(LookupAttributes=pairs, MaxResults=3, NextToken=first["NextToken"])
    third = client.lookup_events(LookupAttributes=pairs, MaxResults=3, NextToken=second["NextToken"])
    assert "NextToken" not in third
    found = [
        json.loads(event["CloudTrailEvent"])["requestParameters"]["keyName"]
        for page in (first, second, third)
        for event in page["Events"]
    ]
    assert found == [f"pair-{number}" for number in range(6, -1, -1)]
    for token in (first["NextToken"][:-4], "x", "é", first["NextToken"] + "AAAA"):
        with pytest.raises(client.exceptions.InvalidNextTokenException):
            client.lookup_events(LookupAttributes=pairs, NextToken=token)
    with pytest.raises(client.exceptions.InvalidNextTokenException):
        client.lookup_events(NextToken=first["NextToken"])


def test_a_time_range(shared: Cloud) -> None:
    ec2, client = shared.api.client("ec2", "ap-south-1"), shared.client("ap-south-1")
    ec2.create_key_pair(KeyName="pair")
    shared.chain.follow()
    (event, opened) = client.lookup_events()["Events"]
    assert (opened["EventName"], json.loads(opened["CloudTrailEvent"])["userIdentity"]) == (
        "CreateDefaultVpc",
        {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
    )
    at, second = event["EventTime"], dt.timedelta(seconds=1)
    assert names(client.lookup_events(StartTime=at, EndTime=at))[0] == "CreateKeyPair"
    assert names(client.lookup_events(StartTime=at - second))[0] == "CreateKeyPair"
    assert names(client.lookup_events(StartTime=at + second)) == []
    assert "CreateKeyPair" not in names(client.lookup_events(EndTime=at - second))
    with pytest.raises(client.exceptions.InvalidTimeRangeException):
        client.lookup_events(StartTime=at, EndTime=at - second)
    found = {"AttributeKey": "EventId", "AttributeValue": event["EventId"]}
    assert client.lookup_events(LookupAttributes=[found], StartTime=at + second)["Events"] == []


def test_what_is_refused(shared: Cloud) -> None:
    client = shared.client()
    one = {"AttributeKey": "EventName", "AttributeValue": "A"}
    with pytest.raises(client.exceptions.InvalidLookupAttributesException):
        client.lookup_events(LookupAttributes=[one, one])
    with pytest.raises(ClientError, match="EventCategory"):
        client.lookup_events(EventCategory="insight")


def test_when_a_principal_used_a_service(cloud: Cloud) -> None:
    user = cloud.api.create_user("alice")
    for region in ("us-east-1", "eu-west-1"):
        with pytest.raises(ClientError) as refused:
            cloud.api.client("ec2", region, keys=user).describe_instances()
        cloud.settle(refused.value.response["ResponseMetadata"]["RequestId"])
    identity = cloud.api.client("sts", keys=user).get_caller_identity()
    cloud.settle(identity["ResponseMetadata"]["RequestId"])
    with cloud.api.store.read() as tx:
        alice = tx.find(User, name="alice")
        assert alice is not None
        uses = {use.service: use for use in uses_of(tx, [alice.id])}
    assert uses.keys() == {"ec2", "sts"}
    assert (uses["ec2"].region, uses["ec2"].account_id) == ("eu-west-1", cloud.api.account_id)
    assert uses["ec2"].at <= uses["sts"].at
