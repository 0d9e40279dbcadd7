"""Trails: their settings, status, selectors and tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudtrail.conftest import Cloud


@pytest.fixture
def client(shared: Cloud) -> Iterator[Any]:
    """Of a region whose trails are gone again afterwards."""
    client = shared.client("us-west-2")
    yield client
    for trail in client.list_trails()["Trails"]:
        shared.client(trail["HomeRegion"]).delete_trail(Name=trail["TrailARN"])


def arn_of(shared: Cloud, name: str, region: str = "us-west-2") -> str:
    return f"arn:aws:cloudtrail:{region}:{shared.api.account_id}:trail/{name}"


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=code)


def test_a_trail_from_its_creation_to_its_end(client: Any, shared: Cloud) -> None:
    arn = arn_of(shared, "main")
    made = client.create_trail(
        Name="main", S3BucketName="logs", S3KeyPrefix="audit", EnableLogFileValidation=True,
        TagsList=[{"Key": "a", "Value": "b"}],
    )  # fmt: skip
    settings = {
        "Name": "main",
        "S3BucketName": "logs",
        "S3KeyPrefix": "audit",
        "IncludeGlobalServiceEvents": True,
        "IsMultiRegionTrail": False,
        "TrailARN": arn,
        "LogFileValidationEnabled": True,
        "IsOrganizationTrail": False,
    }
    made.pop("ResponseMetadata")
    assert made == settings
    shown = settings | {
        "HomeRegion": "us-west-2", "HasCustomEventSelectors": False, "HasInsightSelectors": False
    }  # fmt: skip
    assert client.get_trail(Name="main")["Trail"] == client.get_trail(Name=arn)["Trail"] == shown
    assert client.describe_trails()["trailList"] == [shown]
    assert client.list_trails()["Trails"] == [{"TrailARN": arn, "Name": "main", "HomeRegion": "us-west-2"}]
    assert client.list_tags(ResourceIdList=[arn])["ResourceTagList"] == [
        {"ResourceId": arn, "TagsList": [{"Key": "a", "Value": "b"}]}
    ]
    assert client.get_trail_status(Name="main")["IsLogging"] is False

    client.start_logging(Name="main")
    status = client.get_trail_status(Name=arn)
    assert status["IsLogging"] is True
    assert status["TimeLoggingStarted"] == status["StartLoggingTime"].strftime("%Y-%m-%dT%H:%M:%SZ")
    client.stop_logging(Name="main")
    status = client.get_trail_status(Name="main")
    assert status["IsLogging"] is False
    assert status["StopLoggingTime"] >= status["StartLoggingTime"]

    changed = client.update_trail(Name="main", S3KeyPrefix="", IsMultiRegionTrail=True, EnableLogFileValidation=False)
    assert "S3KeyPrefix" not in changed
    assert (changed["IsMultiRegionTrail"], changed["LogFileValidationEnabled"]) == (True, False)
    client.delete_trail(Name="main")
    with refused("TrailNotFoundException"):
        client.get_trail(Name="main")
    with refused("ResourceNotFoundException"):
        client.list_tags(ResourceIdList=[arn])


def test_a_trail_of_all_regions_is_seen_in_all(client: Any, shared: Cloud) -> None:
    client.create_trail(Name="main", S3BucketName="logs", IsMultiRegionTrail=True)
    client.create_trail(Name="local", S3BucketName="logs")
    elsewhere = shared.client("eu-west-1")
    assert [trail["Name"] for trail in elsewhere.describe_trails()["trailList"]] == ["main"]
    assert elsewhere.describe_trails(includeShadowTrails=False)["trailList"] == []
    assert elsewhere.describe_trails(trailNameList=["main", "local"])["trailList"][0]["HomeRegion"] == "us-west-2"
    assert elsewhere.get_trail_status(Name="main")["IsLogging"] is False
    with refused("InvalidHomeRegionException"):
        elsewhere.start_logging(Name="main")
    with refused("TrailNotFoundException"):
        elsewhere.get_trail(Name="local")


@pytest.mark.parametrize(
    "name", ["ab", "a" * 129, "-abc", "abc-", "a__b", "a b c", "192.168.5.4", "añb"], ids=lambda name: name[:12]
)
def test_names_that_are_none(client: Any, name: str) -> None:
    with refused("InvalidTrailNameException"):
        client.create_trail(Name=name, S3BucketName="logs")


def test_what_a_trail_can_not_be(client: Any, shared: Cloud) -> None:
    other, keys = shared.api.create_account()
    shared.add_bucket("theirs", other)
    for code, settings in (
        ("S3BucketDoesNotExistException", {"S3BucketName": "no-such-bucket"}),
        ("InsufficientS3BucketPolicyException", {"S3BucketName": "theirs"}),
        ("InvalidS3PrefixException", {"S3KeyPrefix": "a" * 201}),
        ("InvalidS3PrefixException", {"S3KeyPrefix": "a b"}),
        ("InvalidParameterCombinationException", {"IsMultiRegionTrail": True, "IncludeGlobalServiceEvents": False}),
        ("SnsTopicName", {"SnsTopicName": "topic"}),
        ("KmsKeyId", {"KmsKeyId": "alias/key"}),
        ("IsOrganizationTrail", {"IsOrganizationTrail": True}),
        ("InvalidTagParameterException", {"TagsList": [{"Key": "aws:a"}]}),
    ):
        with refused(code):
            client.create_trail(**{"Name": "main", "S3BucketName": "logs"} | settings)
    client.create_trail(Name="main", S3BucketName="logs")
    with refused("TrailAlreadyExistsException"):
        client.create_trail(Name="main", S3BucketName="logs")
    for number in range(4):
        client.create_trail(Name=f"more-{number}", S3BucketName="logs")
    with refused("MaximumNumberOfTrailsExceededException"):
        client.create_trail(Name="too-many", S3BucketName="logs")
    theirs = shared.client("us-west-2", keys=keys)
    with refused("TrailNotFoundException"):
        theirs.delete_trail(Name=arn_of(shared, "main"))
    with refused("CloudTrailARNInvalidException"):
        client.get_trail(Name="arn:aws:s3:::bucket")


def test_basic_selectors(client: Any, shared: Cloud) -> None:
    client.create_trail(Name="main", S3BucketName="logs")
    default = [
        {
            "ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": [],
            "ExcludeManagementEventSources": [],
        }
    ]  # fmt: skip
    assert client.get_event_selectors(TrailName="main")["EventSelectors"] == default
    chosen = {
        "ReadWriteType": "WriteOnly", "IncludeManagementEvents": True,
        "ExcludeManagementEventSources": ["kms.amazonaws.com"],
        "DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::data/"]}],
    }  # fmt: skip
    assert client.put_event_selectors(TrailName="main", EventSelectors=[chosen])["EventSelectors"] == [chosen]
    assert client.get_event_selectors(TrailName="main")["EventSelectors"] == [chosen]
    assert client.get_trail(Name="main")["Trail"]["HasCustomEventSelectors"] is True
    for wrong in (
        {"DataResources": [{"Type": "AWS::EC2::Instance", "Values": ["arn:aws:ec2:::a"]}]},
        {"DataResources": [{"Type": "AWS::S3::Object", "Values": ["data"]}]},
        {"ExcludeManagementEventSources": ["ec2.amazonaws.com"]},
        {"IncludeManagementEvents": False},
    ):
        with refused("InvalidEventSelectorsException"):
            client.put_event_selectors(TrailName="main", EventSelectors=[wrong])
    with refused("InvalidEventSelectorsException"):
        client.put_event_selectors(TrailName="main")
    with refused("InvalidEventSelectorsException"):
        client.put_event_selectors(TrailName="main", EventSelectors=[chosen] * 6)


def test_advanced_selectors(client: Any) -> None:
    client.create_trail(Name="main", S3BucketName="logs")
    chosen = {
        "Name": "writes",
        "FieldSelectors": [
            {"Field": "eventCategory", "Equals": ["Management"]},
            {"Field": "readOnly", "Equals": ["false"]},
            {"Field": "eventSource", "NotEquals": ["kms.amazonaws.com"]},
        ],
    }
    client.put_event_selectors(TrailName="main", AdvancedEventSelectors=[chosen])
    answer = client.get_event_selectors(TrailName="main")
    assert answer["AdvancedEventSelectors"] == [chosen]
    assert "EventSelectors" not in answer
    management = {"Field": "eventCategory", "Equals": ["Management"]}
    for wrong in (
        [{"Field": "readOnly", "Equals": ["true"]}],
        [management, management],
        [management, {"Field": "colour", "Equals": ["red"]}],
        [management, {"Field": "readOnly", "NotEquals": ["true"]}],
        [management, {"Field": "eventName"}],
        [{"Field": "eventCategory", "Equals": ["Data"]}],
    ):
        with refused("InvalidEventSelectorsException"):
            client.put_event_selectors(TrailName="main", AdvancedEventSelectors=[{"FieldSelectors": wrong}])


def test_insights_are_refused(client: Any) -> None:
    client.create_trail(Name="main", S3BucketName="logs")
    assert client.put_insight_selectors(TrailName="main", InsightSelectors=[])["InsightSelectors"] == []
    with refused("UnsupportedOperationException"):
        client.put_insight_selectors(TrailName="main", InsightSelectors=[{"InsightType": "ApiCallRateInsight"}])
    with refused("InsightNotEnabledException"):
        client.get_insight_selectors(TrailName="main")


def test_tags(client: Any, shared: Cloud) -> None:
    client.create_trail(Name="main", S3BucketName="logs")
    arn = arn_of(shared, "main")
    client.add_tags(ResourceId=arn, TagsList=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    client.add_tags(ResourceId=arn, TagsList=[{"Key": "a", "Value": "2"}])
    client.remove_tags(ResourceId=arn, TagsList=[{"Key": "b"}, {"Key": "c"}])
    (listed,) = client.list_tags(ResourceIdList=[arn])["ResourceTagList"]
    assert listed["TagsList"] == [{"Key": "a", "Value": "2"}]
    with refused("TagsLimitExceededException"):
        client.add_tags(ResourceId=arn, TagsList=[{"Key": str(number)} for number in range(50)])
    with refused("InvalidTagParameterException"):
        client.add_tags(ResourceId=arn, TagsList=[{"Key": "a"}, {"Key": "a"}])
    with refused("CloudTrailARNInvalidException"):
        client.add_tags(ResourceId="main", TagsList=[{"Key": "a"}])
    with refused("InvalidTokenException"):
        client.list_tags(ResourceIdList=[arn], NextToken="x")
