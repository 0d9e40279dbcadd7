"""How an operation is written and found.

An operation is one function, named after AWS's operation in snake case, in the folder of its service::

    @operation(resources=addresses_named)
    def release_address(call: Call, request: ReleaseAddressRequestTypeDef) -> Response:

It gets the request as parsed and validated by the service model and returns the members of the model's output shape.
The front door finds it by its name, has the caller authorised for it, opens the transaction, serialises the answer
and writes the audit record. Whatever the model can not say about the input, the operation checks itself, in the order:
input → load what it names → may this state do that → write → answer.
"""

from __future__ import annotations

import datetime as dt
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import botocore
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from freehold.config import Config
from freehold.questions import Ask, Question, ask_nobody
from freehold.records.ids import AccountId
from freehold.records.secrets import Sealer
from freehold.records.sessions import Session as Session
from freehold.records.store import Transaction
from freehold.services.errors import AwsError

Request = Mapping[str, Any]
Response = Mapping[str, Any]


class Shared(dict[str, Any]):
    """A structure that is part of many answers, or many times part of one, and never changed: it is serialised once.

    `written` is for the serialisers: its text in each place where it may stand."""

    def __init__(self, *given: Any, **members: Any) -> None:
        super().__init__(*given, **members)
        self.written: dict[Any, str] = {}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who signed the request.

    `arn` as in ``arn:aws:iam::123456789012:root``, ``…:user/alice``, ``arn:aws:sts::…:assumed-role/worker/session`` or
    ``…:federated-user/bob``. `unique_id` is what aws:userid says: ``AROA…:session`` of a role. `owner_id` is the unique
    id of the user or role whose policies count, `owner_arn` its own ARN (of a role: ``arn:aws:iam::…:role/worker``).
    A ``web-identity`` comes without a signature, by a token of the OpenID Connect provider `owner_arn`; `owner_id` is
    whom it is about.
    """

    account_id: AccountId
    arn: str
    unique_id: str
    kind: Literal["root", "user", "role", "federated", "web-identity"]
    access_key_id: str
    owner_id: str = ""
    owner_arn: str = ""
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class Awaited:
    """A question to a host, asked when an operation's transaction is committed: the operation is answered after it.

    `unanswered` is for when the host does not answer in time: in a transaction of its own it undoes what the operation
    has written, and says what the caller gets instead of the answer; None: that stands all the same.
    """

    host_id: str
    question: Question
    unanswered: Callable[[Transaction], AwsError | None]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated call: who, where, when, and the transaction that it works in. `sealer` opens and makes the
    sealed secrets in records; `prepared` is what `prepare` of the operation made (see `operation`); `secure`: the call
    came by HTTPS; `mfa_at`: the request itself had a code of the caller's MFA device; `source_vpc`: it
    came from a guest in this VPC, whose private address `source_ip` is; `referer` is the header of this name; `ask`
    asks a host and waits, which no operation does in a write transaction; `answered_after` is what hosts are to have
    answered before the operation is."""

    service: str
    operation: str
    principal: Principal
    region: str
    request_id: str
    source_ip: str
    user_agent: str
    config: Config
    tx: Transaction
    sealer: Sealer
    prepared: Any = None
    secure: bool = False
    mfa_at: dt.datetime | None = None
    source_vpc: str | None = None
    referer: str = ""
    ask: Ask = ask_nobody
    answered_after: list[Awaited] = field(default_factory=list)

    @property
    def account_id(self) -> AccountId:
        return self.principal.account_id

    @property
    def now(self) -> dt.datetime:
        return self.tx.now

    def arn(self, resource: str) -> str:
        """The ARN of this account's resource of this service and region: ``arn("instance/i-1")``."""
        return f"arn:aws:{self.service}:{self.region}:{self.account_id}:{resource}"


class WriteNeeded(Exception):
    """An operation that reads has to write first, this once: the front door runs it again in a write transaction."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Who sends an unsigned request, and what proves it: `said` is the operation's `call.prepared`."""

    principal: Principal
    said: Any


Value = str | Sequence[str] | None
"""What there is under a condition key: one text, the texts of a multivalued key, or nothing."""


def _nothing() -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Needed:
    """Something that policies must allow, where there is more to say of it than the ARN of a resource.

    `action` is another than the operation's own (``iam:PassRole``). `keys` gives the service's condition keys
    (``ec2:InstanceType``), `tags` the resource's tags; each is asked only when a condition names one, and once.
    `request_tags` are the tags that the request has for this resource, where they are not in its Tags.
    `account_id` is the owner's, if that is another account. `policy` is the resource's own policy; `required`: it must
    allow even in its own account (a key's), `trust`: it is a role's. `granted`, asked last, says whether something else
    than a policy allows it (a grant of KMS).
    """

    arn: str
    action: str = ""
    keys: Callable[[], Mapping[str, Value]] = _nothing
    tags: Callable[[], Mapping[str, str]] = _nothing
    request_tags: Mapping[str, str] | None = None
    account_id: str = ""
    policy: str | None = None
    required: bool = False
    trust: bool = False
    granted: Callable[[], bool] | None = None


