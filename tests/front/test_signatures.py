"""Who may come in: signatures in headers and query strings, in the words of each family of services."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from freehold.config import Config
from freehold.records.accounts import AccessKey
from freehold.records.sessions import Holder
from tests.cloudapi import ApiServer, Keys, api_server
from tests.front.signing import Answer, Unsigned, presigned, send, signed

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
REQUESTS = {
    "ec2": Unsigned("ec2", headers=FORM, body=b"Action=DescribeKeyPairs&Version=2016-11-15"),
    "sts": Unsigned(
        "sts", headers=FORM, body=b"Action=GetAccessKeyInfo&Version=2011-06-15&AccessKeyId=0123456789abcdef"
    ),
    "kms": Unsigned(
        "kms",
        headers={"content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.ListAliases"},
        body=b"{}",
    ),
    "efs": Unsigned("elasticfilesystem", "GET", "/2015-02-01/resource-tags/fs-12345678", "MaxResults=7"),
    "s3": Unsigned("s3", "GET"),
}
every_family = pytest.mark.parametrize("family", REQUESTS)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("cloud"), package="tests.front.services") as served:
        yield served


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and error code, as the family's clients find them."""
    assert answer.status >= 400, answer
    if answer.body.startswith(b"{"):
        code = str(json.loads(answer.body)["__type"])
        assert answer.headers["x-amzn-errortype"] == code
    else:
        code = re.findall(r"<Code>(.*?)</Code>", answer.body.decode())[0]
    assert answer.headers.get("x-amzn-requestid") or answer.headers["x-amz-request-id"]
    return answer.status, code


def host(api: ApiServer) -> str:
    return api.url.removeprefix("http://")


def call(api: ApiServer, request: Unsigned, keys: Keys | None = None, **how: object) -> Answer:
    return send(api.url, signed(request, keys or api.root, host(api), **how))  # type: ignore[arg-type]


@every_family
def test_a_signed_request_is_answered(api: ApiServer, family: str) -> None:
    assert call(api, REQUESTS[family]).status == 200
    assert send(api.url, presigned(REQUESTS[family], api.root, host(api))).status == 200


UNKNOWN = {
    "ec2": (401, "AuthFailure"),
    "sts": (403, "InvalidClientTokenId"),
    "kms": (400, "UnrecognizedClientException"),
    "efs": (403, "UnrecognizedClientException"),
    "s3": (403, "InvalidAccessKeyId"),
}
MISMATCH = {
    "ec2": (401, "AuthFailure"),
    "sts": (403, "SignatureDoesNotMatch"),
    "kms": (400, "InvalidSignatureException"),
    "efs": (403, "InvalidSignatureException"),
    "s3": (403, "SignatureDoesNotMatch"),
}
TIME = {**MISMATCH, "ec2": (400, "RequestExpired"), "s3": (403, "RequestTimeTooSkewed")}
EXPIRED_TOKEN = {
    "ec2": (400, "RequestExpired"),
    "sts": (403, "ExpiredToken"),
    "kms": (400, "ExpiredTokenException"),
    "efs": (403, "ExpiredTokenException"),
    "s3": (400, "ExpiredToken"),
}
MALFORMED = {
    "ec2": (400, "IncompleteSignature"),
    "sts": (400, "IncompleteSignature"),
    "kms": (400, "IncompleteSignatureException"),
    "s3": (400, "AuthorizationHeaderMalformed"),
}


def test_a_stranger_is_asked_for_a_signature(api: ApiServer) -> None:
    assert refusal(send(api.url, REQUESTS["sts"])) == (403, "MissingAuthenticationToken")
    assert refusal(send(api.url, REQUESTS["kms"])) == (400, "MissingAuthenticationTokenException")
    assert refusal(send(api.url, REQUESTS["s3"])) == (403, "AccessDenied")


@every_family
def test_an_unknown_key(api: ApiServer, family: str) -> None:
    nobody = Keys("AKIAABCDEFGHIJKLMNOP", "secret")
    assert refusal(call(api, REQUESTS[family], nobody)) == UNKNOWN[family]


