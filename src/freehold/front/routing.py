"""Which service and protocol a request is for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache

from botocore.loaders import Loader
from botocore.model import ServiceModel

from freehold.front.errors import Family, NotBuilt, echo
from freehold.front.protocols.codec import WireProtocol
from freehold.front.protocols.json_rpc import JsonProtocol, json_error
from freehold.front.protocols.message import HttpRequest, HttpResponse, form
from freehold.front.protocols.query import QueryProtocol, xml_error
from freehold.front.protocols.rest import RestProtocol, rest_xml_error
from freehold.services.errors import AwsError
from freehold.services.operation import Catalog

_VERSION = re.compile(rb"(?:^|&)Version=([0-9-]{10})(?:&|$)")
_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z0-9]{1,128})(?:&|$)")
_OPERATION = re.compile(r"[A-Za-z0-9]{1,128}", re.ASCII)

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html: bucket.s3.region.host, bucket.s3.host, and
# what SDKs make of an endpoint that they are given, bucket.host.
_S3_LABELS = re.compile(r"(?:^|\.)s3(?:[.-][a-z]{2}(?:-[a-z]+)+-[0-9]{1,2})?$", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)

# Of a body that is read whole: what the largest request of such a service needs. S3: CompleteMultipartUpload of 10,000
# parts, DeleteObjects of 1,000 keys; JSON: PutLogEvents of 1 MiB, escaped.
_BODY_BYTES_MAX: dict[str, int] = {
    "ec2": 1 << 20,
    "query": 1 << 20,
    "json": 2 << 20,
    "rest-json": 2 << 20,
    "rest-xml": 4 << 20,
}

_PROTOCOLS: dict[str, Callable[[ServiceModel], WireProtocol]] = {
    "ec2": lambda model: QueryProtocol(model, ec2=True),
    "query": QueryProtocol,
    "json": JsonProtocol,
    "rest-json": lambda model: RestProtocol(model, xml=False),
    "rest-xml": lambda model: RestProtocol(model, xml=True),
}


# Services whose botocore name is not the one that is signed.
_SIGNED_AS = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "s3express": "s3",
    "s3-object-lambda": "s3",
}


class Directory:
    """The services of a catalog by the name they are signed for."""

    def __init__(self, catalog: Catalog) -> None:
        self._models = catalog.models
        self._by_signing_name: dict[str, list[str]] = {}
        for name, model in catalog.models.items():
            self._by_signing_name.setdefault(model.signing_name, []).append(name)
        self._protocols: dict[tuple[str, str], WireProtocol] = {}
        self._lock = threading.Lock()
        self._loader = Loader()
        # A few, since each takes megabytes and anyone with a key may ask for any.
        self._model = lru_cache(4)(lambda name: ServiceModel(self._loader.load_service_model(name, "service-2"), name))

    def serves(self, signing_name: str) -> bool:
        return signing_name in self._by_signing_name

    def body_bytes_max(self, signing_name: str) -> int:
        """How large a body may be that is read whole."""
        names = self._by_signing_name.get(signing_name)
        return _BODY_BYTES_MAX[self._models[names[0]].metadata["protocol"] if names else "query"]

    def find(self, request: HttpRequest, signing_name: str) -> tuple[str, WireProtocol]:
        """The service that a request signed for `signing_name` is for, and the protocol that it speaks.

        Raises NotBuilt, which names the service or protocol.
        """
        names = self._by_signing_name.get(signing_name)
        if not names:
            raise NotBuilt(what=f"The service '{echo(signing_name)}'")
        service = names[0] if len(names) == 1 else self._one_of(names, request)
        return service, self.protocol(service, request)

    def unsigned(self, request: HttpRequest) -> tuple[str, WireProtocol] | None:
        """The service and protocol of a form that asks for an operation which needs no signature; None if it does not.
        Nothing but the form's Action and Version says which service it is for."""
        pairs = [*request.query, *(form(request.body) if isinstance(request.body, bytes) else ())]
        given = {name: value for name, value in pairs if name in ("Action", "Version")}
        name, version = given.get("Action"), given.get("Version")
        for service, model in self._models.items():
            if version == model.api_version and name in model.operation_names:
                operation = model.operation_model(name)
                if operation.auth_type == "none" and model.metadata["protocol"] == "query":
                    return service, self.protocol(service, request)
        return None

    def unbuilt(self, request: HttpRequest, signing_name: str) -> tuple[str, WireProtocol]:
        """The same for a service of AWS that is not in the catalog, so that its own errors can be given.

        Raises NotBuilt for a name that AWS has no service of."""
        name = _SIGNED_AS.get(signing_name, signing_name)
        if name not in self._loader.list_available_services("service-2"):
            raise NotBuilt(what=f"The service '{echo(signing_name)}'")
        model = self._model(name)
        return name, _PROTOCOLS[_chosen(model, request)](model)

    def guessed(self, request: HttpRequest, signing_name: str) -> tuple[str, str]:
        """What a request that nobody is proven to have sent seems to be for: (the name its service signs with, the
        operation), both ``""`` where nothing says it."""
        target_prefix, _, name = request.headers.get("x-amz-target", "").rpartition(".")
        if not name:
            found = _ACTION.search(request.body) if isinstance(request.body, bytes) else None
            name = found[1].decode() if found else next((v for n, v in request.query if n == "Action"), "")
        if not signing_name:
            version = _version(request)
            signing_name = next(
                (
                    model.signing_name
                    for model in self._models.values()
                    if (target_prefix and model.metadata.get("targetPrefix") == target_prefix)
                    or (version and model.api_version == version)
                ),
                "",
            )
        signing_name = signing_name or _by_path(request)
        if not name and signing_name in ("s3", *_PATHS) and signing_name in self._models:
            with suppress(AwsError):
                name = self.protocol(signing_name, request).route(request)[0]
        return signing_name, name if _OPERATION.fullmatch(name) else ""

    def _one_of(self, names: list[str], request: HttpRequest) -> str:
        """Services that share a signing name: ELB and ELBv2 differ by version, S3 and S3 Control by path."""
        if "s3control" in names and request.path.startswith("/v20180820/") and "x-amz-account-id" in request.headers:
            return "s3control"
        version = _version(request)
        return next((name for name in names if self._models[name].api_version == version), names[0])

    def protocol(self, service: str, request: HttpRequest) -> WireProtocol:
        model = self._models[service]
        chosen = _chosen(model, request)
        found = self._protocols.get((service, chosen))
        if found is None:
            with self._lock:
                found = self._protocols.setdefault((service, chosen), _PROTOCOLS[chosen](model))
        return found


