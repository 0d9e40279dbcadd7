"""A hundred thousand requests, policies and tokens that are not what they should be: each gets AWS's error, none a 500,
and nothing of them stays in memory."""

from __future__ import annotations

import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
import pytest
from botocore import serialize
from botocore.model import OperationModel, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.config import Config, Throttle
from freehold.front.dispatch import Arrival, Dispatcher
from freehold.front.errors import InvalidUri
from freehold.front.protocols.message import HttpRequest, pairs
from freehold.front.protocols.rest import RestProtocol
from freehold.iam.document import MalformedPolicy, parse
from freehold.records.sessions import Holder
from freehold.services.errors import AwsError
from freehold.services.operation import Catalog
from tests.cloudapi import ApiServer, Keys, api_server
from tests.ec2.launching import add_host
from tests.front.shapes import Values
from tests.front.signing import Unsigned, signed
from tests.front.test_protocols import fits, model_of, request_of
from tests.front.test_walk import NAMED, least
from tests.sts.provider import Provider, provider
from tests.sts.test_web_identity import register, role

UNLIMITED = Config(throttle=Throttle(reads_per_second=1e9, reads_burst=1e9, writes_per_second=1e9, writes_burst=1e9))
# For each example that hypothesis draws; together, with tokens of two kinds, 100,000.
REQUESTS, SIGNATURES, POLICIES, TOKENS, DOCUMENTS = 60, 15, 80, 15, 15
EXAMPLES = 500
GROWTH_MAX_MIB = 64

fuzzing = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
randoms = st.integers(0, 2**32 - 1).map(random.Random)

_HOSTILE = (
    b"", b"\0", b"\xff\xfe", b"%", b"%00", b"%zz", b"%ff%fe", b"&", b"=", b"&&&=", b"+", b".1.2.3.4.5", b".1000000000",
    b"<", b">", b"]]>", b"&#0;", b"&lol;", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>", b"<a>" * 3000,
    b"[" * 3000, b'{"a":' * 3000, b"{", b"}", b'"', b"\\u0000", b"\\ud800", b"null", b"true", b"-1", b"1e999", b"NaN",
    b"9" * 400, b"-0", b"0x10", b"' OR 1=1 --", b"../" * 20, b"\r\nX-Evil: 1", "ü\u202e🐧".encode(), b"A" * 5000,
)  # fmt: skip


