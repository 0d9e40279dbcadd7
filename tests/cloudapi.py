"""The front door of a cloud of one account, for tests: real uvicorn, real SQLite, real boto3.

    with api_server(tmp_path) as api:
        api.client("ec2").describe_regions()

Every answer is checked against its botocore output shape: a member that the shape does not have, or lacks though it
requires it, fails the test.
"""

from __future__ import annotations

import datetime as dt
import functools
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvloop
from botocore.config import Config as BotoConfig
from botocore.model import ListShape, MapShape, Shape, StructureShape

from freehold.config import Config
from freehold.front.app import create_app
from freehold.front.guests import door
from freehold.front.https import Certificate
from freehold.front.limits import Limits
from freehold.front.serve import listen, server
from freehold.paths import Paths
from freehold.questions import Wait, wait_for_nobody
from freehold.records import sessions
from freehold.records.accounts import AccessKey, Account, User
from freehold.records.identities import Role
from freehold.records.ids import AccountId, new_account_id, new_iam_id, new_key_id
from freehold.records.migrations import upgrade
from freehold.records.secrets import ACCESS_KEY, Sealer
from freehold.records.sessions import Holder, Session
from freehold.records.store import Store
from freehold.records.wake import SocketBell
from freehold.services.operation import Catalog

_TRUSTS_NOBODY = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}}'


@dataclass(frozen=True)
class Keys:
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


@dataclass
class ApiServer:
    """A running front door, its store and one account with a root key."""

    url: str
    store: Store
    sealer: Sealer
    config: Config
    account_id: AccountId
    root: Keys
    https_url: str = ""
    _clients: list[Any] = field(default_factory=list)

    def client(self, service: str, region: str = "us-east-1", keys: Keys | None = None, **options: Any) -> Any:
        """A boto3 client whose every answer is checked. It does not retry, and it sends all that it is given."""
        keys = keys or self.root
        client = boto3.client(
            service,
            region_name=region,
            endpoint_url=options.pop("endpoint_url", self.url),
            verify=options.pop("verify", None),
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            config=BotoConfig(
                retries={"total_max_attempts": 1},
                parameter_validation=options.pop("parameter_validation", True),
                user_agent_extra="freehold-tests",
                **options,
            ),
        )
        client.meta.events.register("after-call.*", check_answer)
        self._clients.append(client)
        return client

    def create_account(self, name: str = "other") -> tuple[AccountId, Keys]:
        """A further account with a root key."""
        account_id = new_account_id()
        with self.store.write() as tx:
            tx.insert(Account(account_id, name, tx.now))
        return account_id, self.create_key(account_id)

    def create_user(self, name: str, account_id: AccountId | None = None) -> Keys:
        """An IAM user without any policy, and a key of theirs."""
        account_id = account_id or self.account_id
        with self.store.write() as tx:
            user = User(new_iam_id("AIDA"), account_id, name, name.lower(), "/", tx.now)
            tx.insert(user)
        return self.create_key(account_id, user.id)

    def create_key(self, account_id: AccountId, user_id: str | None = None, **changes: Any) -> Keys:
        """A key of a user, or of the account's root; `changes` replace fields of its record."""
        keys = Keys(new_key_id("AKIA", account_id), new_iam_id("") + new_iam_id(""))
        sealed = self.sealer.seal(ACCESS_KEY, keys.access_key_id, keys.secret_access_key.encode())
        with self.store.write() as tx:
            record = {"active": True, "created_at": tx.now} | changes
            tx.insert(AccessKey(keys.access_key_id, account_id, user_id, sealed, **record))
        return keys

    def create_session(self, holder: Holder, **changes: Any) -> Keys:
        """Temporary credentials for an hour; `changes` replace what the session says."""
        now = dt.datetime.now(dt.UTC)
        said = {"issued_at": now, "expires_at": now + dt.timedelta(hours=1)} | changes
        issued = sessions.issue(self.sealer, holder, Session(**said))
        return Keys(issued.access_key_id, issued.secret_access_key, issued.session_token)

    def create_role(self, name: str, account_id: AccountId | None = None) -> Role:
        """A role that nobody may assume, without any policy."""
        account_id, trust = account_id or self.account_id, _TRUSTS_NOBODY
        with self.store.write() as tx:
            names = (name, name.lower(), "/", "")
            role = Role(new_iam_id("AROA"), account_id, *names, trust, 3600, None, None, tx.now)
            tx.insert(role)
        return role