def _chosen(model: ServiceModel, request: HttpRequest) -> str:
    """Which of the protocols that a service offers the request is in. Raises NotBuilt, which names the protocol."""
    offered = model.metadata.get("protocols") or [model.metadata["protocol"]]
    if "smithy-protocol" in request.headers:
        raise NotBuilt(what=f"The protocol {echo(request.headers['smithy-protocol'])}")
    # botocore's own order is JSON first; a service that offers query as well is asked in it by a form.
    if "json" in offered and ("x-amz-target" in request.headers or "query" not in offered):
        return "json"
    chosen = next((name for name in offered if name in _PROTOCOLS and name != "json"), None)
    if chosen is None:
        raise NotBuilt(what=f"The protocol {offered[0]}")
    return str(chosen)


def _version(request: HttpRequest) -> str:
    found = _VERSION.search(request.body) if isinstance(request.body, bytes) else None
    return found[1].decode() if found else next((v for n, v in request.query if n == "Version"), "")


def bucket_in_host(host: str, names: Iterable[str]) -> str | None:
    """The bucket of a virtual-hosted request: what `host` has before one of the cloud's `names`."""
    host = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host.lower()
    for name in ("localhost", "amazonaws.com", *names):
        if host.endswith(f".{name}"):
            bucket = _S3_LABELS.sub("", host[: -len(name) - 1])
            return bucket if _BUCKET.fullmatch(bucket) else None
    return None


# Services with paths like S3's, whose requests often have no content type either.
_PATHS = {
    "ebs": re.compile(
        r"POST /snapshots|[A-Z]+ /snapshots/(?:completion/[^/]+|[^/]+/(?:changedblocks|blocks(?:/[0-9]+)?))"
    ),
    "rbin": re.compile(r"[A-Z]+ /(?:rules(?:/[0-9A-Za-z]{11}(?:/(?:un)?lock)?)?|list-rules|tags/arn(?::|%3A).*)"),
}


def _by_path(request: HttpRequest) -> str:
    """The service that a request of nobody's seems to be for, rather than for a bucket of such a name; or nothing."""
    asked = f"{request.method} {request.path}"
    return next((service for service, paths in _PATHS.items() if paths.fullmatch(asked)), "")


def guessed_family(request: HttpRequest) -> Family:
    """The family whose errors the caller is likely to read, before (or without) knowing the service."""
    if "x-amz-target" in request.headers:
        return "json"
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("application/x-www-form-urlencoded") or any(n == "Action" for n, _ in request.query):
        return "query"
    return "rest-json" if "json" in content_type or _by_path(request) else "rest-xml"


def family_error(family: Family, status: int, code: str, message: str, request_id: str) -> HttpResponse:
    """An error in a family's form, without a service."""
    if family in ("json", "rest-json"):
        return json_error(status, code, message, request_id)
    if family == "rest-xml":
        return rest_xml_error(status, code, message, request_id)
    return xml_error(family, "https://iam.amazonaws.com/doc/2010-05-08/", status, code, message, request_id)
