"""Service Quotas through the front door: what applies, and an increase from the request to the owner's word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.config import Config
from freehold.control import quotas
from freehold.control.quotas import NotPossible
from freehold.quotas import ELASTIC_IPS, QUOTAS, RUNNING_VCPUS, SERVICES
from freehold.records.store import Store
from tests.cloudapi import ApiServer, api_server


@pytest.fixture
def api(store: Store, tmp_path: Path) -> Iterator[ApiServer]:
    """On SQLite and on PostgreSQL."""
    with api_server(tmp_path, Config(quotas={RUNNING_VCPUS: 8}), store=store) as served:
        yield served


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Code"])


def value(client: Any, code: str, service: str = "ec2") -> float:
    found: float = client.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]
    return found


def test_every_quota_is_listed_and_found(api: ApiServer) -> None:
    client = api.client("service-quotas")
    services = {each["ServiceCode"]: each["ServiceName"] for each in client.list_services()["Services"]}
    assert services == SERVICES
    listed = {}
    for service in services:
        for page in client.get_paginator("list_service_quotas").paginate(ServiceCode=service, MaxResults=2):
            assert len(page["Quotas"]) <= 2
            listed |= {quota["QuotaCode"]: quota for quota in page["Quotas"]}
    assert listed.keys() == QUOTAS.keys()
    vcpus = listed[RUNNING_VCPUS]
    assert (vcpus["Value"], vcpus["Adjustable"], vcpus["ServiceCode"]) == (8, True, "ec2")
    assert vcpus["QuotaArn"] == f"arn:aws:servicequotas:us-east-1:{api.account_id}:ec2/{RUNNING_VCPUS}"
    assert client.get_service_quota(ServiceCode="ec2", QuotaCode=RUNNING_VCPUS)["Quota"] == vcpus
    assert client.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=RUNNING_VCPUS)["Quota"] == vcpus
    defaults = client.list_aws_default_service_quotas(ServiceCode="vpc")["Quotas"]
    assert {each["QuotaCode"] for each in defaults} == {q.code for q in QUOTAS.values() if q.service == "vpc"}
    (one,) = client.list_service_quotas(ServiceCode="ec2", QuotaCode=ELASTIC_IPS)["Quotas"]
    assert one["QuotaCode"] == ELASTIC_IPS
    assert client.list_service_quotas(ServiceCode="ec2", QuotaAppliedAtLevel="RESOURCE")["Quotas"] == []
    for wrong in ({"ServiceCode": "ec3", "QuotaCode": ELASTIC_IPS}, {"ServiceCode": "vpc", "QuotaCode": ELASTIC_IPS}):
        with pytest.raises(ClientError) as caught:
            client.get_service_quota(**wrong)
        assert code_of(caught) == "NoSuchResourceException"
    with pytest.raises(ClientError) as caught:
        client.list_service_quotas(ServiceCode="ec2", NextToken="x")
    assert code_of(caught) == "InvalidPaginationTokenException"


def test_an_increase_is_asked_for_and_approved(api: ApiServer) -> None:
    client, elsewhere = api.client("service-quotas"), api.client("service-quotas", "eu-west-1")
    of = {"ServiceCode": "ec2", "QuotaCode": RUNNING_VCPUS}
    asked = client.request_service_quota_increase(**of, DesiredValue=64.0)["RequestedQuota"]
    assert (asked["Status"], asked["DesiredValue"]) == ("PENDING", 64)
    assert asked["Requester"] == f"arn:aws:iam::{api.account_id}:root"
    assert value(client, RUNNING_VCPUS) == 8
    with pytest.raises(ClientError) as caught:
        client.request_service_quota_increase(**of, DesiredValue=65.0)
    assert code_of(caught) == "ResourceAlreadyExistsException"
    with api.store.write() as tx:
        (open_one,) = quotas.open_requests(tx)
        assert (open_one.id, open_one.account_id) == (asked["Id"], api.account_id)
        quotas.approve(tx, open_one.id)
    assert (value(client, RUNNING_VCPUS), value(elsewhere, RUNNING_VCPUS)) == (64, 8)
    assert client.get_aws_default_service_quota(**of)["Quota"]["Value"] == 8
    done = client.get_requested_service_quota_change(RequestId=asked["Id"])["RequestedQuota"]
    assert done["Status"] == "APPROVED"
    assert client.list_requested_service_quota_change_history(ServiceCode="ec2")["RequestedQuotas"] == [done]
    assert client.list_requested_service_quota_change_history_by_quota(**of)["RequestedQuotas"] == [done]
    assert client.list_requested_service_quota_change_history(Status="PENDING")["RequestedQuotas"] == []
    assert client.list_requested_service_quota_change_history(ServiceCode="vpc")["RequestedQuotas"] == []
    with api.store.write() as tx, pytest.raises(NotPossible):
        quotas.deny(tx, asked["Id"])


def test_an_increase_is_denied(api: ApiServer) -> None:
    client = api.client("service-quotas")
    of = {"ServiceCode": "ec2", "QuotaCode": RUNNING_VCPUS}
    asked = client.request_service_quota_increase(**of, DesiredValue=9.0, SupportCaseAllowed=False)["RequestedQuota"]
    with api.store.write() as tx:
        quotas.deny(tx, asked["Id"])
    assert value(client, RUNNING_VCPUS) == 8
    client.request_service_quota_increase(**of, DesiredValue=10.0)
    statuses = client.list_requested_service_quota_change_history()["RequestedQuotas"]
    assert sorted(each["Status"] for each in statuses) == ["DENIED", "PENDING"]


@pytest.mark.parametrize("desired", [8.0, 0.0])
def test_what_is_no_increase_is_refused(api: ApiServer, desired: float) -> None:
    with pytest.raises(ClientError) as caught:
        api.client("service-quotas").request_service_quota_increase(
            ServiceCode="ec2", QuotaCode=RUNNING_VCPUS, DesiredValue=desired
        )
    assert code_of(caught) == "IllegalArgumentException"


def test_a_request_of_another_account_is_none(api: ApiServer) -> None:
    asked = api.client("service-quotas").request_service_quota_increase(
        ServiceCode="ec2", QuotaCode=RUNNING_VCPUS, DesiredValue=9.0
    )
    _account, keys = api.create_account()
    with pytest.raises(ClientError) as caught:
        api.client("service-quotas", keys=keys).get_requested_service_quota_change(
            RequestId=asked["RequestedQuota"]["Id"]
        )
    assert code_of(caught) == "NoSuchResourceException"


def test_quotas_have_tags(api: ApiServer) -> None:
    client = api.client("service-quotas")
    arn = f"arn:aws:servicequotas:us-east-1:{api.account_id}:ec2/{RUNNING_VCPUS}"
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "a"}, {"Key": "x", "Value": ""}])
    client.untag_resource(ResourceARN=arn, TagKeys=["x", "y"])
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    for wrong, tag, code in (
        (arn.replace("us-east-1", "eu-west-1"), "a", "NoSuchResourceException"),
        (arn.replace("/ec2", "/vpc"), "aws:x", "IllegalArgumentException"),
    ):
        with pytest.raises(ClientError) as caught:
            client.tag_resource(ResourceARN=wrong, Tags=[{"Key": tag, "Value": ""}])
        assert code_of(caught) == code
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    with pytest.raises(ClientError) as caught:
        client.tag_resource(ResourceARN=arn, Tags=many)
    assert code_of(caught) == "TooManyTagsException"
