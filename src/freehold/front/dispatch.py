"""The journey of a request: caller → operation → input → transaction → policy → the operation → answer → audit.

`begin` looks at the head and says what is to become of the body. The rest runs in one thread, in one read transaction
for an operation that only reads; a caller who is not proven or sends what can not be read never gets as far as the
write lock, and the body of an object is not read before its sender is authorised.
"""

from __future__ import annotations

import datetime as dt
import importlib
import io
import pkgutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import structlog
from botocore.model import StructureShape

from freehold.config import Config
from freehold.front import caller, payload, signature
from freehold.front.caller import Caller, Callers
from freehold.front.errors import AccessDenied, Family, FamilyError, NotBuilt
from freehold.front.protocols.codec import Codec, WireProtocol
from freehold.front.protocols.message import HttpRequest, HttpResponse
from freehold.front.recorded import Word, Words
from freehold.front.recording import USER_AGENT_MAX, Recorder
from freehold.front.routing import Directory, bucket_in_host, family_error, guessed_family
from freehold.front.signature import Claim
from freehold.front.signature_errors import MissingSignature
from freehold.front.throttle import Limiter
from freehold.iam.policy import decide
from freehold.questions import Ask, ask_nobody
from freehold.records import audit
from freehold.records.access_keys import Use, Uses
from freehold.records.accounts import OpenedRegion
from freehold.records.audit import AuditQueue, service_event
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.services.errors import AwsError, DryRunOperation, InternalError, PartlyDone
from freehold.services.operation import Awaited, Call, Catalog, Operation, Prove, Response, WriteNeeded, folder

log = structlog.get_logger()

_UNSIGNED_BYTES_MAX = 128 << 10  # a token of 20,000 characters, escaped, and session policies

# These change nothing, and yet CloudTrail tells what they have answered.
_GIVES_CREDENTIALS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "GetFederationToken", "GetSessionToken"})

OpenRegion = Callable[[Transaction, Config, AccountId, str], None]


@dataclass(slots=True)
class Arrival:
    """A request as it came in. Its body is bytes, or a reader when it streams (see `Journey.body`). `tls` is what the
    audit trail says of its connection, None when that was plain HTTP; `vpc_id` is a guest's who sent it."""

    request: HttpRequest
    request_id: str
    source_ip: str
    tls: Mapping[str, str] | None = None
    vpc_id: str | None = None

    @property
    def secure(self) -> bool:
        return self.tls is not None


@dataclass(frozen=True, slots=True)
class Handler:
    """An operation with everything about it that is computed once."""

    operation: Operation
    codec: Codec
    words_request: Word | None
    words_answer: Word | None
    shows_answer: bool
    may_dry_run: bool
    event_source: str


@dataclass(slots=True)
class Journey:
    """How far a request has come: what an error may say of it.

    `body` says what is to become of the body: ``whole``, read it (`body_bytes_max`) before the request goes on;
    ``stream``, give a reader in its place; ``unread``, the request is refused by its head alone. `refusal` is for a
    caller who is proven: strangers are not told what there is. `answered_after`: what hosts are to have answered
    before the response is sent, which waits for them in no thread.
    """

    body: Literal["whole", "stream", "unread"] = "unread"
    body_bytes_max: int = 0
    claim: Claim | None = None
    refusal: AwsError | None = None
    service: str = ""
    protocol: WireProtocol | None = None
    name: str = ""
    routed: Any = None
    caller: Caller | None = None
    handler: Handler | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    answered_after: Sequence[Awaited] = ()


