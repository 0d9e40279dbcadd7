"""The journey of a request: caller → operation → input → transaction → policy → the operation → answer → audit.

All of it runs in one thread, in one read transaction for an operation that only reads; a caller who is not proven or
sends what can not be read never gets as far as the write lock.
"""

from __future__ import annotations

import datetime as dt
import importlib
import pkgutil
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import structlog
from botocore.model import StructureShape

from freehold.config import Config
from freehold.front import caller, signature
from freehold.front.caller import Caller, Callers
from freehold.front.errors import AccessDenied, Family, FamilyError, NotBuilt
from freehold.front.masking import Masks
from freehold.front.protocols.codec import Codec, WireProtocol
from freehold.front.protocols.message import HttpRequest, HttpResponse
from freehold.front.routing import Directory, family_error, guessed_family
from freehold.iam.policy import decide
from freehold.records import audit
from freehold.records.accounts import OpenedRegion
from freehold.records.audit import AuditEvent, AuditQueue
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.services.errors import AwsError, DryRunOperation, InternalError
from freehold.services.operation import Call, Catalog, Operation

log = structlog.get_logger()

OpenRegion = Callable[[Transaction, Config, AccountId, str], None]

_USER_AGENT_MAX = 1024


@dataclass(slots=True)
class Arrival:
    """A request as it came in. `received`: its body is whole; else `request.body` is a reader that is empty so far."""

    request: HttpRequest
    request_id: str
    source_ip: str
    received: bool = True


@dataclass(frozen=True, slots=True)
class Handler:
    """An operation with everything about it that is computed once."""

    operation: Operation
    codec: Codec
    mask_request: Callable[[Any], Any] | None
    mask_response: Callable[[Any], Any] | None
    may_dry_run: bool
    event_source: str


