"""From a signature to a principal: the key's record, its secret, the proof."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from dataclasses import dataclass

import sqlalchemy as sa

from freehold.config import Config
from freehold.front import signature
from freehold.front.protocols.message import HttpRequest
from freehold.front.signature import Claim
from freehold.front.signature_errors import ExpiredToken, UnknownKey, WrongScope, WrongToken
from freehold.records.accounts import access_keys, users
from freehold.records.ids import AccountId
from freehold.records.secrets import ACCESS_KEY, Sealer
from freehold.records.store import Transaction
from freehold.services.operation import Principal

# https://docs.aws.amazon.com/general/latest/gr/rande.html#global-endpoints: signed for us-east-1 wherever the client is
_GLOBAL_SERVICES = frozenset({"iam", "sts", "budgets", "ce", "route53", "cloudfront", "organizations"})

_KEY_QUERY = (
    sa.select(
        access_keys.c.account_id,
        access_keys.c.user_id,
        access_keys.c.sealed_secret,
        access_keys.c.active,
        access_keys.c.session_token,
        access_keys.c.expires_at,
        users.c.path,
        users.c.name,
    )
    .select_from(access_keys.outerjoin(users, users.c.id == access_keys.c.user_id))
    .where(access_keys.c.id == sa.bindparam("key_id", type_=sa.Text()))
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller. `signing_key` goes on to verify the chunks of a streamed body."""

    principal: Principal
    claim: Claim
    signing_key: bytes


class Callers:
    """Proves who calls.

    The key's record is read for every request (one indexed read), so a deleted key is refused at once; only what is
    computed from the record's own content is remembered.
    """

    _REMEMBERED_MAX = 4096

    def __init__(self, sealer: Sealer, config: Config) -> None:
        self._sealer = sealer
        self._config = config
        self._signing_keys: dict[tuple[str, bytes, str, str, str], bytes] = {}

    def prove(self, tx: Transaction, request: HttpRequest, claimed: Claim, payload_hash: str | None) -> Caller:
        """The caller. `payload_hash` is the hash of the body as received, or None while it is not received yet: then
        the hash that the claim names is taken, and whoever reads the body must check it.

        Raises UnknownKey, WrongToken, ExpiredToken, ClockSkew, SignatureDoesNotMatch and their like.
        """
        signature.check_time(claimed, tx.now)
        if not self._config.serves(claimed.region) and not (
            claimed.service in _GLOBAL_SERVICES and claimed.region == "us-east-1"
        ):
            raise WrongScope(problem=f"Credential should be scoped to a valid region, not '{claimed.region}'.")
        rows = tx.rows(_KEY_QUERY, key_id=claimed.access_key_id)
        if not rows:
            raise UnknownKey()
        ((account, user_id, sealed_secret, active, session_token, expires_at, user_path, user_name),) = rows
        if not active or (user_id is not None and user_name is None):
            raise UnknownKey()
        _check_token(claimed, session_token, expires_at, tx.now)
        key = self._signing_key(claimed, sealed_secret)
        signature.verify(request, claimed, key, signature.signed_hash(claimed, payload_hash))
        account_id = AccountId(account)
        if user_id is None:
            arn = f"arn:aws:iam::{account_id}:root"
            principal = Principal(account_id, arn, account_id, "root", claimed.access_key_id, account_id, arn)
        else:
            arn = f"arn:aws:iam::{account_id}:user{user_path}{user_name}"
            principal = Principal(account_id, arn, user_id, "user", claimed.access_key_id, user_id, arn)
        return Caller(principal, claimed, key)

    def _signing_key(self, claimed: Claim, sealed_secret: bytes) -> bytes:
        remembered = (claimed.access_key_id, sealed_secret, claimed.date, claimed.region, claimed.service)
        key = self._signing_keys.get(remembered)
        if key is None:
            secret = self._sealer.open(ACCESS_KEY, claimed.access_key_id, sealed_secret)
            key = signature.signing_key(secret, claimed)
            if len(self._signing_keys) >= self._REMEMBERED_MAX:
                self._signing_keys.clear()
            self._signing_keys[remembered] = key
        return key


def _check_token(claimed: Claim, token: str | None, expires_at: dt.datetime | None, now: dt.datetime) -> None:
    if not hmac.compare_digest((token or "").encode(), (claimed.token or "").encode()):
        raise WrongToken()
    if expires_at is not None and expires_at <= now:
        raise ExpiredToken()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest() if body else signature.EMPTY_SHA256