def mangled(chance: random.Random, text: bytes) -> bytes:
    """`text` with one to four places changed, cut, doubled or filled with something hostile."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(text))
        to = min(len(text), at + chance.choice((0, 1, 1, 2, 8, 64)))
        match chance.randint(0, 4):
            case 0:
                text = text[:at] + chance.choice(_HOSTILE) + text[to:]
            case 1:
                text = text[:at]
            case 2:
                text = text[:at] + chance.randbytes(to - at) + text[to:]
            case 3:
                text = text[:to] + text[at:to] + text[to:]
            case 4:
                text = text[:at] + text[to:]
    return text


def one_line(text: bytes) -> str:
    """As a header or a path can hold it."""
    return "".join(chr(byte) for byte in text if byte >= 0x20 and byte != 0x7F)


class Target:
    """The front door without its sockets, and a good request of every operation."""

    def __init__(self, api: ApiServer, config: Config) -> None:
        catalog = Catalog()
        self.api = api
        self.keys = api.root
        self.dispatcher = Dispatcher(catalog, api.store, api.sealer, config)
        self.good = [self._good(operation.model) for operation in catalog.operations.values()]

    def _good(self, model: OperationModel) -> Unsigned:
        params = least(model.input_shape) if model.input_shape else {}
        params |= NAMED.get(f"{model.service_model.service_name}.{model.name}", {})
        made = serialize.create_serializer(model.service_model.resolved_protocol, False).serialize_to_request(
            params, model
        )
        body, query = made["body"], made["query_string"]
        if isinstance(body, dict):
            body = "&".join(f"{name}={value}" for name, value in body.items())
        body = body.encode() if isinstance(body, str) else body
        query = "&".join(f"{name}={value}" for name, value in query.items()) if isinstance(query, dict) else query
        headers = {name.lower(): value for name, value in dict(made["headers"]).items()}
        return Unsigned(
            model.service_model.signing_name, made["method"], made["url_path"], query or "", headers, body or b""
        )

    def send(self, request: Unsigned, keys: Keys | None, *, tamper: Callable[[str], str] | None = None) -> int:
        """The status of the answer; `tamper` changes the Authorization header."""
        if keys is not None:
            request = signed(request, keys, "localhost")
        headers = dict(request.headers)
        if tamper is not None:
            headers["authorization"] = tamper(headers["authorization"])
        arrival = Arrival(HttpRequest(request.method, request.path, [], headers), str(uuid4()), "127.0.0.1")
        try:
            arrival.request.query = pairs(request.query)
        except InvalidUri as error:  # as the application does
            answer = self.dispatcher.refuse(arrival, error)
        else:
            journey = self.dispatcher.begin(arrival)
            arrival.request.body = request.body
            answer = self.dispatcher.answer(arrival, journey)
        assert isinstance(answer.body, bytes)
        assert answer.status < 500 or answer.status == 501, (request, answer.body)
        return answer.status


@pytest.fixture(scope="module")
def oidc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, oidc: Provider) -> Iterator[Target]:
    config = msgspec.structs.replace(UNLIMITED, identity_providers=oidc.config.identity_providers)
    with api_server(tmp_path_factory.mktemp("cloud"), config) as api:
        add_host(api.store)
        made = Target(api, config)
        for request in made.good:
            made.send(request, made.keys)
        yield made
        made.dispatcher.close()


@pytest.fixture
def growth() -> Iterator[None]:
    """The memory of this process may grow while it warms up, not with what it is sent."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < GROWTH_MAX_MIB


def changed(chance: random.Random, good: Unsigned) -> Unsigned:
    """One part of a good request mangled."""
    parts = {"body": good.body, "query": good.query.encode(), "path": good.path.encode()}
    for name, value in good.headers.items():
        parts[name] = str(value).encode()
    part = chance.choice([name for name, value in parts.items() if value] or ["body"])
    text = mangled(chance, parts[part])
    headers, body, query, path = dict(good.headers), good.body, good.query, good.path
    match part:
        case "body":
            body = text
        case "query":
            query = one_line(text).encode("ascii", "ignore").decode()
        case "path":
            path = "/" + one_line(text).encode("ascii", "ignore").decode().lstrip("/").partition("?")[0]
        case _:
            headers[part] = one_line(text)
    return Unsigned(good.service, good.method, path, query, headers, body)


@pytest.mark.usefixtures("growth")
@fuzzing
@given(chance=randoms)
def test_inputs(target: Target, chance: random.Random) -> None:
    """Forms, JSON and XML that the parsers, and then the operations, have to make something of: signed as they are."""
    for _ in range(REQUESTS):
        target.send(changed(chance, chance.choice(target.good)), target.keys)


@pytest.mark.usefixtures("growth")
@fuzzing
@given(chance=randoms)
def test_signatures(target: Target, chance: random.Random) -> None:
    def tamper(authorization: str) -> str:
        return one_line(mangled(chance, authorization.encode()))

    for _ in range(SIGNATURES):
        target.send(chance.choice(target.good), target.keys, tamper=tamper)


@pytest.mark.usefixtures("growth")
@fuzzing
@given(chance=randoms)
def test_session_tokens(target: Target, session: Keys, chance: random.Random) -> None:
    """Of a session that there is, with its secret: whatever of the token is changed, it opens nothing."""
    assert session.session_token is not None
    for _ in range(TOKENS):
        token = chance.choice((session.session_token.encode(), os.urandom(chance.randint(0, 200)).hex().encode(), b"."))
        other = one_line(mangled(chance, token))
        if other != session.session_token:
            assert target.send(chance.choice(target.good), replace(session, session_token=other)) in (400, 401, 403)


@pytest.fixture(scope="module")
def session(target: Target) -> Keys:
    return target.api.create_session(Holder(target.api.account_id, "root", target.api.account_id))