class Dispatcher:
    """Answers requests; every method may run in any thread."""

    def __init__(
        self, catalog: Catalog, store: Store, sealer: Sealer, config: Config, *, package: str = "freehold.services"
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._config = config
        self._directory = Directory(catalog)
        self._callers = Callers(sealer, config)
        self._audit = AuditQueue(store)
        self._masks = {service: Masks() for service in catalog.models}
        self._handlers: dict[tuple[Family, str, str], Handler] = {}
        self._lock = threading.Lock()
        self._openers = {service: _opener(f"{package}.{service}") for service in catalog.models}
        self._opened: set[tuple[str, str, str]] = set()

    def close(self) -> None:
        """Write what the audit queue holds."""
        self._audit.close()

    def answer(self, arrival: Arrival) -> HttpResponse:
        """The response; never raises. What is not an AwsError is logged under the request id."""
        journey = _Journey()
        try:
            return self._travel(arrival, journey)
        except AwsError as error:
            refusal = error
        except Exception:
            log.exception("request failed", request_id=arrival.request_id, operation=journey.name)
            refusal = InternalError(arrival.request_id)
        family = journey.protocol.family if journey.protocol else guessed_family(arrival.request)
        status, code, message = describe(refusal, family)
        try:
            self._record_refusal(arrival, journey, code, message)
        except Exception:
            log.exception("refusal not recorded", request_id=arrival.request_id, operation=journey.name)
        if journey.protocol:
            return journey.protocol.error(status, code, message, arrival.request_id)
        return family_error(family, status, code, message, arrival.request_id)

    def refuse(self, request: HttpRequest, request_id: str, error: AwsError) -> HttpResponse:
        """The response to a request that did not arrive whole."""
        family = guessed_family(request)
        return family_error(family, *describe(error, family), request_id)

    def _travel(self, arrival: Arrival, journey: _Journey) -> HttpResponse:
        request = arrival.request
        claimed = signature.claim(request)
        if self._directory.serves(claimed.service):
            journey.service, journey.protocol = self._directory.find(request, claimed.service)
        with self._store.read() as tx:
            payload_hash = caller.sha256(request.body) if arrival.received else None
            journey.caller = proven = self._callers.prove(tx, request, claimed, payload_hash)
            if journey.protocol is None:
                self._directory.find(request, claimed.service)  # raises: the service is not built
                raise AssertionError(claimed.service)
            if claimed.service != "s3":
                request.path = signature.normalised_path(request.path)  # as it was signed
            journey.name, routed = journey.protocol.route(request)
            journey.handler = handler = self._handler(journey.service, journey.name, journey.protocol)
            journey.params = handler.codec.parse(request, routed)
            opener = self._openers[journey.service]
            unopened = (
                opener is not None
                and (journey.service, proven.principal.account_id, claimed.region) not in self._opened
            )
            if handler.operation.read_only and not unopened:
                return self._read(arrival, journey, tx)
            if handler.operation.receive is not None:
                _authorise(handler, self._call(arrival, journey, tx), journey.params)
        if opener is not None and unopened:
            self._open_region(journey.service, opener, proven.principal.account_id, claimed.region)
        if handler.operation.read_only:
            with self._store.read() as tx:
                return self._read(arrival, journey, tx)
        return self._write(arrival, journey)

    def _read(self, arrival: Arrival, journey: _Journey, tx: Transaction) -> HttpResponse:
        handler, call = journey.handler, self._call(arrival, journey, tx)
        assert handler is not None
        _authorise(handler, call, journey.params)
        response = handler.codec.respond(handler.operation.function(call, journey.params), arrival.request_id)
        self._audit.put(self._event(arrival, journey, tx.now))
        return response

    def _write(self, arrival: Arrival, journey: _Journey) -> HttpResponse:
        handler = journey.handler
        assert handler is not None
        receive: AbstractContextManager[Any] = nullcontext()
        if handler.operation.receive is not None:
            receive = handler.operation.receive(self._config, journey.params)
        with receive as received, self._store.write() as tx:
            params = journey.params
            if handler.codec.streams_in is not None:
                params = {**params, handler.codec.streams_in: received}
            call = self._call(arrival, journey, tx)
            _authorise(handler, call, params)
            answer = handler.operation.function(call, params)
            response = handler.codec.respond(answer, arrival.request_id)
            audit.record(tx, self._event(arrival, journey, tx.now, answer=answer))
        return response

    def _handler(self, service: str, name: str, protocol: WireProtocol) -> Handler:
        found = self._handlers.get((protocol.family, service, name))
        if found is not None:
            return found
        operation = self._catalog.operations.get((service, name))
        if operation is None:
            raise NotBuilt(what=f"The operation {name}")
        with self._lock:
            codec = protocol.codec(operation.model)
            masks = self._masks[service]
            shape = operation.model.input_shape
            handler = Handler(
                operation=operation,
                codec=codec,
                mask_request=masks.of(shape),
                mask_response=masks.of(operation.model.output_shape),
                may_dry_run=isinstance(shape, StructureShape) and "DryRun" in shape.members,
                event_source=f"{operation.model.service_model.signing_name}.amazonaws.com",
            )
            if codec.streams_in is not None and not operation.read_only and operation.receive is None:
                raise TypeError(f"{service} {name} writes and its input streams: it must name `receive`")
            self._handlers[protocol.family, service, name] = handler
        return handler

    def _call(self, arrival: Arrival, journey: _Journey, tx: Transaction) -> Call:
        assert journey.caller is not None
        return Call(
            service=journey.service,
            operation=journey.name,
            principal=journey.caller.principal,
            region=journey.caller.claim.region,
            request_id=arrival.request_id,
            source_ip=arrival.source_ip,
            user_agent=arrival.request.headers.get("user-agent", "")[:_USER_AGENT_MAX],
            config=self._config,
            tx=tx,
        )

    def _open_region(self, service: str, opener: OpenRegion, account_id: AccountId, region: str) -> None:
        """Make what an account has in a region from the start (its default VPC), once."""
        with self._store.read() as tx:
            opened = tx.get(OpenedRegion, account_id, region) is not None
        if not opened:
            with self._store.write() as tx:
                opener(tx, self._config, account_id, region)  # does nothing if another call was first
        self._opened.add((service, account_id, region))

    def _event(
        self,
        arrival: Arrival,
        journey: _Journey,
        now: dt.datetime,
        *,
        answer: Mapping[str, Any] | None = None,
        error: tuple[str, str] | None = None,
    ) -> AuditEvent:
        assert journey.caller is not None
        principal = journey.caller.principal
        handler = journey.handler
        request: Mapping[str, Any] = {}
        response: Mapping[str, Any] | None = None
        if handler is not None:
            request = handler.mask_request(journey.params) if handler.mask_request else journey.params
            if answer is not None:
                response = handler.mask_response(answer) if handler.mask_response else answer
        return AuditEvent(
            event_id=arrival.request_id,
            at=now,
            account_id=principal.account_id,
            principal_arn=principal.arn,
            region=journey.caller.claim.region,
            event_source=handler.event_source if handler else f"{journey.caller.claim.service}.amazonaws.com",
            event_name=journey.name,
            read_only=handler.operation.read_only if handler else True,
            source_ip=arrival.source_ip,
            user_agent=arrival.request.headers.get("user-agent", "")[:_USER_AGENT_MAX],
            request_id=arrival.request_id,
            error_code=error[0] if error else None,
            error_message=error[1] if error else None,
            request=dict(request),
            response=None if response is None else dict(response),
        )

    def _record_refusal(self, arrival: Arrival, journey: _Journey, code: str, message: str) -> None:
        """Refusals and failures of proven callers go to their account's trail; a stranger's have none to go to."""
        if journey.caller is not None:
            self._audit.put(self._event(arrival, journey, dt.datetime.now(dt.UTC), error=(code, message)))
        else:
            log.info("stranger refused", request_id=arrival.request_id, source_ip=arrival.source_ip, code=code)


@dataclass(slots=True)
class _Journey:
    """How far a request has come: what an error may say of it."""

    service: str = ""
    protocol: WireProtocol | None = None
    name: str = ""
    caller: Caller | None = None
    handler: Handler | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


def _authorise(handler: Handler, call: Call, params: Mapping[str, Any]) -> None:
    """Raises AccessDenied, or DryRunOperation when that was all that was asked."""
    resources = handler.operation.resources(call, params)
    context = {
        "aws:SourceIp": call.source_ip,
        "aws:UserAgent": call.user_agent,
        "aws:RequestedRegion": call.region,
        "aws:PrincipalArn": call.principal.arn,
        "aws:PrincipalAccount": call.account_id,
    }
    decision = decide(call.principal, handler.operation.action, resources, context)
    if not decision.allowed:
        raise AccessDenied(explanation=decision.explanation)
    if handler.may_dry_run and params.get("DryRun"):
        raise DryRunOperation()


def describe(error: AwsError, family: Family) -> tuple[int, str, str]:
    """(status, code, message) of an error as a family words it."""
    if isinstance(error, FamilyError):
        return error.answer(family)
    return error.status, error.code, error.message


def _opener(package: str) -> OpenRegion | None:
    """The service's `open_region`, if it has something to make before an account's first call in a region."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.name == "default_vpc":
            opener: OpenRegion = importlib.import_module(f"{package}.default_vpc").open_region
            return opener
    return None
