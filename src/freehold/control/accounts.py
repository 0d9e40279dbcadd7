"""Opening and closing accounts.

Closing takes away the keys at once, terminates every instance and deletes every volume; when the hosts have reported
the last of them gone, whatever else the account has is removed. Its usage and audit records stay: the bill is owed.
"""

from __future__ import annotations

import sqlalchemy as sa

from freehold.records import audit, feed
from freehold.records.access_keys import create_access_key
from freehold.records.accounts import AccessKey, Account, User, access_keys
from freehold.records.audit import service_event
from freehold.records.compute import (
    ConsoleOutput,
    Image,
    Instance,
    InstanceUserData,
    StateReason,
    TrafficCounter,
    Volume,
    console_outputs,
    instance_user_data,
    instances,
    volume_attachments,
    volumes,
)
from freehold.records.connect import ConnectKey
from freehold.records.events import InstanceEvent, StatusReport, instance_events, status_reports
from freehold.records.ids import AccountId, InstanceId, new_account_id, new_iam_id
from freehold.records.images import remove
from freehold.records.instances import send_down
from freehold.records.network import Address, interface_groups, network_interfaces, vpcs
from freehold.records.reservations import CapacityReservation, end
from freehold.records.schema import TABLES
from freehold.records.secrets import Sealer
from freehold.records.snapshots import Snapshot, delete
from freehold.records.spot import cancel_all
from freehold.records.store import Transaction
from freehold.records.usage import UsageEntry, close_usage
from freehold.records.volumes import begin_deleting

_KEPT = (UsageEntry, TrafficCounter)  # the last may count on for a moment


def create_account(tx: Transaction, sealer: Sealer, name: str) -> tuple[Account, str, str]:
    """A new account with a root key pair: (the account, access key id, secret access key)."""
    account = Account(new_account_id(), name, tx.now)
    tx.insert(account)
    key, secret = create_access_key(tx, sealer, account.id, user_id=None)
    audit.record(tx, _event(tx, account.id, "CreateAccount"))
    return account, key.id, secret


def create_user(tx: Transaction, account_id: AccountId, name: str) -> User:
    """An IAM user without any policy."""
    user = User(new_iam_id("AIDA"), account_id, name, name.lower(), "/", tx.now)
    tx.insert(user)
    return user


def close_account(tx: Transaction, account: Account) -> bool:
    """Begin to delete the account and everything in it, or go on with it; True when it is gone.

    To be called again whenever something of the account has gone (see the module docstring); in between it changes
    nothing.
    """
    feed.take_turn(tx)
    tx.update(account, closing_at=account.closing_at or tx.now)
    tx.delete_where(AccessKey, access_keys.c.account_id == account.id)
    _terminate_instances(tx, account.id)
    cancel_all(tx, account.id)
    for reservation in tx.select(CapacityReservation, account_id=account.id, state="active"):
        end(tx, reservation, "cancelled")
    for volume in tx.select(Volume, volumes.c.account_id == account.id, volumes.c.state == "available"):
        begin_deleting(tx, volume)
    for image in tx.select(Image, owner_id=account.id):
        remove(tx, image)
    for snapshot in tx.select(Snapshot, account_id=account.id, copy_id=None):
        delete(tx, snapshot)
    alive = tx.count(Instance, instances.c.account_id == account.id, instances.c.state != "terminated")
    gone = not alive and not tx.count(Volume, volumes.c.account_id == account.id)
    if gone:
        _remove(tx, account)
    if account.closing_at is None:
        audit.record(tx, _event(tx, account.id, "CloseAccount"))
    return gone


def _event(tx: Transaction, account_id: AccountId, name: str) -> str:
    """The record of an act of the cloud's owner, in the trail of the account; its services are global."""
    return service_event(tx.now, account_id, "us-east-1", "organizations", name, parameters={"accountId": account_id})


def go_on_closing(tx: Transaction, account_id: AccountId) -> None:
    """Something of the account has gone: if it is being closed, see whether that was the last."""
    account = tx.get(Account, account_id)
    if account is not None and account.closing_at is not None:
        close_account(tx, account)


def _terminate_instances(tx: Transaction, account_id: AccountId) -> None:
    reason = StateReason("Server.AccountClosed", "Server.AccountClosed: The account was closed")
    alive = instances.c.state.not_in(("shutting-down", "terminated"))
    for instance in tx.select(Instance, instances.c.account_id == account_id, alive):
        tx.connection.execute(
            sa.update(volume_attachments)
            .where(volume_attachments.c.instance_id == instance.id)
            .values(delete_on_termination=True)
        )
        send_down(tx, instance, "shutting-down", reason, "Server.AccountClosed")


def _remove(tx: Transaction, account: Account) -> None:
    """Delete every row of an account that no host has anything of."""
    for instance in tx.select(Instance, instances.c.account_id == account.id):
        delete_instance(tx, instance.id)
    for address in tx.select(Address, TABLES[Address].c.account_id == account.id):
        close_usage(tx, address.public_ip)
    for vpc_id in tx.connection.scalars(sa.select(vpcs.c.id).where(vpcs.c.account_id == account.id)):
        feed.publish(tx, "vpc", vpc_id)
    own_interfaces = sa.select(network_interfaces.c.id).where(network_interfaces.c.account_id == account.id)
    tx.connection.execute(sa.delete(interface_groups).where(interface_groups.c.interface_id.in_(own_interfaces)))
    for kind, table in TABLES.items():
        if kind not in _KEPT and "account_id" in table.c:
            tx.delete_where(kind, table.c.account_id == account.id)
    tx.delete(account)


def delete_instance(tx: Transaction, instance_id: InstanceId) -> None:
    """Forget a terminated instance."""
    tx.delete_where(InstanceUserData, instance_user_data.c.instance_id == instance_id)
    tx.delete_where(ConsoleOutput, console_outputs.c.instance_id == instance_id)
    tx.delete_where(InstanceEvent, instance_events.c.instance_id == instance_id)
    tx.delete_where(StatusReport, status_reports.c.instance_id == instance_id)
    tx.delete_where(ConnectKey, instance_id=instance_id)
    tx.delete_where(Instance, instances.c.id == instance_id)