class Dispatcher:
    """Answers requests; every method may run in any thread."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        sealer: Sealer,
        config: Config,
        *,
        package: str = "freehold.services",
        limiter: Limiter | None = None,
        ask: Ask = ask_nobody,
    ) -> None:
        """`limiter` is given where several processes share one; `ask` asks hosts."""
        self._catalog = catalog
        self._store = store
        self._sealer = sealer
        self._config = config
        self._directory = Directory(catalog)
        self._callers = Callers(sealer, config)
        self._ask = ask
        self._limiter = limiter or Limiter(config.throttle)
        self._audit = AuditQueue(store)
        self._uses = Uses(store)
        self._recorder = Recorder(config, self._directory)
        self._words = {service: Words(model) for service, model in catalog.models.items()}
        self._handlers: dict[tuple[Family, str, str], Handler] = {}
        self._lock = threading.Lock()
        self._openers = {service: _opener(f"{package}.{folder(service)}") for service in catalog.models}
        self._opened: set[tuple[str, str, str]] = set()

    def close(self) -> None:
        """Write what the queues hold."""
        self._uses.close()
        self._audit.close()

    def begin(self, arrival: Arrival) -> Journey:
        """What a request's head says of it, none of it proven yet; never raises."""
        journey, request = Journey(), arrival.request
        try:
            journey.claim = claimed = signature.claim(request)
            if claimed.service != "s3":
                journey.body = "whole"
                journey.body_bytes_max = self._directory.body_bytes_max(claimed.service)
                return journey
            if not self._directory.serves(claimed.service):
                return journey
            # S3 names the body's hash in its head, so only who needs the body needs to read it.
            journey.service, journey.protocol = self._directory.find(request, claimed.service)
            journey.name, journey.routed = journey.protocol.route(self._in_path(request, journey.service))
            journey.handler = self._handler(journey.service, journey.name, journey.protocol)
            if journey.handler.codec.streams_in is not None:
                journey.body = "stream"
            else:
                journey.body = "whole"
                journey.body_bytes_max = self._directory.body_bytes_max(claimed.service)
        except MissingSignature as error:
            journey.refusal = error
            if guessed_family(request) == "query":  # some calls to STS need none
                journey.body, journey.body_bytes_max = "whole", _UNSIGNED_BYTES_MAX
        except AwsError as error:
            journey.refusal = error
        except Exception:
            log.exception("request failed", request_id=arrival.request_id, operation=journey.name)
            journey.refusal = InternalError(arrival.request_id)
        return journey

    def answer(self, arrival: Arrival, journey: Journey) -> HttpResponse:
        """The response; never raises. What is not an AwsError is logged under the request id."""
        try:
            return self._travel(arrival, journey)
        except AwsError as error:
            refusal = error
        except Exception:
            log.exception("request failed", request_id=arrival.request_id, operation=journey.name)
            refusal = InternalError(arrival.request_id)
        return self._refused(arrival, journey, refusal)

    def unanswered(self, arrival: Arrival, journey: Journey, awaited: Awaited) -> HttpResponse | None:
        """The response instead of the one there is, when a host has not answered in time, if that does not stand; never
        raises. The audit trail has both."""
        refusal: AwsError | None
        try:
            with self._store.write() as tx:
                refusal = awaited.unanswered(tx)
        except Exception:
            log.exception("request not undone", request_id=arrival.request_id, operation=journey.name)
            refusal = InternalError(arrival.request_id)
        return None if refusal is None else self._refused(arrival, journey, refusal)

    def refuse(self, arrival: Arrival, error: AwsError) -> HttpResponse:
        """The response to a request that did not arrive whole; never raises. Who sent it is not proven."""
        return self._refused(arrival, self.begin(arrival), error)

    def _refused(self, arrival: Arrival, journey: Journey, refusal: AwsError) -> HttpResponse:
        family = journey.protocol.family if journey.protocol else guessed_family(arrival.request)
        status, code, message = describe(refusal, family)
        try:
            self._record_refusal(arrival, journey, (status, code, message))
        except Exception:
            log.exception("refusal not recorded", request_id=arrival.request_id, operation=journey.name)
        if journey.protocol:
            return journey.protocol.error(status, code, message, arrival.request_id)
        return family_error(family, status, code, message, arrival.request_id)

    def _travel(self, arrival: Arrival, journey: Journey) -> HttpResponse:
        request, claimed = arrival.request, journey.claim
        if claimed is None:
            return self._unsigned(arrival, journey)
        if journey.protocol is None and self._directory.serves(claimed.service):
            journey.service, journey.protocol = self._directory.find(request, claimed.service)
        with self._store.read() as tx:
            payload_hash = caller.sha256(request.body) if journey.body == "whole" else None
            journey.caller = proven = self._callers.prove(tx, request, claimed, payload_hash)
            self._note_use(proven, tx.now)
            if journey.refusal is not None:
                raise journey.refusal
            if journey.protocol is None:
                journey.service, journey.protocol = self._directory.unbuilt(request, claimed.service)
                journey.name, _ = journey.protocol.route(self._in_path(request, journey.service))
                raise NotBuilt(what=f"The operation {journey.name} of the service {journey.service}")
            if not journey.name:
                request.path = signature.normalised_path(request.path)  # as it was signed
                journey.name, journey.routed = journey.protocol.route(request)
            if journey.handler is None:
                journey.handler = self._handler(journey.service, journey.name, journey.protocol)
            handler = journey.handler
            self._limiter.admit(proven.principal.account_id, journey.service, read_only=handler.operation.read_only)
            _take_payload(request, journey, proven)
            journey.params = handler.codec.parse(request, journey.routed)
            if handler.operation.prove is not None:  # whoever signed it, the proof counts
                return self._proven(arrival, journey, handler.operation.prove, claimed)
            opener = self._openers[journey.service]
            unopened = (
                opener is not None
                and (journey.service, proven.principal.account_id, claimed.region) not in self._opened
            )
            if handler.operation.read_only and not unopened:
                with suppress(WriteNeeded):
                    return self._read(arrival, journey, tx)
            if handler.operation.receive is not None or handler.operation.prepare is not None:
                _authorise(handler, self._call(arrival, journey, tx), journey.params)
        if opener is not None and unopened:
            self._open_region(journey.service, opener, proven.principal.account_id, claimed.region)
        if handler.operation.read_only:
            with self._store.read() as tx, suppress(WriteNeeded):
                return self._read(arrival, journey, tx)
        return self._write(arrival, journey)

    def _unsigned(self, arrival: Arrival, journey: Journey) -> HttpResponse:
        """A request without a signature: for the operations that AWS takes so. Raises MissingSignature for others."""
        request = arrival.request
        found = self._directory.unsigned(request)
        if found is None:
            assert journey.refusal is not None
            raise journey.refusal
        self._limiter.admit_stranger(arrival.source_ip)
        journey.service, journey.protocol = found
        journey.name, journey.routed = journey.protocol.route(request)
        journey.handler = handler = self._handler(journey.service, journey.name, journey.protocol)
        journey.params = handler.codec.parse(request, journey.routed)
        assert handler.operation.prove is not None
        claimed = signature.none(journey.service, self._config.region)
        return self._proven(arrival, journey, handler.operation.prove, claimed)

    def _proven(self, arrival: Arrival, journey: Journey, prove: Prove, claimed: Claim) -> HttpResponse:
        """What an operation answers whose request proves by itself who sends it."""
        handler = journey.handler
        assert handler is not None
        journey.caller = None  # if it is refused, then to a stranger
        proof = prove(self._store.read, self._config, journey.params)
        self._limiter.admit(proof.principal.account_id, journey.service, read_only=handler.operation.read_only)
        journey.caller = Caller(proof.principal, claimed, b"")
        with self._store.read() as tx:
            call = self._call(arrival, journey, tx, prepared=proof.said)
            answer = _perform(handler, call, journey.params)
            response = handler.codec.respond(answer, arrival.request_id)
            self._audit.put(*self._recorder.events(arrival, journey, tx.now, answer=answer))
        return response

    def _note_use(self, proven: Caller, now: dt.datetime) -> None:
        """That a key or, by temporary credentials, a role was used."""
        principal, claimed = proven.principal, proven.claim
        if principal.session is None:
            self._uses.note(Use(principal.access_key_id, principal.account_id, now, claimed.region, claimed.service))
        elif principal.kind == "role":
            self._uses.note(Use(principal.owner_id, principal.account_id, now, claimed.region, claimed.service))

    def _in_path(self, request: HttpRequest, service: str) -> HttpRequest:
        """The request with a bucket that its host names put into its path."""
        bucket = bucket_in_host(request.headers.get("host", ""), self._config.https_names) if service == "s3" else None
        return request if bucket is None else replace(request, path=f"/{bucket}{request.path}")

    def _read(self, arrival: Arrival, journey: Journey, tx: Transaction) -> HttpResponse:
        handler, call = journey.handler, self._call(arrival, journey, tx)
        assert handler is not None
        _authorise(handler, call, journey.params)
        answer = _perform(handler, call, journey.params)
        response = handler.codec.respond(answer, arrival.request_id)
        self._audit.put(*self._recorder.events(arrival, journey, tx.now, answer=answer))
        return response

    def _write(self, arrival: Arrival, journey: Journey) -> HttpResponse:
        handler = journey.handler
        assert handler is not None
        receive: AbstractContextManager[Any] = nullcontext()
        if handler.operation.receive is not None:
            receive = handler.operation.receive(self._config, journey.params)
        with ExitStack() as stack:
            received = stack.enter_context(receive)
            params = journey.params
            if handler.codec.streams_in is not None:
                params[handler.codec.streams_in].exhaust()  # whatever the operation left unread is proven as well
                params = {**params, handler.codec.streams_in: received}
            prepared = None
            if handler.operation.prepare is not None:
                with self._store.read() as reading:
                    prepared = handler.operation.prepare(self._call(arrival, journey, reading), params)
            tx = stack.enter_context(self._store.write())
            call = self._call(arrival, journey, tx, prepared=prepared)
            _authorise(handler, call, params)
            try:
                answer = _perform(handler, call, params)
            except PartlyDone as partly:
                assert journey.protocol is not None
                error = describe(partly.error, journey.protocol.family)
                audit.record(tx, *tx.acts, *self._recorder.events(arrival, journey, tx.now, error=error))
                return journey.protocol.error(*error, arrival.request_id)
            response = handler.codec.respond(answer, arrival.request_id)
            audit.record(tx, *tx.acts, *self._recorder.events(arrival, journey, tx.now, answer=answer))
        journey.answered_after = call.answered_after
        return response

    def _handler(self, service: str, name: str, protocol: WireProtocol) -> Handler:
        found = self._handlers.get((protocol.family, service, name))
        if found is not None:
            return found
        operation = self._catalog.operations.get((service, name))
        if operation is None:
            raise NotBuilt(what=f"The operation {name} of the service {service}")
        with self._lock:
            codec = protocol.codec(operation.model)
            words = self._words[service]
            shape = operation.model.input_shape
            handler = Handler(
                operation=operation,
                codec=codec,
                words_request=words.of_request(operation.model),
                words_answer=words.of_answer(operation.model),
                shows_answer=not operation.read_only or name in _GIVES_CREDENTIALS,
                may_dry_run=service == "ec2" and isinstance(shape, StructureShape) and "DryRun" in shape.members,
                event_source=f"{operation.model.service_model.signing_name}.amazonaws.com",
            )
            if (codec.streams_in is None) != (operation.receive is None) or (codec.streams_in and operation.read_only):
                raise TypeError(f"{service} {name}: an operation names `receive` if it writes what streams in")
            self._handlers[protocol.family, service, name] = handler
        return handler

    def _call(self, arrival: Arrival, journey: Journey, tx: Transaction, prepared: Any = None) -> Call:
        assert journey.caller is not None
        return Call(
            service=journey.service,
            operation=journey.name,
            principal=journey.caller.principal,
            region=journey.caller.claim.region,
            request_id=arrival.request_id,
            source_ip=arrival.source_ip,
            user_agent=arrival.request.headers.get("user-agent", "")[:USER_AGENT_MAX],
            config=self._config,
            tx=tx,
            sealer=self._sealer,
            prepared=prepared,
            secure=arrival.secure,
            source_vpc=arrival.vpc_id,
            referer=arrival.request.headers.get("referer", ""),
            ask=self._ask,
        )

    def _open_region(self, service: str, opener: OpenRegion, account_id: AccountId, region: str) -> None:
        """Make what an account has in a region from the start (its default VPC), once."""
        with self._store.read() as tx:
            opened = tx.get(OpenedRegion, account_id, region) is not None
        if not opened:
            with self._store.write() as tx:
                first = tx.get(OpenedRegion, account_id, region) is None
                opener(tx, self._config, account_id, region)  # does nothing if another call was first
                if first:
                    audit.record(tx, service_event(tx.now, account_id, region, service, "CreateDefaultVpc"))
        self._opened.add((service, account_id, region))

    def _record_refusal(self, arrival: Arrival, journey: Journey, error: tuple[int, str, str]) -> None:
        now = dt.datetime.now(dt.UTC)
        if journey.caller is not None:
            self._audit.put(*self._recorder.events(arrival, journey, now, error=error))
            return
        with self._store.read() as tx:
            event = self._recorder.stranger(tx, arrival, journey, now, error)
        self._audit.put(event)


