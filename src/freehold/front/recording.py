"""What the audit trail says of a request: who, from where, what, and how it ended.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from freehold.config import Config
from freehold.front.routing import Directory
from freehold.front.signature import Claim
from freehold.records.accounts import AccessKey, Account
from freehold.records.audit import FIELD_BYTES_MAX, PROVIDER, Event, event_time, new_event_id
from freehold.records.ids import AccountId, account_of_key_id
from freehold.records.store import Transaction
from freehold.services.operation import Principal

if TYPE_CHECKING:
    from freehold.front.dispatch import Arrival, Journey

USER_AGENT_MAX = 1024
_MESSAGE_MAX = 1024  # "the maximum size of this field is 1 KB" (userAgent, errorMessage)
_REMEMBERED_MAX = 4096
_ARN_COLONS = 5

# "Object-level API activity": https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html
_OBJECT_CALLS = frozenset(
    {
        "AbortMultipartUpload", "CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "DeleteObject",
        "DeleteObjects", "DeleteObjectTagging", "GetObject", "GetObjectAcl", "GetObjectAttributes",
        "GetObjectLegalHold", "GetObjectRetention", "GetObjectTagging", "GetObjectTorrent", "HeadBucket", "HeadObject",
        "ListMultipartUploads", "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListParts", "PutObject",
        "PutObjectAcl", "PutObjectLegalHold", "PutObjectRetention", "PutObjectTagging", "RestoreObject",
        "SelectObjectContent", "UploadPart", "UploadPartCopy",
    }
)  # fmt: skip

_encode = msgspec.json.Encoder().encode

_MARK = secrets.token_hex(16)  # for what differs between records that are alike; nobody else can have written it


class Recorder:
    """Makes the records of requests."""

    def __init__(self, config: Config, directory: Directory) -> None:
        self._config = config
        self._directory = directory
        self._frames: dict[tuple[Any, ...], list[str]] = {}

    def events(
        self,
        arrival: Arrival,
        journey: Journey,
        at: dt.datetime,
        *,
        answer: Mapping[str, Any] | None = None,
        error: tuple[int, str, str] | None = None,
    ) -> list[str]:
        """The record of a proven caller's request, and one for each other account whose resources it has used.
        `answer` is what it has answered, `error` (status, code, message)."""
        assert journey.caller is not None
        principal, claim, handler = journey.caller.principal, journey.caller.claim, journey.handler
        parameters = handler.words_request(journey.params) if handler and handler.words_request else None
        elements, shown = None, handler is not None and handler.shows_answer
        if shown and answer is not None and handler is not None and handler.words_answer is not None:
            elements = handler.words_answer(answer)
        if journey.service == "ec2":
            changed = answer is not None and shown
            elements = {"requestId": arrival.request_id, **(elements or {})} if changed else None
        parameters, elements = parameters or None, elements or None
        resources = _resources(journey, principal, claim.region, answer)
        if error is None and not resources:
            text = self._usual(arrival, journey, at, parameters, elements)
            if len(text.encode()) <= FIELD_BYTES_MAX:
                return [text]
        event = self._of_caller(arrival, journey, at, parameters, elements, error, resources or UNSET)
        others = {resource["accountId"] for resource in resources} - {principal.account_id} if error is None else set()
        if not others:
            return [event.text()]
        shared = msgspec.structs.replace(event, shared_event_id=new_event_id(at))
        theirs = (_for_owner(shared, principal, account_id, at) for account_id in sorted(others))
        return [shared.text(), *(copy.text() for copy in theirs)]

    def stranger(
        self, tx: Transaction, arrival: Arrival, journey: Journey, at: dt.datetime, error: tuple[int, str, str]
    ) -> str:
        """The record of a request whose sender is not proven: in the trail of the account that owns the key which it
        names, else in the provider's. Its parameters are nobody's words, and not kept."""
        claim = journey.claim
        account_id = _account_of(tx, claim.access_key_id) if claim else None
        service, name = self._directory.guessed(arrival.request, claim.service if claim else "")
        region = claim.region if claim and self._config.serves(claim.region) else self._config.region
        return self._event(
            arrival,
            journey,
            at,
            account_id=account_id or PROVIDER,
            identity=_stranger(claim, account_id),
            source=f"{service or 'unknown'}.amazonaws.com",
            name=journey.name or name,
            region=region,
            read_only=True,
            parameters=None,
            elements=None,
            error=error,
        ).text()

    def _usual(self, arrival: Arrival, journey: Journey, at: dt.datetime, parameters: Any, elements: Any) -> str:
        """The record of a call that was allowed. Most have all but five values in common with another, whose text is
        kept: recording a call is to cost little beside answering it."""
        assert journey.caller is not None
        principal, region = journey.caller.principal, journey.caller.claim.region
        headers, tls = arrival.request.headers, arrival.tls
        alike = (
            journey.service, journey.name, principal.access_key_id, principal.unique_id, region, arrival.source_ip,
            principal.arn,  # a user may be renamed
            headers.get("user-agent"), tls and (*tls.values(), headers.get("host")),
        )  # fmt: skip
        frame = self._frames.get(alike)
        if frame is None:
            if len(self._frames) >= _REMEMBERED_MAX:
                self._frames.clear()
            event = self._of_caller(arrival, journey, at, _MARK, _MARK, None, UNSET)
            marked = msgspec.structs.replace(event, event_time=_MARK, request_id=_MARK, event_id=_MARK)
            frame = self._frames[alike] = marked.text().split(f'"{_MARK}"')
        start, asked, answered, request, this, end = frame
        said, shown = _encode(parameters).decode(), _encode(elements).decode()
        return (
            f'{start}"{event_time(at)}"{asked}{said}{answered}{shown}{request}"{arrival.request_id}"'
            f'{this}"{new_event_id(at, arrival.request_id)}"{end}'
        )

    def _of_caller(
        self,
        arrival: Arrival,
        journey: Journey,
        at: dt.datetime,
        parameters: Any,
        elements: Any,
        error: tuple[int, str, str] | None,
        resources: Any,
    ) -> Event:
        """The record of a proven caller's request, for the caller's account."""
        assert journey.caller is not None
        principal, claim, handler = journey.caller.principal, journey.caller.claim, journey.handler
        return self._event(
            arrival,
            journey,
            at,
            account_id=principal.account_id,
            identity=user_identity(principal),
            source=handler.event_source if handler else f"{claim.service}.amazonaws.com",
            name=journey.name,
            region=claim.region,
            read_only=handler.operation.read_only if handler else True,
            parameters=parameters,
            elements=elements,
            error=error,
            resources=resources,
        )

    def _event(
        self,
        arrival: Arrival,
        journey: Journey,
        at: dt.datetime,
        *,
        account_id: str,
        identity: Any,
        source: str,
        name: str,
        region: str,
        read_only: bool,
        parameters: Any,
        elements: Any,
        error: tuple[int, str, str] | None,
        resources: Any = UNSET,
    ) -> Event:
        status, code, message = error or (200, UNSET, UNSET)
        if source == "ec2.amazonaws.com" and isinstance(code, str):
            code = f"{'Server' if status >= 500 else 'Client'}.{code}"
        headers = arrival.request.headers
        data = source == "s3.amazonaws.com" and name in _OBJECT_CALLS
        tls = arrival.tls
        return Event(
            user_identity=identity,
            event_time=event_time(at),
            event_source=source,
            event_name=name,
            aws_region=region,
            source_ip_address=arrival.source_ip,
            user_agent=headers.get("user-agent", "")[:USER_AGENT_MAX],
            error_code=code,
            error_message=message[:_MESSAGE_MAX] if isinstance(message, str) else UNSET,
            request_parameters=parameters,
            response_elements=elements,
            request_id=arrival.request_id,
            event_id=new_event_id(at),
            read_only=read_only,
            resources=resources,
            management_event=not data,
            recipient_account_id=account_id,
            event_category="Data" if data else "Management",
            tls_details=UNSET if tls is None else {**tls, "clientProvidedHostHeader": headers.get("host", "")},
        )


def user_identity(principal: Principal) -> dict[str, Any]:
    """CloudTrail's userIdentity of a proven caller."""
    if principal.kind == "web-identity":
        return {
            "type": "WebIdentityUser",
            "principalId": principal.unique_id,
            "userName": principal.owner_id,
            "identityProvider": principal.owner_arn,
        }
    types = {"root": "Root", "user": "IAMUser", "role": "AssumedRole", "federated": "FederatedUser"}
    identity: dict[str, Any] = {
        "type": types[principal.kind],
        "principalId": principal.unique_id,
        "arn": principal.arn,
        "accountId": principal.account_id,
        "accessKeyId": principal.access_key_id,
    }
    if principal.kind == "user":
        identity["userName"] = _last(principal.arn)
    session = principal.session
    if session is not None:
        context: dict[str, Any] = {}
        if principal.kind in ("role", "federated"):
            root = principal.owner_arn.endswith(":root")
            issuer = "Role" if principal.kind == "role" else "Root" if root else "IAMUser"
            context["sessionIssuer"] = {
                "type": issuer,
                "principalId": principal.owner_id,
                "arn": principal.owner_arn,
                "accountId": principal.account_id,
                **({} if root else {"userName": _last(principal.owner_arn)}),
            }
        if session.provider:
            context["webIdFederationData"] = {"federatedProvider": session.provider, "attributes": {}}
        context["attributes"] = {
            "creationDate": event_time(session.issued_at),
            "mfaAuthenticated": "true" if session.mfa_at else "false",
        }
        if session.source_identity:
            context["sourceIdentity"] = session.source_identity
        identity["sessionContext"] = context
    return identity