@pytest.mark.usefixtures("growth")
@fuzzing
@given(chance=randoms)
def test_identity_tokens(target: Target, web_identity: dict[str, str], chance: random.Random) -> None:
    """Of an OpenID Connect provider that the cloud trusts, for a role that trusts all of them."""
    token = web_identity["WebIdentityToken"]
    for _ in range(TOKENS):
        other = one_line(mangled(chance, token.encode()))
        if other != token:
            assert target.send(assuming(web_identity | {"WebIdentityToken": other}), None) in (400, 403)


def assuming(params: dict[str, str]) -> Unsigned:
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", **params}
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return Unsigned("sts", "POST", "/", "", headers, urlencode(form, errors="surrogateescape").encode())


@pytest.fixture(scope="module")
def web_identity(target: Target, oidc: Provider) -> dict[str, str]:
    register(target.api, oidc)
    role_arn = role(target.api, oidc, "web")
    return {"RoleArn": role_arn, "RoleSessionName": "fuzz", "WebIdentityToken": oidc.token(exp=2**31)}


# What takes XML: the object store's operations, whose parsers are there before they are.
S3 = model_of("s3")
S3_PROTOCOL = RestProtocol(S3, xml=True)


def xml_inputs() -> Iterator[st.SearchStrategy[tuple[str, dict[str, Any]]]]:
    """Of each operation whose input has a document: its name and parameters."""
    for operation in map(S3.operation_model, S3.operation_names):
        shape = operation.input_shape
        if isinstance(shape, StructureShape):
            payload = shape.members.get(shape.serialization.get("payload", ""))
            values = Values(fits).of(shape) if isinstance(payload, StructureShape) else None
            if values is not None:
                yield st.tuples(st.just(operation.name), values)


@pytest.mark.usefixtures("growth")
@fuzzing
@given(drawn=st.one_of(*xml_inputs()), chance=randoms)
def test_documents(drawn: tuple[str, dict[str, Any]], chance: random.Random) -> None:
    request = request_of(S3.operation_model(drawn[0]), "rest-xml", drawn[1])
    name, routed = S3_PROTOCOL.route(request)
    parse_request = S3_PROTOCOL.codec(S3.operation_model(name)).parse
    for _ in range(DOCUMENTS):
        with suppress(AwsError):
            parse_request(replace(request, body=mangled(chance, request.body)), routed)


_POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Id": "id",
    "Statement": [
        {
            "Sid": "One",
            "Effect": "Allow",
            "Action": ["ec2:*", "s3:Get*"],
            "Resource": ["arn:aws:s3:::bucket/${aws:username}/*", "*"],
            "Condition": {
                "StringLike": {"aws:PrincipalTag/team": ["a*", "${aws:PrincipalTag/x, 'd'}"]},
                "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
                "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
                "ForAllValues:NumericLessThanIfExists": {"s3:max-keys": ["10"]},
                "Bool": {"aws:SecureTransport": "true"},
            },
        },
        {"Effect": "Deny", "NotAction": "iam:*", "NotResource": "arn:aws:iam::123456789012:user/a"},
    ],
}


@pytest.mark.usefixtures("growth")
@fuzzing
@given(chance=randoms)
def test_policies(chance: random.Random) -> None:
    text = json.dumps(_POLICY).encode()
    for _ in range(POLICIES):
        document = mangled(chance, text).decode("utf-8", "surrogateescape")
        with suppress(MalformedPolicy):
            parse(document, "identity")


def test_the_unmangled_is_understood(target: Target, session: Keys, web_identity: dict[str, str]) -> None:
    """Or the tests above would only show that nonsense is refused."""
    statuses = [target.send(request, target.keys) for request in target.good]
    assert statuses.count(200) > len(statuses) / 4
    assert target.send(assuming(web_identity), None) == 200
    sts = target.api.client("sts", keys=session)
    assert sts.get_caller_identity()["Account"] == target.api.account_id
    assert parse(json.dumps(_POLICY), "identity")
