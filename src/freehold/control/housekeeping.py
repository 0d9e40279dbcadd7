"""What is done now and then: forgetting what need no longer be kept, and finishing accounts that are closing."""

from __future__ import annotations

import datetime as dt

from freehold.config import Config
from freehold.control.accounts import close_account, delete_instance
from freehold.records import feed
from freehold.records.accounts import Account, accounts
from freehold.records.compute import IdempotencyToken, Image, Instance, idempotency_tokens, images, instances
from freehold.records.connect import ConnectKey, connect_keys
from freehold.records.event_windows import EventWindowTarget
from freehold.records.fleets import Fleet, fleets
from freehold.records.identities import AccessReport, RoleDeletion, access_reports, role_deletions
from freehold.records.images import remove
from freehold.records.import_tasks import ImportTask, import_tasks
from freehold.records.reservations import CapacityReservation, reservations
from freehold.records.snapshots import Snapshot, abandon, delete, snapshots
from freehold.records.spot import SpotRequest, spot_requests
from freehold.records.store import Store
from freehold.records.tags import delete_tags_of

# "Terminated instances remain visible … for a short while (usually about one hour)":
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-ec2-instance-termination-works.html
_TERMINATED_SHOWN = dt.timedelta(hours=1)
_TOKEN_KEPT = dt.timedelta(days=7)
_REPORT_KEPT = dt.timedelta(days=7)
_TASK_KEPT = dt.timedelta(days=1)
_RESERVATION_SHOWN = dt.timedelta(days=1)
_FLEET_SHOWN = dt.timedelta(days=2)
_IMPORT_SHOWN = dt.timedelta(days=7)
_REQUEST_SHOWN = dt.timedelta(days=1)
_BATCH = 200


def keep_house(store: Store, config: Config) -> None:
    """One round, in short transactions so that no caller waits long behind it."""
    with store.write() as tx:
        # Also what a call that was under way when its account was closed has made since.
        for account in tx.select(Account, accounts.c.closing_at.is_not(None)):
            close_account(tx, account)
    with store.write() as tx:
        feed.trim(tx, tx.now - dt.timedelta(hours=config.state.keep_feed_hours))
        tx.delete_where(IdempotencyToken, idempotency_tokens.c.created_at < tx.now - _TOKEN_KEPT)
        tx.delete_where(ConnectKey, connect_keys.c.expires_at <= tx.now)
        tx.delete_where(AccessReport, access_reports.c.created_at < tx.now - _REPORT_KEPT)
        tx.delete_where(RoleDeletion, role_deletions.c.created_at < tx.now - _TASK_KEPT)
        for reservation in tx.select(CapacityReservation, reservations.c.ended_at < tx.now - _RESERVATION_SHOWN):
            delete_tags_of(tx, reservation.id)
            tx.delete(reservation)
        for fleet in tx.select(Fleet, fleets.c.deleted_at < tx.now - _FLEET_SHOWN, limit=_BATCH):
            delete_tags_of(tx, fleet.id)
            tx.delete(fleet)
        for task in tx.select(ImportTask, import_tasks.c.ended_at < tx.now - _IMPORT_SHOWN, limit=_BATCH):
            delete_tags_of(tx, task.id)
            tx.delete(task)
        for request in tx.select(SpotRequest, spot_requests.c.ended_at < tx.now - _REQUEST_SHOWN):
            delete_tags_of(tx, request.id)
            tx.delete(request)
    with store.write() as tx:
        feed.take_turn(tx)
        for snapshot in tx.select(Snapshot, state="pending", writing=True):
            abandon(tx, snapshot)
        for snapshot in tx.select(Snapshot, snapshots.c.recycled_until <= tx.now, limit=_BATCH):
            delete(tx, snapshot)
        for image in tx.select(Image, images.c.recycled_until <= tx.now, limit=_BATCH):
            remove(tx, image)
    while True:
        with store.write() as tx:
            feed.take_turn(tx)  # or one of them could be tagged between here and the commit
            old = tx.select(
                Instance,
                instances.c.state == "terminated",
                instances.c.terminated_at < tx.now - _TERMINATED_SHOWN,
                limit=_BATCH,
            )
            for instance in old:
                delete_tags_of(tx, instance.id)
                owner = {"account_id": instance.account_id, "region": instance.region}
                tx.delete_where(EventWindowTarget, **owner, kind="instance", key=instance.id)
                delete_instance(tx, instance.id)
        if len(old) < _BATCH:
            return
