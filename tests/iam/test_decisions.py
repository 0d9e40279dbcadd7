"""What users may do, by boto3: whose policies count, and which keys conditions may name."""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from freehold.config import Config
from freehold.iam import denials
from freehold.records.sessions import Holder, Session, issue
from freehold.records.tags import Tag
from tests.cloudapi import ApiServer, Keys, api_server
from tests.iam.granting import Grants, allow, denied, deny, document

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


@pytest.fixture(scope="module")
def grants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grants]:
    config = Config(https_address="127.0.0.1")
    directory = tmp_path_factory.mktemp("cloud")
    with api_server(directory, config) as api:
        yield Grants(api, directory / "pki" / "ca.crt")


def may_describe(api: ApiServer, keys: Keys, **options: Any) -> bool:
    """Whether DescribeVpcs is answered."""
    client = api.client("ec2", keys=keys, **options)
    try:
        return bool(client.describe_vpcs()["Vpcs"])
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "UnauthorizedOperation":
            raise
        return False


def test_a_user_may_do_what_their_policy_allows_and_nothing_else(grants: Grants) -> None:
    keys = grants.user("alice", allow("ec2:DescribeVpcs"))
    client = grants.api.client("ec2", keys=keys)
    assert client.describe_vpcs()["Vpcs"]
    user = f"User: arn:aws:iam::{grants.api.account_id}:user/alice is not authorized to perform: ec2:DescribeSubnets"
    with denied(f"{user} because no identity-based policy allows the ec2:DescribeSubnets action"):
        client.describe_subnets()
    grants.inline(grants.user_id("alice"), deny("ec2:Describe*"), name="never")
    with denied("is not authorized to perform: ec2:DescribeVpcs with an explicit deny in an identity-based policy"):
        client.describe_vpcs()


def test_policies_of_groups_and_managed_ones_count(grants: Grants) -> None:
    member = grants.user("member")
    member_id = grants.user_id("member")
    assert not may_describe(grants.api, member)
    group_id = grants.group("readers", member_id)
    grants.inline(group_id, allow("ec2:DescribeVpcs"))
    assert may_describe(grants.api, member)

    other = grants.user("attached")
    # The first version of it allows everything; the default one decides.
    arn = grants.managed("vpcs", allow("ec2:DescribeVpcs"))
    grants.attach(grants.group("others", grants.user_id("attached")), arn)
    assert may_describe(grants.api, other)
    with denied():
        grants.api.client("ec2", keys=other).describe_subnets()


def test_aws_managed_policies(grants: Grants) -> None:
    reader = grants.user("reader")
    grants.attach(grants.user_id("reader"), READ_ONLY)
    client = grants.api.client("ec2", keys=reader)
    assert client.describe_vpcs()["Vpcs"]
    with denied("on resource: arn:aws:ec2:us-east-1:"):
        client.create_key_pair(KeyName="mine")
    administrator = grants.user("administrator")
    grants.attach(grants.user_id("administrator"), ADMINISTRATOR)
    assert grants.api.client("ec2", keys=administrator).create_key_pair(KeyName="mine")["KeyMaterial"]


def test_a_boundary_limits(grants: Grants) -> None:
    keys = grants.user("limited", allow("*"))
    grants.limit(grants.user_id("limited"), grants.managed("limit", allow("ec2:DescribeVpcs")))
    client = grants.api.client("ec2", keys=keys)
    assert client.describe_vpcs()["Vpcs"]
    with denied("because no permissions boundary allows the ec2:DescribeSubnets action"):
        client.describe_subnets()


def session_of(grants: Grants, name: str, kind: Any = "user", **said: Any) -> Keys:
    """Temporary credentials of a user, that say this."""
    now = dt.datetime.now(dt.UTC)
    session = Session(now, now + dt.timedelta(hours=1), **said)
    user_id = grants.user_id(name)
    holder = Holder(grants.api.account_id, kind, user_id, "guest" if kind == "federated" else "")
    made = issue(grants.api.sealer, holder, session)
    return Keys(made.access_key_id, made.secret_access_key, made.session_token)