@functools.cache
def _migrated() -> bytes:
    """A migrated, empty SQLite database: migrating takes longer than starting the front door."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "state.db")
        upgrade(f"sqlite:///{file}")
        return file.read_bytes()


@contextmanager
def api_server(
    directory: Path,
    config: Config | None = None,
    *,
    package: str = "freehold.services",
    limits: Limits | None = None,
    store: Store | None = None,
    wait: Wait = wait_for_nobody,
) -> Iterator[ApiServer]:
    """The front door over `store` or a fresh database in `directory`, on a free port of loopback. `package` holds the
    services; `wait` waits for hosts.
    With an `https_address` in `config` it serves HTTPS as well, on a free port; with certificates in `directory` (see
    pki.ensure) what hosts relay from guests."""
    config = config or Config()
    if store is None:
        bells = directory / "run" / "bells"
        bells.mkdir(parents=True)
        url = f"sqlite:///{directory / 'state.db'}"
        (directory / "state.db").write_bytes(_migrated())
        store = own = Store(url, SocketBell(bells), durable=config.state.durable)
    else:
        own = None
    sealer = Sealer.of(directory)
    app = create_app(Catalog(package), store, sealer, config, package=package, limits=limits, wait=wait)
    https = None
    if config.https_address:
        https = (listen(config.https_address, 0), Certificate(config, directory / "pki"))
    uvicorn_server = server(app, port=0, https=https, guests=door(Paths(directory)))
    thread = threading.Thread(target=lambda: uvloop.run(uvicorn_server.serve()), name="front door", daemon=True)
    thread.start()
    try:
        while not uvicorn_server.started:
            if not thread.is_alive():
                pytest.fail("the front door did not start")
            thread.join(0.01)
        port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
        api = ApiServer(f"http://127.0.0.1:{port}", store, sealer, config, AccountId(""), Keys("", ""))
        if https is not None:
            api.https_url = f"https://127.0.0.1:{https[0].getsockname()[1]}"
        api.account_id, api.root = api.create_account("test")
        yield api
        for client in api._clients:
            client.close()
    finally:
        uvicorn_server.should_exit = True
        thread.join()
        if own is not None:
            own.close()


def check_answer(parsed: dict[str, Any], model: Any, http_response: Any, **_: Any) -> None:
    """boto3 event handler: the answer has every member that its shape requires and none that it does not know."""
    if http_response.status_code >= 300:
        assert parsed["Error"]["Code"], "an error without a code"
        # botocore leaves it in the headers where an error has no body (HEAD).
        request_id = parsed["ResponseMetadata"].get("RequestId") or http_response.headers.get("x-amz-request-id")
        assert request_id, "an error without a request id"
        return
    assert parsed["ResponseMetadata"]["RequestId"], f"{model.name}: no request id"
    shape = model.output_shape
    if shape is None:
        return
    answer = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    problems = list(_missing(shape, answer, model.name))
    protocol = model.service_model.resolved_protocol
    if model.has_streaming_output:
        pass  # what streams is the caller's to read, and has no shape
    elif protocol in ("ec2", "query", "rest-xml") and http_response.content[:1] == b"<":
        root = ET.fromstring(http_response.content)
        if protocol == "query":
            root = root[0]
        problems += _unknown(shape, root, model.name)
    assert not problems, "; ".join(problems)


def _missing(shape: Shape, value: Any, path: str) -> Iterator[str]:
    match shape:
        case StructureShape():
            for name in shape.required_members:
                if name not in value:
                    yield f"{path}.{name} is required and missing"
            for name, item in value.items():
                if name in shape.members:
                    yield from _missing(shape.members[name], item, f"{path}.{name}")
        case ListShape():
            for item in value:
                yield from _missing(shape.member, item, f"{path}[]")
        case MapShape():
            for item in value.values():
                yield from _missing(shape.value, item, f"{path}{{}}")


def _unknown(shape: Shape, node: ET.Element, path: str) -> Iterator[str]:
    """Elements that the shape does not have: botocore drops them without a word."""
    match shape:
        case StructureShape():
            members = {_element_name(name, member): member for name, member in shape.members.items()}
            for child in node:
                tag = child.tag.rpartition("}")[2]
                if tag in members:
                    member = members[tag]
                    if isinstance(member, ListShape) and member.serialization.get("flattened"):
                        member = member.member
                    yield from _unknown(member, child, f"{path}.{tag}")
                elif tag not in ("requestId", "ResponseMetadata"):
                    yield f"{path} has an unknown element {tag}"
        case ListShape():
            expected = shape.member.serialization.get("name", "member")
            for child in node:
                if child.tag.rpartition("}")[2] != expected:
                    yield f"{path} has an unknown element {child.tag}"
                yield from _unknown(shape.member, child, f"{path}[]")


def _element_name(name: str, member: Shape) -> str:
    if isinstance(member, ListShape) and member.serialization.get("flattened"):
        return str(member.member.serialization.get("name", member.serialization.get("name", name)))
    return str(member.serialization.get("name", name))