def _resources(
    journey: Journey, principal: Principal, region: str, answer: Mapping[str, Any] | None
) -> list[dict[str, str]]:
    """What CloudTrail names as resources: roles that are assumed, KMS's keys."""
    arn = ""
    if journey.service == "sts":
        kind, arn = "AWS::IAM::Role", str(journey.params.get("RoleArn") or "")
    elif journey.service == "kms":
        kind, arn = "AWS::KMS::Key", _key_arn(journey, principal, region, answer or {})
    if arn.count(":") < _ARN_COLONS:
        return []
    return [{"accountId": arn.split(":")[4], "type": kind, "ARN": arn}]


def _key_arn(journey: Journey, principal: Principal, region: str, answer: Mapping[str, Any]) -> str:
    metadata = answer.get("KeyMetadata") or {}
    for known in (metadata.get("Arn"), answer.get("KeyId"), journey.params.get("KeyId")):
        if known and ":key/" in known:
            return str(known)
        if known and ":" not in known and not known.startswith("alias/"):
            return f"arn:aws:kms:{region}:{principal.account_id}:key/{known}"
    return ""


def _for_owner(event: Event, principal: Principal, account_id: str, at: dt.datetime) -> Event:
    """The same event for the account that owns what was used: it learns who, but not what they were answered.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html"""
    caller = {"type": "AWSAccount", "principalId": principal.unique_id, "accountId": principal.account_id}
    return msgspec.structs.replace(
        event,
        user_identity=caller,
        event_id=new_event_id(at),
        recipient_account_id=account_id,
        response_elements=None if event.event_source == "kms.amazonaws.com" else event.response_elements,
    )


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]


def _account_of(tx: Transaction, key_id: str) -> AccountId | None:
    """Whose access key it is, or was made to look like; None when there is no such account."""
    key = tx.get(AccessKey, key_id)
    if key is not None:
        return key.account_id
    written = account_of_key_id(key_id)
    return written if written and tx.get(Account, written) else None


def _stranger(claim: Claim | None, account_id: AccountId | None) -> dict[str, Any]:
    if claim is None:
        return {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"}
    account = {"accountId": account_id} if account_id else {}
    return {"type": "Unknown", "principalId": "", **account, "accessKeyId": claim.access_key_id}