Resources = Callable[[Call, Any], Iterable[str | Needed]]
Receive = Callable[[Config, Any], AbstractContextManager[Any]]
Prepare = Callable[[Call, Any], Any]
Prove = Callable[[Callable[[], AbstractContextManager[Transaction]], Config, Any], Proof]


@dataclass(frozen=True, slots=True)
class Operation:
    """A built operation. `resources` gives what policies must allow, as ARNs or as Needed; ``("*",)`` where AWS has no
    resource-level permission for the action. `resource_policies`: some have policies of their own, which count for root
    too. `receive` takes in a streaming input, `prepare` does what takes long (see `operation`)."""

    service: str
    name: str
    function: Callable[[Call, Any], Response]
    resources: Resources
    resource_policies: bool
    receive: Receive | None
    prepare: Prepare | None
    prove: Prove | None
    read_only: bool
    model: OperationModel

    @property
    def action(self) -> str:
        """What policies call it: ``ec2:RunInstances``."""
        signing_name = self.model.service_model.signing_name
        return f"{_PREFIXES.get(signing_name, signing_name)}:{self.name}"


# Where policies call a service otherwise than signatures do.
_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}

_WITH_RESOURCE_POLICIES = frozenset({"kms", "s3", "sts"})


def _any_resource(_call: Call, _request: Request) -> Iterable[str]:
    return ("*",)


def operation(
    *,
    resources: Resources = _any_resource,
    resource_policies: bool = False,
    receive: Receive | None = None,
    prepare: Prepare | None = None,
    prove: Prove | None = None,
    read_only: bool | None = None,
) -> Callable[[Callable[[Call, Any], Response]], Callable[[Call, Any], Response]]:
    """Mark a function as the operation that its name says (see the module docstring).

    An operation that writes and whose input streams (the body of an object) must name `receive`: a context manager
    that takes in the whole stream (``request["Body"].read(n)``) after the caller was authorised and before the write
    transaction begins, so that a slow client never holds the database. What it yields stands in the stream's place
    when the operation runs; on exit it removes what the operation did not keep.

    An operation that computes for long names `prepare`: it gets a call that only reads, and the request, after the
    caller was authorised and before the write transaction begins. What it returns is `call.prepared`; what it has read
    may have changed since.

    An operation that AWS takes without a signature names `prove`: it gets a way to open read transactions, the
    configuration and the request, and says who sends it. No policy of theirs is asked: the operation decides itself.

    `resource_policies`: what it needs has policies of its own (the KMS keys of volumes), which count for root too; so
    it is with all of KMS, S3 and STS.

    `read_only` says what the name does not (KMS's Encrypt changes nothing); `None`: the name says it. An operation that
    reads and once in a while has to write first (DescribeKey makes AWS managed keys) raises WriteNeeded when
    ``call.tx.writable`` is false.
    """

    def mark(function: Callable[[Call, Any], Response]) -> Callable[[Call, Any], Response]:
        marks = (resources, resource_policies, receive, prepare, prove, read_only)
        function.__aws_operation__ = marks  # type: ignore[attr-defined]
        return function

    return mark


def folder(service: str) -> str:
    """The folder of a service: ``service_quotas`` of ``service-quotas``."""
    return service.replace("-", "_")


_READ_ONLY = ("Describe", "Get", "List", "Head", "Lookup")


class Catalog:
    """All built operations, found in the folders of ``freehold.services``."""

    def __init__(self, package: str = "freehold.services") -> None:
        loader = Loader()
        self.models: dict[str, ServiceModel] = {}
        self.operations: dict[tuple[str, str], Operation] = {}
        root = importlib.import_module(package)
        for found in pkgutil.iter_modules(root.__path__):
            if found.ispkg:
                name = found.name.replace("_", "-")
                model = ServiceModel(loader.load_service_model(name, "service-2"), name)
                self.models[name] = model
                self._find(model, f"{package}.{folder(name)}")

    def _find(self, model: ServiceModel, package: str) -> None:
        by_function_name = {botocore.xform_name(name): name for name in model.operation_names}
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            module = importlib.import_module(f"{package}.{info.name}")
            for name, function in vars(module).items():
                marked = getattr(function, "__aws_operation__", None)
                if marked is None or function.__module__ != module.__name__:
                    continue
                resources, resource_policies, receive, prepare, prove, read_only = marked
                operation_name = by_function_name[name]  # KeyError: no operation of the model has this name
                self.operations[model.service_name, operation_name] = Operation(
                    service=model.service_name,
                    name=operation_name,
                    function=function,
                    resources=resources,
                    resource_policies=resource_policies or model.service_name in _WITH_RESOURCE_POLICIES,
                    receive=receive,
                    prepare=prepare,
                    prove=prove,
                    read_only=operation_name.startswith(_READ_ONLY) if read_only is None else read_only,
                    model=model.operation_model(operation_name),
                )