@every_family
def test_keys_that_are_inactive_or_deleted_are_unknown_at_once(api: ApiServer, family: str) -> None:
    keys = api.create_key(api.account_id)
    assert call(api, REQUESTS[family], keys).status == 200
    with api.store.write() as tx:
        record = tx.get(AccessKey, keys.access_key_id)
        assert record is not None
        record = tx.update(record, active=False)
    assert refusal(call(api, REQUESTS[family], keys)) == UNKNOWN[family]
    with api.store.write() as tx:
        tx.delete(record)
    assert refusal(call(api, REQUESTS[family], keys)) == UNKNOWN[family]


@every_family
def test_a_wrong_secret(api: ApiServer, family: str) -> None:
    assert refusal(call(api, REQUESTS[family], replace(api.root, secret_access_key="wrong"))) == MISMATCH[family]


@every_family
def test_another_body_than_the_signed_one(api: ApiServer, family: str) -> None:
    changed = replace(signed(REQUESTS[family], api.root, host(api)), body=REQUESTS[family].body + b" ")
    expected = (400, "XAmzContentSHA256Mismatch") if family == "s3" else MISMATCH[family]
    assert refusal(send(api.url, changed)) == expected


@every_family
def test_amz_headers_must_be_signed(api: ApiServer, family: str) -> None:
    expected = (403, "AccessDenied") if family == "s3" else MISMATCH[family]
    assert refusal(call(api, REQUESTS[family], unsigned={"x-amz-meta-a": "b"})) == expected
    assert call(api, REQUESTS[family], unsigned={"x-other": "b"}).status == 200


@every_family
def test_clock_skew(api: ApiServer, family: str) -> None:
    limit = dt.timedelta(minutes=15 if family == "s3" else 5)
    now, margin = dt.datetime.now(dt.UTC), dt.timedelta(minutes=1)
    for at in (now - limit + margin, now + limit - margin):
        assert call(api, REQUESTS[family], at=at).status == 200
    for at in (now - limit - margin, now + limit + margin):
        assert refusal(call(api, REQUESTS[family], at=at)) == TIME[family]


@every_family
def test_session_tokens(api: ApiServer, family: str) -> None:
    wrong = (400, "InvalidToken") if family == "s3" else UNKNOWN[family]
    root = Holder(api.account_id, "root", api.account_id)
    keys, other = api.create_session(root), api.create_session(root)
    assert keys.session_token is not None
    assert call(api, REQUESTS[family], keys).status == 200
    assert send(api.url, presigned(REQUESTS[family], keys, host(api))).status == 200
    for token in (None, ""):
        assert refusal(call(api, REQUESTS[family], replace(keys, session_token=token))) == UNKNOWN[family]
    changed = keys.session_token[:99] + ("A" if keys.session_token[99] != "A" else "B") + keys.session_token[100:]
    for token in ("another", changed, other.session_token, keys.session_token + "=", keys.session_token[:40]):
        assert refusal(call(api, REQUESTS[family], replace(keys, session_token=token))) == wrong
    assert refusal(call(api, REQUESTS[family], replace(keys, secret_access_key="wrong"))) == MISMATCH[family]
    assert refusal(call(api, REQUESTS[family], replace(api.root, session_token="token"))) == wrong
    expired = api.create_session(root, expires_at=dt.datetime.now(dt.UTC))
    assert refusal(call(api, REQUESTS[family], expired)) == EXPIRED_TOKEN[family]


@every_family
def test_presigned_requests_end(api: ApiServer, family: str) -> None:
    request, now = REQUESTS[family], dt.datetime.now(dt.UTC)
    long_ago = presigned(request, api.root, host(api), at=now - dt.timedelta(days=6), expires=7 * 86400)
    assert send(api.url, long_ago).status == 200
    over = presigned(request, api.root, host(api), at=now - dt.timedelta(seconds=62), expires=60)
    denied = (403, "AccessDenied")
    assert refusal(send(api.url, over)) == (denied if family == "s3" else TIME[family])
    early = presigned(request, api.root, host(api), at=now + dt.timedelta(minutes=16))
    assert refusal(send(api.url, early)) == (denied if family == "s3" else TIME[family])
    for seconds in (0, 7 * 86400 + 1):
        _, code = refusal(send(api.url, presigned(request, api.root, host(api), expires=seconds)))
        assert code.startswith(("IncompleteSignature", "AuthorizationQueryParametersError"))


