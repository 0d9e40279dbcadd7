"""AssumeRoleWithWebIdentity: tokens of a real provider, unsigned calls, and what a provider may not do to the cloud."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config as BotoConfig

from freehold.config import Config, IdentityProviders, Throttle
from freehold.records.identities import OidcProvider, Role
from freehold.services.sts import providers
from freehold.services.sts.errors import IDPCommunicationError
from freehold.services.sts.providers import ProviderKeys
from tests.cloudapi import ApiServer, api_server, check_answer
from tests.front.audited import recorded
from tests.iam.granting import allow, document
from tests.sts.calls import keys_of, refused
from tests.sts.provider import CLIENT, Provider, new_key, provider

NAME = "a-session"
ACCOUNT = "111122223333"


@pytest.fixture(scope="module")
def oidc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, oidc: Provider) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud"), oidc.config) as served:
        register(served, oidc)
        yield served


def register(api: ApiServer, oidc: Provider) -> str:
    arn = f"arn:aws:iam::{api.account_id}:oidc-provider/{oidc.url}"
    with api.store.write() as tx:
        tx.put(OidcProvider(arn, api.account_id, oidc.url, [CLIENT, "other-app"], [], tx.now))
    return arn


@pytest.fixture(scope="module")
def anonymous(api: ApiServer) -> Iterator[Any]:
    """A client without any key."""
    config = BotoConfig(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    client = boto3.client("sts", region_name="us-east-1", endpoint_url=api.url, config=config)
    client.meta.events.register("after-call.*", check_answer)
    yield client
    client.close()


def role(api: ApiServer, oidc: Provider, name: str, *, actions: Any = None, **condition: Any) -> str:
    """The ARN of a role that trusts the provider's tokens under a condition."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{api.account_id}:oidc-provider/{oidc.url}"},
        "Action": actions or "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }
    made = api.create_role(name)
    with api.store.write() as tx:
        tx.update(made, trust_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    return f"arn:aws:iam::{api.account_id}:role/{name}"


def test_a_token_gives_a_role(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    arn = role(api, oidc, "web", StringEquals={f"{oidc.url}:sub": "alice", f"{oidc.url}:aud": CLIENT})
    answer = anonymous.assume_role_with_web_identity(
        RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=oidc.token(), DurationSeconds=900
    )
    assert answer["SubjectFromWebIdentityToken"] == "alice"
    assert answer["Audience"] == CLIENT
    session = f"arn:aws:sts::{api.account_id}:assumed-role/web/{NAME}"
    assert answer["AssumedRoleUser"]["Arn"] == session
    who = api.client("sts", keys=keys_of(answer)).get_caller_identity()
    assert (who["Arn"], who["UserId"]) == (session, answer["AssumedRoleUser"]["AssumedRoleId"])
    # A signature makes no difference.
    assert (
        api.client("sts").assume_role_with_web_identity(
            RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=oidc.token()
        )["Audience"]
        == CLIENT
    )


def test_the_trust_policy_decides(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    arn = role(api, oidc, "only-bob", StringEquals={f"{oidc.url}:sub": "bob"})
    denied = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    with refused("AccessDenied", denied):
        anonymous.assume_role_with_web_identity(RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=oidc.token())
    anonymous.assume_role_with_web_identity(RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=oidc.token(sub="bob"))
    nobody = api.create_role("nobody")
    for other in (f"arn:aws:iam::{api.account_id}:role/{nobody.name}", f"arn:aws:iam::{api.account_id}:role/absent"):
        with refused("AccessDenied", denied):
            anonymous.assume_role_with_web_identity(RoleArn=other, RoleSessionName=NAME, WebIdentityToken=oidc.token())


@pytest.mark.parametrize(
    ("claims", "code", "message"),
    [
        ({"aud": "another-app"}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"aud": None}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"aud": [CLIENT, "third"]}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"exp": 1}, "ExpiredTokenException", "Token expired"),
        ({"exp": "soon"}, "InvalidIdentityToken", "exp"),
        ({"iat": None}, "InvalidIdentityToken", "iat"),
        ({"nbf": time.time() + 3600}, "InvalidIdentityToken", "not valid yet"),
        ({"sub": None}, "InvalidIdentityToken", "sub"),
        ({"iss": "https://nobody.example.org"}, "InvalidIdentityToken", "No OpenIDConnect provider found"),
        ({"iss": 5}, "InvalidIdentityToken", "not a valid JWT"),
        ({"https://aws.amazon.com/tags": ["a"]}, "InvalidIdentityToken", "principal_tags"),
        ({"https://aws.amazon.com/source_identity": 7}, "InvalidIdentityToken", "source_identity"),
    ],
)
def test_tokens_that_are_refused(
    api: ApiServer, oidc: Provider, anonymous: Any, claims: dict[str, Any], code: str, message: str
) -> None:
    arn = f"arn:aws:iam::{api.account_id}:role/web"
    with refused(code, message):
        anonymous.assume_role_with_web_identity(
            RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=oidc.token(**claims)
        )


