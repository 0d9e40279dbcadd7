"""From a signature to a principal: the key's record, its secret, the proof."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from freehold.config import Config
from freehold.front import signature
from freehold.front.protocols.message import HttpRequest
from freehold.front.signature import Claim
from freehold.front.signature_errors import ExpiredToken, UnknownKey, WrongScope, WrongToken
from freehold.records import sessions
from freehold.records.accounts import access_keys, accounts, users
from freehold.records.identities import roles
from freehold.records.secrets import ACCESS_KEY, Sealer
from freehold.records.sessions import Holder, Opened, Session, TokenError
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
        users.c.path,
        users.c.name,
    )
    .select_from(access_keys.outerjoin(users, users.c.id == access_keys.c.user_id))
    .where(access_keys.c.id == sa.bindparam("key_id", type_=sa.Text()))
)
_OPEN_ACCOUNT = sa.and_(accounts.c.id == sa.bindparam("account_id", type_=sa.Text()), accounts.c.closing_at.is_(None))
_OWNER_ID = sa.bindparam("owner_id", type_=sa.Text())
# Whose temporary credentials are: path and name, if they are still there.
_ROLE_QUERY = sa.select(roles.c.path, roles.c.name).where(
    roles.c.id == _OWNER_ID, roles.c.account_id == accounts.c.id, _OPEN_ACCOUNT
)
_USER_QUERY = sa.select(users.c.path, users.c.name).where(
    users.c.id == _OWNER_ID, users.c.account_id == accounts.c.id, _OPEN_ACCOUNT
)
_ROOT_QUERY = sa.select(accounts.c.id, accounts.c.name).where(accounts.c.id == _OWNER_ID, _OPEN_ACCOUNT)


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller. `signing_key` goes on to verify the chunks of a streamed body."""

    principal: Principal
    claim: Claim
    signing_key: bytes


class Callers:
    """Proves who calls.

    The key's record, or that of the role or user whose temporary key it is, is read for every request (one indexed
    read), so that what is deleted is refused at once; only what is computed from the record's or the token's own
    content is remembered.
    """

    _REMEMBERED_MAX = 4096

    def __init__(self, sealer: Sealer, config: Config) -> None:
        self._sealer = sealer
        self._config = config
        self._signing_keys: dict[tuple[str, bytes, str, str, str], bytes] = {}
        self._tokens: dict[bytes, Opened] = {}

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
        if claimed.access_key_id.startswith(sessions.PREFIX):
            principal, key = self._temporary(tx, claimed)
        else:
            principal, key = self._lasting(tx, claimed)
        signature.verify(request, claimed, key, signature.signed_hash(claimed, payload_hash))
        return Caller(principal, claimed, key)

    def _lasting(self, tx: Transaction, claimed: Claim) -> tuple[Principal, bytes]:
        """Whose a stored key is, and its signing key."""
        rows = tx.rows(_KEY_QUERY, key_id=claimed.access_key_id)
        if not rows:
            raise UnknownKey()
        ((account, user_id, sealed_secret, active, user_path, user_name),) = rows
        if not active or (user_id is not None and user_name is None):
            raise UnknownKey()
        if claimed.token:
            raise WrongToken()
        key = self._signing_key(
            claimed, sealed_secret, lambda: self._sealer.open(ACCESS_KEY, claimed.access_key_id, sealed_secret)
        )
        holder = Holder(account, "root", account) if user_id is None else Holder(account, "user", user_id)
        return _principal(claimed.access_key_id, holder, user_path, user_name), key

    def _temporary(self, tx: Transaction, claimed: Claim) -> tuple[Principal, bytes]:
        """Whose a temporary key is, and its signing key."""
        if not claimed.token:
            raise UnknownKey()
        opened = self._opened(claimed.access_key_id, claimed.token)
        if opened.session.expires_at <= tx.now:
            raise ExpiredToken()
        holder = opened.holder
        # "You cannot call any IAM API operations unless MFA authentication information is included in the request."
        # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
        if claimed.service == "iam" and holder.kind != "role" and opened.session.mfa_at is None:
            raise UnknownKey()
        if holder.kind == "role":
            query = _ROLE_QUERY
        else:
            query = _ROOT_QUERY if holder.owner_id == holder.account_id else _USER_QUERY
        rows = tx.rows(query, owner_id=holder.owner_id, account_id=holder.account_id)
        if not rows:
            raise UnknownKey()
        ((path, name),) = rows
        secret = opened.secret.encode()
        key = self._signing_key(claimed, secret, lambda: secret)
        return _principal(claimed.access_key_id, holder, path, name, opened.session), key

    def _opened(self, key_id: str, token: str) -> Opened:
        remembered = hashlib.sha256(f"{key_id}\0{token}".encode()).digest()
        found = self._tokens.get(remembered)
        if found is None:
            try:
                found = sessions.opened(self._sealer, key_id, token)
            except TokenError:
                raise WrongToken() from None
            if len(self._tokens) >= self._REMEMBERED_MAX:
                self._tokens.clear()
            self._tokens[remembered] = found
        return found

    def _signing_key(self, claimed: Claim, kept: bytes, secret: Callable[[], bytes]) -> bytes:
        """The signing key of a claim; `kept` is the secret as it is kept."""
        remembered = (claimed.access_key_id, kept, claimed.date, claimed.region, claimed.service)
        key = self._signing_keys.get(remembered)
        if key is None:
            key = signature.signing_key(secret(), claimed)
            if len(self._signing_keys) >= self._REMEMBERED_MAX:
                self._signing_keys.clear()
            self._signing_keys[remembered] = key
        return key


def _principal(key_id: str, holder: Holder, path: str, name: str, session: Session | None = None) -> Principal:
    """`path` and `name` are of the role or user whose credentials they are.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable: what each kind of
    principal is called."""
    account_id, owner_id = holder.account_id, holder.owner_id
    if holder.kind == "role":
        owner_arn = f"arn:aws:iam::{account_id}:role{path}{name}"
        arn, unique_id = f"arn:aws:sts::{account_id}:assumed-role/{name}/{holder.name}", f"{owner_id}:{holder.name}"
    else:
        root = owner_id == account_id
        owner_arn = f"arn:aws:iam::{account_id}:root" if root else f"arn:aws:iam::{account_id}:user{path}{name}"
        arn, unique_id = owner_arn, owner_id
        if holder.kind == "federated":
            arn, unique_id = f"arn:aws:sts::{account_id}:federated-user/{holder.name}", f"{account_id}:{holder.name}"
    return Principal(account_id, arn, unique_id, holder.kind, key_id, owner_id, owner_arn, session)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest() if body else signature.EMPTY_SHA256