def test_session_policies_limit(grants: Grants) -> None:
    grants.user("host", allow("ec2:Describe*"))
    api = grants.api
    assert not may_describe(api, session_of(grants, "host", "federated"))  # without any, it may do nothing
    assert may_describe(api, session_of(grants, "host", "federated", policies=(document(allow("*")),)))
    assert may_describe(api, session_of(grants, "host", "federated", policy_arns=(READ_ONLY,)))
    own = grants.managed("session", allow("ec2:DescribeVpcs"))
    assert may_describe(api, session_of(grants, "host", "federated", policy_arns=(own,)))
    with denied("federated-user/guest", "because no session policy allows the ec2:DescribeVpcs action"):
        keys = session_of(grants, "host", "federated", policies=(document(allow("s3:*")),))
        api.client("ec2", keys=keys).describe_vpcs()


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1", "ec2:Region": "us-east-1"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
        ({"StringEquals": {"aws:username": "${aws:username}", "aws:PrincipalType": "User"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/key-*"}}, True),
        ({"StringLike": {"aws:UserAgent": "*freehold-tests*", "aws:userid": "AIDA*"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z", "aws:EpochTime": "1577836800"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"Bool": {"aws:SecureTransport": "false", "aws:ViaAWSService": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"Null": {"aws:MultiFactorAuthPresent": "true", "aws:TokenIssueTime": "true"}}, True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, True),
        ({"StringEquals": {"aws:PrincipalTag/team": "red"}}, True),
        ({"StringEquals": {"aws:PrincipalTag/Team": "red"}}, True),
        ({"StringEquals": {"aws:PrincipalTag/team": "blue"}}, False),
        ({"StringEquals": {"aws:PrincipalTag/other": "red"}}, False),
        ({"Null": {"aws:PrincipalOrgID": "false"}}, False),
    ],
)
def test_global_condition_keys(grants: Grants, condition: Any, allowed: bool) -> None:
    name = f"key-{zlib.crc32(json.dumps(condition).encode())}"
    keys = grants.user(name, allow("ec2:DescribeVpcs", **condition))
    with grants.api.store.write() as tx:
        tx.put(Tag(grants.user_id(name), "team", "red", grants.api.account_id, "", "user"))
    assert may_describe(grants.api, keys) is allowed


def test_the_account_of_a_principal(grants: Grants) -> None:
    account = {"aws:PrincipalAccount": grants.api.account_id, "aws:ResourceAccount": "${aws:PrincipalAccount}"}
    assert may_describe(grants.api, grants.user("of-account", allow("ec2:*", StringEquals=account)))


def test_secure_transport(grants: Grants) -> None:
    keys = grants.user("secure", allow("ec2:*", Bool={"aws:SecureTransport": "true"}))
    assert not may_describe(grants.api, keys)
    assert may_describe(grants.api, keys, endpoint_url=grants.api.https_url, verify=str(grants.authority))


def test_the_page_that_sent_the_caller(grants: Grants) -> None:
    keys = grants.user("referred", allow("ec2:*", StringLike={"aws:Referer": "https://console.example.org/*"}))
    assert not may_describe(grants.api, keys)
    client = grants.api.client("ec2", keys=keys)

    def add(request: Any, **_: Any) -> None:
        request.headers["Referer"] = "https://console.example.org/servers"

    client.meta.events.register("before-send.ec2.*", add)
    assert client.describe_vpcs()["Vpcs"]


def test_codes_of_mfa_devices(grants: Grants) -> None:
    grants.user("careful", allow("ec2:*", Bool={"aws:MultiFactorAuthPresent": "true"}))
    now = dt.datetime.now(dt.UTC)
    assert not may_describe(grants.api, session_of(grants, "careful"))
    assert may_describe(grants.api, session_of(grants, "careful", mfa_at=now))
    grants.user("recent", allow("ec2:*", NumericLessThan={"aws:MultiFactorAuthAge": "3600"}))
    assert may_describe(grants.api, session_of(grants, "recent", mfa_at=now))
    assert not may_describe(grants.api, session_of(grants, "recent", mfa_at=now - dt.timedelta(hours=2)))
    assert not may_describe(grants.api, session_of(grants, "recent"))


def test_session_tags_come_before_the_users(grants: Grants) -> None:
    grants.user("tagged", allow("ec2:*", StringEquals={"aws:PrincipalTag/team": "blue"}))
    with grants.api.store.write() as tx:
        tx.put(Tag(grants.user_id("tagged"), "team", "red", grants.api.account_id, "", "user"))
    assert not may_describe(grants.api, session_of(grants, "tagged"))
    assert may_describe(grants.api, session_of(grants, "tagged", tags={"team": "blue"}))


def test_a_policy_of_another_account_does_not_count(grants: Grants) -> None:
    keys = grants.api.create_user("foreign", grants.api.create_account()[0])
    grants.user("foreign", allow("*"))
    assert not may_describe(grants.api, keys)


def test_encoded_messages(grants: Grants) -> None:
    keys = grants.user("curious", allow("ec2:*"), deny("ec2:CreateKeyPair", "*") | {"Sid": "NoKeys"})
    arn = f"arn:aws:ec2:us-east-1:{grants.api.account_id}:key-pair/no"
    with denied(f"ec2:CreateKeyPair on resource: {arn} with an explicit deny in an identity-based policy. ") as caught:
        grants.api.client("ec2", keys=keys).create_key_pair(KeyName="no")
    encoded = caught.value.response["Error"]["Message"].rpartition("Encoded authorization failure message: ")[2]
    message = json.loads(denials.decode(grants.api.sealer, grants.api.account_id, encoded))
    assert message["explicitDeny"] is True
    assert message["matchedStatements"]["items"][0]["statementId"] == "NoKeys"
    assert message["context"]["action"] == "ec2:CreateKeyPair"
    assert message["context"]["resource"] == arn
    conditions = {item["key"]: item["values"]["items"] for item in message["context"]["conditions"]["items"]}
    assert conditions["aws:username"] == [{"value": "curious"}]
    other, _ = grants.api.create_account()
    for account_id, text in ((other, encoded), (grants.api.account_id, encoded[:-4]), (grants.api.account_id, "é")):
        with pytest.raises(denials.InvalidMessage):
            denials.decode(grants.api.sealer, account_id, text)
    with denied() as caught:  # what only reads says all that there is to say
        grants.api.client("ec2", keys=grants.user("nobody")).describe_vpcs()
    assert "Encoded" not in caught.value.response["Error"]["Message"]