def test_forged_tokens(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    arn = f"arn:aws:iam::{api.account_id}:role/web"
    head, claims, signature = oidc.token().split(".")
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    tokens = [
        oidc.token(new_key("first")),  # another key of the same name
        f"{head}.{oidc.token(sub='root').split('.')[1]}.{signature}",
        f"{none}.{claims}.",
        f"{head}.{claims}.",
        "a.b.c",
        "not a token",
        f"{head}.{'e30'}.{signature}",
        "[[[[" * 4000,
    ]
    for token in tokens:
        with refused("InvalidIdentityToken"):
            anonymous.assume_role_with_web_identity(RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=token)


def test_tags_and_source_identity(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    claims = {
        "https://aws.amazon.com/tags": {"principal_tags": {"team": ["red"]}, "transitive_tag_keys": ["team"]},
        "https://aws.amazon.com/source_identity": "alice@example.org",
    }
    plain = role(api, oidc, "plain")
    with refused("AccessDenied"):  # a permission of its own
        anonymous.assume_role_with_web_identity(
            RoleArn=plain, RoleSessionName=NAME, WebIdentityToken=oidc.token(**claims)
        )
    actions = ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"]
    tagged = role(api, oidc, "tagged", actions=actions, StringEquals={"aws:RequestTag/team": "red"})
    answer = anonymous.assume_role_with_web_identity(
        RoleArn=tagged, RoleSessionName=NAME, WebIdentityToken=oidc.token(**claims)
    )
    assert answer["SourceIdentity"] == "alice@example.org"
    assert 0 < answer["PackedPolicySize"] <= 100


def test_the_call_is_in_the_trail_of_the_roles_account(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    arn = role(api, oidc, "watched")
    answer = anonymous.assume_role_with_web_identity(RoleArn=arn, RoleSessionName=NAME, WebIdentityToken=oidc.token())
    event = recorded(api, answer["ResponseMetadata"]["RequestId"])
    assert event["recipientAccountId"] == api.account_id
    provider_arn = f"arn:aws:iam::{api.account_id}:oidc-provider/{oidc.url}"
    assert event["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": f"{provider_arn}:{CLIENT}:alice",
        "userName": "alice",
        "identityProvider": provider_arn,
    }
    assert event["requestParameters"]["roleArn"] == arn
    signed = api.client("sts", keys=keys_of(answer)).get_caller_identity()
    session = recorded(api, signed["ResponseMetadata"]["RequestId"])["userIdentity"]["sessionContext"]
    assert session["webIdFederationData"] == {"federatedProvider": provider_arn, "attributes": {}}
    for secret in (oidc.token().split(".")[0], answer["Credentials"]["SecretAccessKey"]):
        assert secret not in json.dumps(event)


def test_a_session_knows_its_provider_and_how_it_was_asked_for(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    plain = role(
        api, oidc, "plain-http", Bool={"aws:SecureTransport": "false"}, IpAddress={"aws:SourceIp": "127.0.0.1"}
    )
    answer = anonymous.assume_role_with_web_identity(RoleArn=plain, RoleSessionName=NAME, WebIdentityToken=oidc.token())
    provider_arn = f"arn:aws:iam::{api.account_id}:oidc-provider/{oidc.url}"
    root, ec2 = api.client("iam"), api.client("ec2", keys=keys_of(answer))
    for named, allowed in ((f"{provider_arn}-other", False), (provider_arn, True)):
        statement = allow("ec2:DescribeRegions", StringEquals={"aws:FederatedProvider": named})
        root.put_role_policy(RoleName="plain-http", PolicyName="own", PolicyDocument=document(statement))
        with nullcontext() if allowed else refused("UnauthorizedOperation"):
            ec2.describe_regions()
    safe = role(api, oidc, "safe", Bool={"aws:SecureTransport": "true"})
    with refused("AccessDenied"):
        anonymous.assume_role_with_web_identity(RoleArn=safe, RoleSessionName=NAME, WebIdentityToken=oidc.token())


def test_who_asks_without_a_signature_is_slowed_down(tmp_path: Path) -> None:
    slow = Config(throttle=Throttle(unsigned_per_second=0.001, unsigned_burst=3))
    with api_server(tmp_path, slow) as api:
        client = api.client("sts", signature_version=UNSIGNED)
        for code in ("InvalidIdentityToken",) * 3 + ("Throttling",) * 2:
            with refused(code):
                client.assume_role_with_web_identity(
                    RoleArn="arn:aws:iam::111122223333:role/web", RoleSessionName=NAME, WebIdentityToken="no token"
                )
        api.client("sts").get_caller_identity()


def test_only_this_call_needs_no_signature(api: ApiServer, anonymous: Any) -> None:
    with refused("MissingAuthenticationToken"):
        anonymous.get_caller_identity()
    with refused("UnsupportedOperation", "AssumeRoleWithSAML"):
        anonymous.assume_role_with_saml(
            RoleArn="arn:aws:iam::111122223333:role/web",
            PrincipalArn="arn:aws:iam::111122223333:saml-provider/idp",
            SAMLAssertion="assertion",
        )
    with refused("ValidationError", "is invalid"):
        anonymous.assume_role_with_web_identity(
            RoleArn="arn:aws:iam::1111222233:role/web", RoleSessionName=NAME, WebIdentityToken="a" * 8
        )


@contextmanager
def unreachable(oidc: Provider, config: IdentityProviders | None = None) -> Iterator[None]:
    """A fresh memory of keys gets none from the provider."""
    with pytest.raises(IDPCommunicationError):
        ProviderKeys().of(ACCOUNT, oidc.url, "first", config or oidc.config.identity_providers)
    yield
    oidc.answers.clear()


CONFIGURATION, KEYS = "/realm/.well-known/openid-configuration", "/realm/keys"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (CONFIGURATION, 404),
        (CONFIGURATION, 302),
        (CONFIGURATION, b"not JSON"),
        (CONFIGURATION, b"[" * 100_000),
        (CONFIGURATION, ["a list"]),
        (CONFIGURATION, {"issuer": "https://another.example.org", "jwks_uri": "https://localhost/keys"}),
        (CONFIGURATION, {"jwks": "none"}),
        (KEYS, {"keys": "none"}),
        (KEYS, {"keys": [{"kty": "RSA", "n": "!", "e": 5}]}),
        (KEYS, {"no": "keys"}),
        (KEYS, b'{"keys": [' + b" " * (300 << 10) + b"]}"),
    ],
)
def test_what_a_provider_should_not_answer(oidc: Provider, path: str, answer: Any) -> None:
    oidc.answers[path] = answer
    with unreachable(oidc):
        pass


@pytest.mark.parametrize(
    "location",
    ["http://localhost/keys", "file:///etc/passwd", "https://user@localhost/keys", "https://[", "https:///keys", 7],
)
def test_keys_are_not_fetched_from_just_anywhere(oidc: Provider, location: Any) -> None:
    oidc.answers[CONFIGURATION] = {"issuer": f"https://{oidc.url}", "jwks_uri": location}
    with unreachable(oidc):
        pass


def test_a_provider_within_the_machine_is_not_asked(oidc: Provider) -> None:
    asked = len(oidc.asked)
    with unreachable(oidc, IdentityProviders(authorities=oidc.config.identity_providers.authorities)):
        assert len(oidc.asked) == asked
    with unreachable(oidc, IdentityProviders(networks=("127.0.0.0/8", "::1/128"))):  # a certificate of nobody's
        assert len(oidc.asked) == asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("203.0.113.5", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
    ],
)
def test_addresses(address: str, public: bool) -> None:
    assert providers.is_public(ip_address(address)) is public


def test_keys_are_remembered_and_found_anew(tmp_path: Path) -> None:
    with provider(tmp_path) as oidc:
        keys, config = ProviderKeys(), oidc.config.identity_providers
        for _ in range(3):
            assert keys.of(ACCOUNT, oidc.url, "first", config).keys[0].kid == "first"
        assert oidc.asked.count(KEYS) == 1
        oidc.key = new_key("second")
        assert keys.of(ACCOUNT, oidc.url, "second", config).keys[0].kid == "first"  # not again so soon
        assert oidc.asked.count(KEYS) == 1
        oidc.answers[KEYS] = 500
        failing = ProviderKeys()
        for _ in range(3):
            with pytest.raises(IDPCommunicationError):
                failing.of(ACCOUNT, oidc.url, "first", config)
        assert oidc.asked.count(KEYS) == 2


def test_slow_providers_of_one_account_leave_room_for_others(tmp_path: Path) -> None:
    with provider(tmp_path) as oidc, socket.create_server(("127.0.0.1", 0)) as silent:
        keys, config = ProviderKeys(), oidc.config.identity_providers
        port = silent.getsockname()[1]
        with ThreadPoolExecutor() as pool:
            slow = [pool.submit(keys.of, ACCOUNT, f"localhost:{port}/{n}", "first", config) for n in range(2)]
            held = [silent.accept()[0] for _ in slow]  # both wait for an answer
            with pytest.raises(IDPCommunicationError):
                keys.of(ACCOUNT, oidc.url, "first", config)
            assert keys.of("444455556666", oidc.url, "first", config).keys[0].kid == "first"
            for connection in held:
                connection.close()
            for asked in slow:
                with pytest.raises(IDPCommunicationError):
                    asked.result()
        assert keys.of(ACCOUNT, oidc.url, "first", config)


def test_roles_of_other_accounts_want_their_own_provider(api: ApiServer, oidc: Provider, anonymous: Any) -> None:
    other, _ = api.create_account()
    made: Role = api.create_role("web", other)
    with refused("InvalidIdentityToken", "No OpenIDConnect provider found"):
        anonymous.assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::{other}:role/{made.name}", RoleSessionName=NAME, WebIdentityToken=oidc.token()
        )
