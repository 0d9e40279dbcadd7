"""Making access keys, and noting what they and roles were last used for."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from freehold.records.accounts import AccessKey, AccessKeyUse, access_keys
from freehold.records.feed import take_turn
from freehold.records.identities import roles
from freehold.records.ids import AccountId, new_key_id
from freehold.records.secrets import ACCESS_KEY, Sealer
from freehold.records.store import Store, Transaction

log = structlog.get_logger()


def create_access_key(
    tx: Transaction, sealer: Sealer, account_id: AccountId, user_id: str | None
) -> tuple[AccessKey, str]:
    """A key pair of a user, or of the root (None): the record and the secret access key, which is stored sealed."""
    key_id, secret = new_key_id("AKIA", account_id), secrets.token_urlsafe(30)
    sealed = sealer.seal(ACCESS_KEY, key_id, secret.encode())
    key = AccessKey(key_id, account_id, user_id, sealed, True, tx.now)
    tx.insert(key)
    return key, secret


@dataclass(frozen=True, slots=True)
class Use:
    """That a key or a role (`id`, of `account_id`) signed a call to a service."""

    id: str
    account_id: AccountId
    at: dt.datetime
    region: str
    service: str

    def same_as(self, other: Use) -> bool:
        """Whether it says the same but for the time."""
        return (self.region, self.service) == (other.region, other.service)


class Uses:
    """Notes uses behind the calls: the latest of each key and role, in batches.

    A use that repeats the one before is noted once a minute: AWS, too, is late with it
    (https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccessKeyLastUsed.html). What a process that is killed
    had not written yet is lost; nobody is authorised by it.
    """

    _DELAY_SECONDS = 0.5
    _AGAIN = dt.timedelta(minutes=1)
    _REMEMBERED_MAX = 16384

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[str, Use] = {}
        self._waiting: dict[str, Use] = {}
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key uses", daemon=True)
        self._thread.start()

    def note(self, use: Use) -> None:
        """Never waits for the database."""
        before = self._noted.get(use.id)
        if before is not None and before.same_as(use) and use.at - before.at < self._AGAIN:
            return
        with self._lock:
            if len(self._noted) >= self._REMEMBERED_MAX:
                self._noted.clear()
            self._noted[use.id] = self._waiting[use.id] = use
        self._any.set()

    def close(self) -> None:
        """Write what waits and stop."""
        self._closing.set()
        self._any.set()
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            self._any.wait()
            closing = self._closing.wait(self._DELAY_SECONDS)
            with self._lock:
                waiting, self._waiting = self._waiting, {}
                self._any.clear()
            try:
                if waiting:
                    with self._store.write() as tx:
                        _write(tx, list(waiting.values()))
            except Exception:
                log.exception("uses of keys not written", count=len(waiting))


def _write(tx: Transaction, uses: list[Use]) -> None:
    take_turn(tx)  # or a key could be deleted meanwhile, and its use would stay
    by_id = {use.id: use for use in uses}
    there = tx.connection.scalars(sa.select(access_keys.c.id).where(access_keys.c.id.in_(list(by_id))))
    for use in (by_id[key_id] for key_id in there.all()):
        tx.put(AccessKeyUse(use.id, use.account_id, use.at, use.region, use.service))
    for use in uses:
        if use.id.startswith("AROA"):
            seen = {"last_used_at": use.at, "last_used_region": use.region}
            tx.connection.execute(sa.update(roles).where(roles.c.id == use.id).values(seen))
