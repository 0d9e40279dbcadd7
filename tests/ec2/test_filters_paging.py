"""Filters and pages, over all that may be asked: EC2's wildcards on both databases, and every item on one page."""

from __future__ import annotations

import base64
import os
import re
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from freehold.records.store import Store
from freehold.services.ec2.filters import matching, wildcard_matches
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import IMAGE, launch, launch_one

# The database of a test is there for all of its examples.
on_one_store = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Every character that an expression language of the two databases gives a meaning, and some without.
_CHARACTERS = st.text("aAä*?\\%_[]^-'\"", max_size=6)


def meant(pattern: str, value: str) -> bool:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html, as a regular expression."""
    parts = {"*": ".*", "?": "."}
    tokens = re.findall(r"\\[*?\\]|.", pattern, re.DOTALL)
    expression = "".join(parts.get(t) or re.escape(t[1:] if len(t) > 1 else t) for t in tokens)
    return re.fullmatch(expression, value, re.DOTALL) is not None


@settings(on_one_store, max_examples=300)
@example([r"a\*"], "a*")
@example(["[a]"], "a")
@example(["*]"], "^]")
@example(["\\"], "\\")
@given(patterns=st.lists(_CHARACTERS, min_size=1, max_size=3), value=_CHARACTERS)
def test_wildcards_mean_the_same_everywhere(store: Store, patterns: list[str], value: str) -> None:
    expected = any(meant(pattern, value) for pattern in patterns)
    assert any(wildcard_matches(pattern, value) for pattern in patterns) == expected
    with store.read() as tx:
        found = tx.connection.execute(sa.select(matching(sa.literal(value, sa.Text()), patterns))).scalar_one()
    assert bool(found) == expected


def test_a_pattern_of_stars_costs_no_more_than_its_length() -> None:
    assert not wildcard_matches("*a" * 2000 + "b", "a" * 10_000)


def test_filters_that_are_none(ready: Caller) -> None:
    for describe in (
        ready.describe_addresses, ready.describe_availability_zones, ready.describe_images, ready.describe_instances,
        ready.describe_instance_status, ready.describe_instance_type_offerings, ready.describe_instance_types,
        ready.describe_internet_gateways, ready.describe_key_pairs, ready.describe_network_interfaces,
        ready.describe_regions, ready.describe_route_tables, ready.describe_security_group_rules,
        ready.describe_security_groups, ready.describe_subnets, ready.describe_tags, ready.describe_volumes,
        ready.describe_vpcs,
    ):  # fmt: skip
        with refused("InvalidParameterValue") as caught:
            describe(Filters=[{"Name": "no-such-filter", "Values": ["x"]}])
        assert "'no-such-filter'" in caught.value.message
        for filters in ([{"Name": "vpc-id"}], [{"Name": "state", "Values": []}], [{"Values": ["x"]}]):
            with refused("InvalidParameterValue"):
                describe(Filters=filters)
        with refused("FilterLimitExceeded"):
            describe(Filters=[{"Name": "state", "Values": [str(number) for number in range(201)]}])


def test_values_that_no_text_can_have_match_nothing(ready: Caller) -> None:
    launch(ready)
    for value in ("\0", "run\0ning", "\\", "%", "' OR 1=1 --"):
        for name in ("image-id", "tag:Name", "tag-key", "instance-state-code", "instance-state-name", "launch-time"):
            assert ready.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"] == []
    with refused("InvalidParameterValue"):
        ready.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["yes"]}])
    assert ready.describe_images(Owners=["a\0b"])["Images"] == []


def instance_ids(answer: Any) -> list[str]:
    return [i["InstanceId"] for reservation in answer["Reservations"] for i in reservation["Instances"]]


def group_ids(answer: Any) -> list[str]:
    return [group["GroupId"] for group in answer["SecurityGroups"]]


def one_more(caller: Caller) -> None:
    caller.create_security_group(GroupName=f"web-{os.urandom(8).hex()}", Description="d")


@on_one_store
@given(size=st.integers(5, 12), new=st.lists(st.integers(0, 2), max_size=4))
def test_each_group_is_on_one_page_whatever_comes_meanwhile(caller: Caller, size: int, new: list[int]) -> None:
    while len(group_ids(caller.describe_security_groups())) < 12:
        one_more(caller)
    before = set(group_ids(caller.describe_security_groups()))
    coming = iter(new)
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = caller.describe_security_groups(MaxResults=size, **token)
        assert len(group_ids(answer)) <= size
        seen += group_ids(answer)
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
        for _ in range(next(coming, 0)):
            one_more(caller)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_each_instance_is_on_one_page_of_any_size(ready: Caller) -> None:
    launch(ready, MaxCount=11)
    everything = instance_ids(ready.describe_instances())
    for size in (5, 10, 11, 12, 1000, 5000):
        seen: list[str] = []
        token: dict[str, str] = {}
        while True:
            answer = ready.describe_instances(MaxResults=size, **token)
            seen += instance_ids(answer)
            if "NextToken" not in answer:
                break
            assert len(instance_ids(answer)) == size
            token = {"NextToken": answer["NextToken"]}
        assert sorted(seen) == sorted(everything)


def test_pages_smaller_than_any_of_aws_s_are_refused(ready: Caller) -> None:
    for describe in (
        ready.describe_instances, ready.describe_instance_status, ready.describe_volumes, ready.describe_tags,
    ):  # fmt: skip
        for size in (-1, 0, 1, 4):
            with refused("InvalidParameterValue") as caught:
                describe(MaxResults=size)
            assert caught.value.message == (
                f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value greater than 5."
            )
    with refused("InvalidParameterValue"):
        ready.describe_images(MaxResults=0)


def test_ids_leave_nothing_to_page(ready: Caller) -> None:
    instance_id = launch_one(ready)["InstanceId"]
    (volume,) = ready.describe_volumes()["Volumes"]
    (interface,) = ready.describe_network_interfaces()["NetworkInterfaces"]
    (group,) = ready.describe_security_groups()["SecurityGroups"]
    (gateway,) = ready.describe_internet_gateways()["InternetGateways"]
    rule = ready.describe_security_group_rules()["SecurityGroupRules"][0]
    for describe, ids, resource_id in (
        (ready.describe_images, "ImageIds", IMAGE),
        (ready.describe_instances, "InstanceIds", instance_id),
        (ready.describe_instance_status, "InstanceIds", instance_id),
        (ready.describe_internet_gateways, "InternetGatewayIds", gateway["InternetGatewayId"]),
        (ready.describe_network_interfaces, "NetworkInterfaceIds", interface["NetworkInterfaceId"]),
        (ready.describe_security_groups, "GroupIds", group["GroupId"]),
        (ready.describe_security_group_rules, "SecurityGroupRuleIds", rule["SecurityGroupRuleId"]),
        (ready.describe_volumes, "VolumeIds", volume["VolumeId"]),
        (ready.describe_vpcs, "VpcIds", group["VpcId"]),
    ):  # fmt: skip
        with refused("InvalidParameterCombination") as caught:
            describe(MaxResults=5, **{ids: [resource_id]})
        assert caught.value.message == f"The parameter {ids} cannot be used with the parameter MaxResults"


@pytest.fixture
def tokens(ready: Caller) -> dict[str, str]:
    """A token of each of several operations."""
    launch(ready, MaxCount=6)
    for _ in range(6):
        one_more(ready)
    return {
        "instances": ready.describe_instances(MaxResults=5)["NextToken"],
        "groups": ready.describe_security_groups(MaxResults=5)["NextToken"],
        "types": ready.describe_instance_types(MaxResults=5)["NextToken"],
        "offerings": ready.describe_instance_type_offerings(LocationType="availability-zone", MaxResults=5)[
            "NextToken"
        ],
    }


def test_tokens_that_are_not_of_this_operation(ready: Caller, stranger: Caller, tokens: dict[str, str]) -> None:
    whole = base64.urlsafe_b64decode(tokens["instances"] + "==")
    asked, key = whole[:8], whole[8:]

    def forged(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    broken = [
        "x", "=", "%%%", "ä", "\0", "AAAA", "a" * 5000, tokens["instances"][:-1], tokens["instances"] + "A",
        forged(b"\0" * 8 + key), forged(asked), forged(asked + b'["a","b"]'), forged(asked + b'[1]'),
        forged(asked + b'["a\\u0000"]'), forged(asked + b"[" * 3000), forged(asked + b'"x"'), forged(asked + b"\xff"),
    ]  # fmt: skip
    for describe, own in (
        (ready.describe_instances, "instances"),
        (ready.describe_security_groups, "groups"),
        (ready.describe_instance_types, "types"),
        (ready.describe_instance_type_offerings, "offerings"),
    ):
        for token in [*broken, *(token for name, token in tokens.items() if name != own)]:
            with refused("InvalidNextToken"):
                describe(NextToken=token)
    filtered: Any = [{"Name": "instance-type", "Values": ["fh1.nano"]}]
    with refused("InvalidNextToken"):
        ready.describe_instances(NextToken=tokens["instances"], Filters=filtered)
    # It is no secret: it names a place in one's own rows.
    assert stranger.describe_instances(NextToken=tokens["instances"])["Reservations"] == []