def test_a_presigned_request_of_s3_must_say_when_it_ends(api: ApiServer) -> None:
    endless = presigned(REQUESTS["s3"], api.root, host(api), expires=None)
    assert refusal(send(api.url, endless)) == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("family", MALFORMED)
def test_signatures_that_can_not_be_read(api: ApiServer, family: str) -> None:
    good = signed(REQUESTS[family], api.root, host(api))
    authorization = good.headers["authorization"]
    for old, new in (
        ("Signature=", "Sig="),
        ("Credential=", "Credential=/"),
        ("/us-east-1/", "/US-EAST-1/"),
        ("aws4_request", "aws5_request"),
        ("host;", ""),
        ("SignedHeaders=", "SignedHeaders=z;"),
        ("Signature=", "Signature=g"),
    ):
        assert old in authorization
        bad = replace(good, headers={**good.headers, "authorization": authorization.replace(old, new)})
        assert refusal(send(api.url, bad)) == MALFORMED[family], (old, new)
    for name, value in (("x-amz-date", "20261125"), ("x-amz-date", "20261325T000000Z"), ("x-amz-date", "yesterday")):
        assert refusal(send(api.url, replace(good, headers={**good.headers, name: value}))) == MALFORMED[family]
    old_scheme = replace(good, headers={**good.headers, "authorization": "AWS AKIAABCDEFGHIJKLMNOP:c2lnbmF0dXJl"})
    assert refusal(send(api.url, old_scheme)) == ((400, "InvalidRequest") if family == "s3" else MALFORMED[family])


@every_family
def test_only_one_signature(api: ApiServer, family: str) -> None:
    twice = signed(presigned(REQUESTS[family], api.root, host(api)), api.root, host(api))
    status, code = refusal(send(api.url, twice))
    assert status == 400
    assert code in ("InvalidArgument", "IncompleteSignature", "IncompleteSignatureException")


def test_s3_names_the_hash_of_the_body(api: ApiServer) -> None:
    body = b"<Tagging><TagSet/></Tagging>"
    request = Unsigned("s3", "PUT", "/bucket", "tagging=", body=body)
    assert call(api, request).status == 200
    assert call(api, request, payload="UNSIGNED-PAYLOAD").status == 200
    assert refusal(call(api, request, payload="0" * 64)) == (400, "XAmzContentSHA256Mismatch")
    assert refusal(call(api, request, payload="SIGNED-PAYLOAD")) == (400, "InvalidArgument")
    without = signed(request, api.root, host(api))
    del without.headers["x-amz-content-sha256"]
    assert refusal(send(api.url, without)) == (400, "InvalidRequest")


def test_no_other_service_takes_an_unsigned_body(api: ApiServer) -> None:
    for family in ("ec2", "sts", "kms"):
        request = REQUESTS[family]
        loose = replace(request, headers={**request.headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        assert refusal(call(api, loose, payload="UNSIGNED-PAYLOAD")) == MISMATCH[family]


def test_regions_that_the_cloud_does_not_serve(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = Config(regions=("eu-west-1",))
    with api_server(tmp_path_factory.mktemp("cloud"), config, package="tests.front.services") as served:
        assert call(served, REQUESTS["kms"], region="eu-west-1").status == 200
        assert refusal(call(served, REQUESTS["kms"], region="us-east-1")) == MISMATCH["kms"]
        assert call(served, REQUESTS["sts"], region="us-east-1").status == 200, "a global service"


def test_boto3_signs_as_we_read(api: ApiServer) -> None:
    assert api.client("s3").list_buckets()["Buckets"][0]["Name"] == "bucket"
    resource = "fs-12345678"
    assert api.client("efs").list_tags_for_resource(ResourceId=resource)["Tags"][0]["Value"] == resource
    tagging = {"TagSet": [{"Key": "ü ", "Value": "%2F+"}]}
    api.client("s3").put_bucket_tagging(Bucket="b-1", Tagging=tagging)
    url = api.client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
    path, _, query = url.removeprefix(api.url).partition("?")
    assert send(api.url, Unsigned("sts", "GET", path, query)).status == 200
