"""Session tokens of IMDSv2: a moment and its signature, so that nothing has to be remembered.

A token is good for one instance until it expires, also across a restart of the agent: the key is the host's own and
stays in its data directory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from pathlib import Path

import structlog

log = structlog.get_logger()

TTL_SECONDS_MAX = 21_600  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
_KEY_BYTES = 32
_TIME_BYTES = 8


class Tokens:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, instance_id: str, expires_at: float) -> str:
        """A token for one instance; `expires_at` in seconds since 1970. 56 characters, as AWS's own."""
        moment = int(expires_at * 1e6).to_bytes(_TIME_BYTES, "big")
        return base64.urlsafe_b64encode(moment + self._signature(instance_id, moment)).decode()

    def seconds_left(self, token: str, instance_id: str, now: float) -> float | None:
        """How long a token is still good for; None if it is not, or was never issued to this instance."""
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        moment, signature = raw[:_TIME_BYTES], raw[_TIME_BYTES:]
        if not hmac.compare_digest(signature, self._signature(instance_id, moment)):
            return None
        left = int.from_bytes(moment, "big") / 1e6 - now
        return left if left > 0 else None

    def _signature(self, instance_id: str, moment: bytes) -> bytes:
        return hmac.new(self._key, moment + instance_id.encode(), hashlib.sha256).digest()


def load_key(path: Path) -> bytes:
    """The key in a file, made when there is none. A file that holds no key is replaced: its tokens are then void."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        pass
    else:
        if len(key) == _KEY_BYTES:
            return key
        log.error("the key of the metadata service was unreadable and is replaced", file=str(path))
    key = secrets.token_bytes(_KEY_BYTES)
    temporary = path.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return key
