"""The keys of OpenID Connect providers, fetched from where their discovery documents say.

https://openid.net/specs/openid-connect-discovery-1_0.html §4. An account names any provider that it likes, and the
fetch comes from the cloud's own machine, so it is kept to what it is for: HTTPS to a name whose addresses are all on
the public internet (or in networks that the operator allows), connected to the address that was looked at, the
certificate verified for the name; no redirects, no proxies, 128 KiB and ten seconds at most; and only for a provider
that an account has registered. What a provider answers is never shown to anyone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from freehold.config import IdentityProviders
from freehold.services.sts.errors import IDPCommunicationError

log = structlog.get_logger()

_BYTES_MAX = 128 << 10
_SECONDS_MAX = 10.0
_CONNECT_SECONDS, _ADDRESSES_MAX = 3.0, 2
_AT_ONCE_MAX = 6  # each takes a thread of the front door's, which others wait for
_AT_ONCE_OF_ACCOUNT_MAX = 2  # so that slow providers of one account do not keep those of others from being asked
_KEPT_SECONDS = 3600.0
_AGAIN_SECONDS = 30.0  # for a key that is not among those kept, or after a failure
_KEPT_MAX = 100

# Ways by which an address of the public IPv6 internet means one of IPv4, any of them.
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("2002::/16"))


class _Unreachable(Exception):
    """The provider's keys could not be had; the message is for the log."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was fetched, at `at` of the monotonic clock; None: it failed."""

    keys: KeySet | None
    at: float


class ProviderKeys:
    """The keys of providers, remembered for an hour; a key that is not among them is looked for again."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._fetching: Counter[str] = Counter()

    def of(self, account_id: str, url: str, key_id: str | None, config: IdentityProviders) -> KeySet:
        """The keys of the provider of an account at `url` (without ``https://``), fetched anew if `key_id` is not among
        those kept.

        Raises IDPCommunicationError when it can not be reached or does not answer as a provider should.
        """
        kept, now = self._kept.get(url), time.monotonic()
        if kept is not None and now - kept.at < (_KEPT_SECONDS if _has(kept.keys, key_id) else _AGAIN_SECONDS):
            if kept.keys is None:
                raise IDPCommunicationError()
            return kept.keys
        with self._lock:
            busy = self._fetching[account_id] >= _AT_ONCE_OF_ACCOUNT_MAX or self._fetching.total() >= _AT_ONCE_MAX
            if busy:
                raise IDPCommunicationError()  # which clients try again
            self._fetching[account_id] += 1
        try:
            keys = fetch(url, config)
        except _Unreachable as error:
            log.warning("keys of an identity provider not fetched", account=account_id, reason=str(error))
            keys = None
        finally:
            with self._lock:
                self._fetching[account_id] -= 1
                self._fetching += Counter()  # without those that have none
        with self._lock:
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            self._kept[url] = _Kept(keys, now)
        if keys is None:
            raise IDPCommunicationError()
        return keys


def _has(keys: KeySet | None, key_id: str | None) -> bool:
    return keys is not None and (key_id is None or any(key.kid == key_id for key in keys.keys))


def fetch(url: str, config: IdentityProviders) -> KeySet:
    """The keys that a provider publishes now. Raises _Unreachable."""
    issuer = f"https://{url}"
    discovery = _document(f"{issuer.rstrip('/')}/.well-known/openid-configuration", config)
    if discovery.get("issuer") != issuer:
        raise _Unreachable("its discovery document is another issuer's")
    location = discovery.get("jwks_uri")
    if not isinstance(location, str):
        raise _Unreachable("its discovery document names no keys")
    document = _document(location, config)
    try:
        return KeySet.import_key_set(document)  # type: ignore[arg-type]
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _Unreachable("its keys can not be read") from error


def _document(location: str, config: IdentityProviders) -> dict[str, Any]:
    """A JSON object at an HTTPS address."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port or 443
    except ValueError as error:
        raise _Unreachable("an address that is none") from error
    if parts.scheme != "https" or not host or parts.username is not None or not location.isascii():
        raise _Unreachable("an address that is not https://")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        found = json.loads(_get(host, port, path, config))
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise _Unreachable(type(error).__name__) from error
    if not isinstance(found, dict):
        raise _Unreachable("not a JSON object")
    return found


def _get(host: str, port: int, path: str, config: IdentityProviders) -> bytes:
    """The body of the answer. Raises OSError, http.client.HTTPException, ValueError, _Unreachable."""
    context = ssl.create_default_context()
    if config.authorities:
        context.load_verify_locations(config.authorities)
    with (
        _connected(host, port, config) as raw,
        _ended_at(time.monotonic() + _SECONDS_MAX, raw),
        context.wrap_socket(raw, server_hostname=host) as secure,
    ):
        connection = http.client.HTTPConnection(host, port)
        connection.sock = secure
        connection.request("GET", path, headers={"accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise _Unreachable(f"HTTP status {answer.status}")
        body = answer.read(_BYTES_MAX + 1)
    if len(body) > _BYTES_MAX:
        raise _Unreachable("a document that is too large")
    return body


@contextmanager
def _ended_at(deadline: float, connection: socket.socket) -> Iterator[None]:
    """Have the connection end at a moment, however slowly it trickles until then."""
    with connection.dup() as held:  # wrapping the connection takes its descriptor away from it
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _end, (held,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _connected(host: str, port: int, config: IdentityProviders) -> socket.socket:
    """A connection to the first address of a name that takes one. Raises _Unreachable unless all that the name stands
    for may be reached, OSError when none answers."""
    allowed = [ip_network(text) for text in config.networks]
    found = [ip_address(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not is_public(address) and not any(address in network for network in allowed):
            raise _Unreachable("its name has an address that is neither public nor in identity_providers.networks")
    for address in found[:_ADDRESSES_MAX]:
        with contextlib.suppress(OSError):
            return socket.create_connection((str(address), port), timeout=_CONNECT_SECONDS)
    raise _Unreachable("no connection")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public internet, and does not stand for another one that is not."""
    if isinstance(address, IPv6Address) and (
        address.ipv4_mapped is not None or any(address in network for network in _TRANSLATED)
    ):
        return False
    return address.is_global and not address.is_multicast