def _take_payload(request: HttpRequest, journey: Journey, proven: Caller) -> None:
    """Put a proven body in the place of the raw one, and into the head what it is without its chunks."""
    assert journey.handler is not None
    streams = journey.handler.codec.streams_in is not None
    chunked = proven.claim.service == "s3" and proven.claim.payload_hash in signature.IN_CHUNKS
    if not streams and not chunked:
        return
    raw = io.BytesIO(request.body) if journey.body == "whole" else request.body
    body = payload.proven(raw, request.headers, proven)
    encodings = [part.strip() for part in request.headers.get("content-encoding", "").split(",")]
    headers = {**request.headers, "content-length": str(body.length)}
    headers["content-encoding"] = ",".join(part for part in encodings if part not in ("aws-chunked", ""))
    if not headers["content-encoding"]:
        del headers["content-encoding"]
    request.headers = headers
    request.body = body if streams else b"".join(iter(body.read, b""))


def _authorise(handler: Handler, call: Call, params: Mapping[str, Any]) -> None:
    """Raises AccessDenied."""
    decision = decide(call, handler.operation, params)
    if not decision.allowed:
        raise AccessDenied(explanation=decision.explanation)


def _perform(handler: Handler, call: Call, params: Mapping[str, Any]) -> Response:
    """The operation's answer. Raises DryRunOperation when only whether there would be one was asked: the transaction
    takes back what was written to find out."""
    dry = handler.may_dry_run and params.get("DryRun")
    try:
        answer = handler.operation.function(call, params)
    except PartlyDone as partly:
        raise partly.error if dry else partly from partly
    if dry:
        raise DryRunOperation()
    return answer


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
