"""What a host reports becomes states, ledger entries and freed capacity; reports that are late or double change
nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.config import Config
from freehold.control.accounts import close_account, create_account
from freehold.control.billing import NoPrice, bill
from freehold.control.housekeeping import keep_house
from freehold.control.networks import vpc_view
from freehold.control.reports import apply_report
from freehold.control.specs import guest_specs, instances_of_host, volumes_to_delete
from freehold.host.wire import GuestReport, HostMessage, Report, TrafficReading
from freehold.records.accounts import AccessKey, Account
from freehold.records.compute import Host, Instance, TrafficCounter, Volume, VolumeAttachment, VolumeState
from freehold.records.ids import new_account_id
from freehold.records.network import Address, NetworkInterface
from freehold.records.schema import TABLES
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.records.usage import UsageEntry, close_usage, count_usage, open_usage, usage
from freehold.records.volumes import begin_deleting

from .builders import ACCOUNT, HOST, REGION, make_host, make_instance, make_network

CONFIG = Config()


def report(tx: Transaction, instance: Instance, state: str, **details: object) -> Instance:
    """The host reports `state` for the generation of `instance`; returns the instance as it is then."""
    guest = GuestReport(instance.id, instance.generation, state, tx.now, **details)  # type: ignore[arg-type]
    apply_report(tx, HOST, Report((guest,)))
    found = tx.get(Instance, instance.id)
    assert found is not None
    return found


@pytest.fixture
def instance(store: Store) -> Instance:
    with store.write() as tx:
        make_network(tx)
        make_host(tx)
        return make_instance(tx)


def test_running_opens_the_meter_once(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        assert report(tx, instance, "starting").state == "pending"
        assert report(tx, instance, "running").state == "running"
        assert report(tx, instance, "running").state == "running"
        assert tx.count(UsageEntry, usage.c.item == "instance:t3.nano") == 1


def test_a_report_of_an_older_generation_moves_nothing(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        running = report(tx, instance, "running")
        tx.update(running, state="stopping", generation=2)
        assert report(tx, instance, "stopped").state == "stopping"
        assert report(tx, instance, "running").state == "stopping"


def test_another_host_may_not_speak_for_it(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        apply_report(tx, "host-2", Report((GuestReport(instance.id, 1, "running", tx.now),)))
        assert tx.get(Instance, instance.id) == instance


def test_a_first_launch_that_fails_ends_terminated(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        going = report(tx, instance, "failed", message="no disk left")
        assert (going.state, going.generation) == ("shutting-down", 2)
        assert going.state_reason is not None
        # The host's words are for the operator.
        assert going.state_reason.message == "Server.InternalError: Internal error on launch"
        assert going.failure == "no disk left"
        assert report(tx, going, "absent").state == "terminated"
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None)) == 0


def test_a_start_that_fails_ends_stopped_and_keeps_its_disk(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        running = report(tx, instance, "running")
        pending = tx.update(running, state="pending", generation=2)
        stopping = report(tx, pending, "failed")
        assert report(tx, stopping, "stopped").state == "stopped"
        assert tx.count(Volume) == 1


def test_a_guest_that_powers_off_stops_and_is_billed_to_that_moment(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        report(tx, instance, "running")
        moment = tx.now
    with store.write() as tx:
        guest = GuestReport(instance.id, 1, "stopped", moment, guest_shutdown=True)
        apply_report(tx, HOST, Report((guest,)))
        stopping = tx.get(Instance, instance.id)
        assert stopping is not None
        assert stopping.state == "stopping"
        entry = tx.find(UsageEntry, usage.c.item == "instance:t3.nano")
        assert entry is not None
        assert entry.closed_at == moment
        assert report(tx, stopping, "stopped").state == "stopped"
        host = tx.get(Host, HOST)
        assert host is not None


def test_a_guest_that_powers_off_terminates_when_asked_to(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        running = tx.update(report(tx, instance, "running"), shutdown_behavior="terminate")
        going = report(tx, running, "stopped", guest_shutdown=True)
        assert going.state == "shutting-down"
        assert report(tx, going, "absent").state == "terminated"


def test_terminated_leaves_no_interface_volume_address_or_open_meter(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        (interface,) = tx.select(NetworkInterface)
        tx.insert(
            Address("203.0.113.9", ACCOUNT, REGION, "elastic", "eipalloc-1", "a-1", interface.id, "10.0.0.5", tx.now)
        )
        host = tx.get(Host, HOST)
        assert host is not None
        tx.update(host, vcpus_used=2, memory_used_mib=512)
        going = tx.update(report(tx, instance, "running"), state="shutting-down", generation=2)
        close_usage(tx, instance.id)
        assert report(tx, going, "absent").state == "terminated"
        assert tx.count(NetworkInterface) == tx.count(Volume) == 0
        (address,) = tx.select(Address)
        assert (address.interface_id, address.association_id) == (None, None)
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None)) == 0
        host = tx.get(Host, HOST)
        assert host is not None
        assert (host.vcpus_used, host.memory_used_mib) == (0, 0)
        assert guest_specs(tx, CONFIG, instances_of_host(tx, HOST)) == ()
        assert vpc_view(tx, "vpc-1") is None


def test_a_volume_that_outlives_its_instance_becomes_available(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        (attachment,) = tx.select(VolumeAttachment)
        tx.update(attachment, delete_on_termination=False)
        going = tx.update(instance, state="shutting-down", generation=2)
        report(tx, going, "absent")
        (volume,) = tx.select(Volume)
        assert (volume.state, tx.count(VolumeAttachment)) == ("available", 0)
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None)) == 1
        assert volumes_to_delete(tx, HOST) == ()


def test_a_deleted_volume_is_nobodys_until_its_host_says_that_it_is_gone(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        (volume,) = tx.select(Volume)
        tx.delete_where(VolumeAttachment, volume_id=volume.id)
        volume = tx.update(volume, state="available")
        begin_deleting(tx, volume)
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None)) == 0
        assert (volumes_to_delete(tx, HOST), volumes_to_delete(tx, "host-2")) == ((volume.id,), ())
        apply_report(tx, "host-2", Report((), (), (volume.id,)))
        assert tx.count(Volume) == 1
        for _ in range(2):
            apply_report(tx, HOST, Report((), (), (volume.id, "vol-unknown")))
        assert tx.count(Volume) == 0


@pytest.mark.parametrize("state", ["available", "in-use"])
def test_a_host_can_not_delete_a_volume_that_is_wanted(store: Store, instance: Instance, state: VolumeState) -> None:
    with store.write() as tx:
        (volume,) = tx.select(Volume)
        tx.update(volume, state=state)
        apply_report(tx, HOST, Report((), (), (volume.id,)))
        assert tx.count(Volume) == 1


def test_a_host_is_told_all_that_a_guest_needs(store: Store, instance: Instance) -> None:
    with store.read() as tx:
        (spec,) = guest_specs(tx, CONFIG, instances_of_host(tx, HOST))
    assert (spec.desired, spec.generation, spec.memory_mib) == ("running", 1, 512)
    assert [(v.size_gib, v.boot, v.image_id) for v in spec.volumes] == [(8, True, "ami-1")]
    assert spec.delete_volumes == (spec.volumes[0].volume_id,)
    assert spec.interfaces[0].security_groups == (("sg-1", "web"),)
    assert spec.metadata.hostname == "ip-10-0-0-5.ec2.internal"


def test_the_fabric_sees_ports_groups_and_references_but_no_ipv6(store: Store, instance: Instance) -> None:
    with store.read() as tx:
        view = vpc_view(tx, "vpc-1")
    assert view is not None
    assert view.internet
    assert [str(port.private_ip) for port in view.ports] == ["10.0.0.5"]
    web, db = view.groups
    assert (web.group_id, db.group_id, db.rules) == ("sg-1", "sg-2", ())
    assert [(r.protocol, r.ports, r.icmp_type, r.icmp_code, r.peer_group_id) for r in web.rules] == [
        (6, (22, 22), None, None, None),
        (1, None, 8, None, "sg-2"),
    ]


@pytest.fixture
def interface(store: Store, instance: Instance) -> NetworkInterface:
    """The interface of the instance, with the public address 203.0.113.9."""
    with store.write() as tx:
        (interface,) = tx.select(NetworkInterface)
        tx.insert(Address("203.0.113.9", ACCOUNT, REGION, "auto", None, None, interface.id, "10.0.0.5", tx.now))
    return interface


def sent(tx: Transaction) -> int:
    return sum(entry.quantity for entry in tx.select(UsageEntry, usage.c.item == "egress"))


def read(tx: Transaction, interface: NetworkInterface, epoch: str, counter: int, host: str = HOST) -> None:
    apply_report(tx, host, Report((), (TrafficReading("203.0.113.9", interface.id, epoch, counter),)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**9), st.booleans()), max_size=12))
def test_every_byte_is_counted_once_whatever_repeats_or_restarts(
    store: Store, interface: NetworkInterface, steps: list[tuple[int, bool]]
) -> None:
    """Each step the counter grows, or restarts at zero; each reading arrives twice."""
    with store.write() as tx:
        for kind in (UsageEntry, TrafficCounter):
            tx.delete_where(kind)
        total, counter, epoch = 0, 0, new_account_id()
        for grown, restarts in steps:
            if restarts:
                counter, epoch = 0, new_account_id()
            counter, total = counter + grown, total + grown
            read(tx, interface, epoch, counter)
            read(tx, interface, epoch, counter)
        assert sent(tx) == total


def test_the_last_bytes_of_an_address_are_its_former_owners(store: Store, interface: NetworkInterface) -> None:
    with store.write() as tx:
        read(tx, interface, "a", 100)
        (address,) = tx.select(Address)
        tx.put(replace(address, account_id=new_account_id(), interface_id=None))
        read(tx, interface, "a", 130)
        assert sent(tx) == 130
        assert {entry.account_id for entry in tx.select(UsageEntry, usage.c.item == "egress")} == {ACCOUNT}


def test_an_address_that_changes_hands_within_the_hour_is_billed_to_each(store: Store) -> None:
    with store.write() as tx:
        other = new_account_id()
        for account, quantity in ((ACCOUNT, 100), (other, 7), (ACCOUNT, 1)):
            count_usage(tx, account, REGION, "203.0.113.9", "egress", quantity)
        assert {entry.account_id: entry.quantity for entry in tx.select(UsageEntry)} == {ACCOUNT: 101, other: 7}


def test_a_host_counts_only_addresses_of_its_own_guests(store: Store, interface: NetworkInterface) -> None:
    with store.write() as tx:
        read(tx, interface, "a", 100)
        read(tx, interface, "a", 900, host="host-2")
        read(tx, interface, "b", 900, host="host-2")
        read(tx, replace(interface, id="eni-unknown"), "c", 900)
        apply_report(tx, HOST, Report((), (TrafficReading("203.0.113.10", interface.id, "d", 900),)))
        read(tx, interface, "a", 110)
        assert sent(tx) == 110


def test_a_counter_that_runs_backwards_or_faster_than_any_card_counts_nothing(
    store: Store, interface: NetworkInterface
) -> None:
    with store.write() as tx:
        for counter in (100, 99, 0, 10**15, 2**62, 120):
            read(tx, interface, "a", counter)
        assert sent(tx) == 120


@pytest.mark.parametrize("days", [-1000, 1000])
def test_a_host_can_not_bill_the_past_or_the_future(store: Store, instance: Instance, days: int) -> None:
    with store.write() as tx:
        report(tx, instance, "running")
        moment = tx.now + dt.timedelta(days=days)
        apply_report(tx, HOST, Report((GuestReport(instance.id, 1, "stopped", moment, guest_shutdown=True),)))
        entry = tx.find(UsageEntry, usage.c.item == "instance:t3.nano")
        assert entry is not None
        assert entry.closed_at == tx.now


@pytest.mark.parametrize(
    "report",
    [
        b'{"type":"report","guests":[],"traffic":[{"public_ip":"a","interface_id":"b","epoch":"c","bytes_out":-1}]}',
        b'{"type":"report","guests":[],"traffic":[{"public_ip":"a","interface_id":"b","epoch":"c","bytes_out":1e99}]}',
        b'{"type":"report","guests":[{"instance_id":"i-1","generation":1,"state":"running","changed_at":"2026-01-01T00:00:00"}]}',
        b'{"type":"report","guests":[],"ready":{"instance_id":"i-../../../../../../etc","kernel_image_id":"ami-0123456789abcdef0",'
        b'"instance_type":"t3.nano","vcpus":1,"memory_mib":1}}',
        b'{"type":"report","guests":[],"ready":{"instance_id":"i-0123456789abcdef0\\n",'
        b'"kernel_image_id":"ami-0123456789abcdef0","instance_type":"t3.nano","vcpus":1,"memory_mib":1}}',
        b'{"type":"report","guests":[],"ready":{"instance_id":"i-0123456789abcdef0","kernel_image_id":"ami-1",'
        b'"instance_type":"t3.nano","vcpus":1,"memory_mib":1}}',
        b'{"type":"report","guests":[],"ready":{"instance_id":"i-0123456789abcdef0","kernel_image_id":"ami-0123456789abcdef0",'
        b'"instance_type":"t3\\u0000","vcpus":1,"memory_mib":1}}',
        b'{"type":"report","guests":[],"ready":{"instance_id":"i-0123456789abcdef0","kernel_image_id":"ami-0123456789abcdef0",'
        b'"instance_type":"t3.nano","vcpus":9223372036854775808,"memory_mib":1}}',
        b'{"type":"hello","host_id":"h","zone":null,"vcpus":-1,"memory_mib":1,"accelerator":"tcg"}',
    ],
)
def test_what_no_host_says_is_not_even_read(report: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(report, type=HostMessage)


def test_the_bill_is_exact_to_the_second_in_decimal(store: Store) -> None:
    with store.write() as tx:
        start = tx.now - dt.timedelta(hours=10)
        rows = [
            ("i-1", "instance:t3.nano", 1, 0, 3601),
            ("i-1", "instance:t3.nano", 1, 7200, 7259),
            ("vol-1", "volume:gp3", 8, 0, 36000),
            ("203.0.113.9", "address", 1, 1800, 5400),
        ]
        for resource, item, quantity, opened, closed in rows:
            tx.insert(
                UsageEntry(
                    len(item) + opened, ACCOUNT, REGION, resource, item, quantity,
                    start + dt.timedelta(seconds=opened), start + dt.timedelta(seconds=closed),
                )
            )  # fmt: skip
        lines = {line.item: line for line in bill(tx, CONFIG, ACCOUNT, start, tx.now)}
        assert lines["instance:t3.nano"].seconds == 3660
        assert lines["instance:t3.nano"].cost == Decimal(3660) / 3600 * Decimal("0.0052")
        assert lines["volume:gp3"].cost == Decimal(8 * 36000) / (730 * 3600) * Decimal("0.08")
        assert lines["address"].cost == Decimal("0.005")
        half = bill(tx, CONFIG, ACCOUNT, start + dt.timedelta(seconds=1800), start + dt.timedelta(seconds=3600))
        assert {line.item: line.seconds for line in half} == {
            "instance:t3.nano": 1800, "volume:gp3": 1800, "address": 1800,
        }  # fmt: skip


def test_a_bill_names_the_item_that_has_no_price(store: Store) -> None:
    with store.write() as tx:
        open_usage(tx, ACCOUNT, REGION, "i-1", "instance:retired.large")
        with pytest.raises(NoPrice, match=r"instance:retired\.large"):
            bill(tx, CONFIG, ACCOUNT, tx.now - dt.timedelta(hours=1), tx.now + dt.timedelta(hours=1))


@pytest.fixture
def closing(store: Store, tmp_path: Path) -> Iterator[tuple[Account, Instance]]:
    """An account with a server that runs."""
    with store.write() as tx:
        account, _key, _secret = create_account(tx, Sealer.of(tmp_path), "lab")
        make_network(tx)
        make_host(tx)
        instance = make_instance(tx)
        for table in TABLES.values():
            if "account_id" in table.c:
                tx.connection.execute(table.update().values(account_id=account.id))
        running = report(tx, replace(instance, account_id=account.id), "running")
    yield account, running
    with store.read() as tx:
        for kind, table in TABLES.items():
            if "account_id" in table.c and kind not in (UsageEntry, TrafficCounter):
                assert tx.count(kind) == 0, kind
        assert tx.count(Account) == 0
        assert tx.count(UsageEntry) == 2
        assert tx.count(UsageEntry, usage.c.closed_at.is_(None)) == 0


def present(tx: Transaction, instance: Instance) -> Instance:
    found = tx.get(Instance, instance.id)
    assert found is not None
    return found


def test_closing_an_account_takes_everything_but_its_bill_and_its_trail(
    store: Store, closing: tuple[Account, Instance]
) -> None:
    account, instance = closing
    with store.write() as tx:
        assert not close_account(tx, account)
        assert not close_account(tx, account)
        assert tx.count(AccessKey) == 0
    keep_house(store, CONFIG)
    with store.write() as tx:
        going = present(tx, instance)
        assert (going.state, going.generation) == ("shutting-down", 2)
        apply_report(tx, HOST, Report((GuestReport(instance.id, 2, "absent", tx.now),)))


def test_closing_an_account_deletes_the_volumes_that_outlive_their_servers(
    store: Store, closing: tuple[Account, Instance]
) -> None:
    """The instance went to be terminated before, with a volume that is kept."""
    account, instance = closing
    with store.write() as tx:
        (attachment,) = tx.select(VolumeAttachment)
        tx.update(attachment, delete_on_termination=False)
        tx.update(instance, state="shutting-down", generation=2)
        close_usage(tx, instance.id)
        assert not close_account(tx, account)
        assert volumes_to_delete(tx, HOST) == ()
        report(tx, present(tx, instance), "absent")
        assert volumes_to_delete(tx, HOST) == (attachment.volume_id,)
        assert tx.count(Account) == 1
        apply_report(tx, HOST, Report((), (), (attachment.volume_id,)))


def test_what_a_call_made_while_its_account_was_closed_goes_too(
    store: Store, closing: tuple[Account, Instance]
) -> None:
    account, instance = closing
    with store.write() as tx:
        tx.update(account, closing_at=tx.now)
    keep_house(store, CONFIG)
    with store.write() as tx:
        assert present(tx, instance).state == "shutting-down"
        apply_report(tx, HOST, Report((GuestReport(instance.id, 2, "absent", tx.now),)))


def test_terminated_instances_are_forgotten_after_an_hour(store: Store, instance: Instance) -> None:
    with store.write() as tx:
        tx.update(instance, state="terminated", terminated_at=tx.now - dt.timedelta(minutes=59))
    keep_house(store, CONFIG)
    with store.write() as tx:
        (instance,) = tx.select(Instance)
        tx.update(instance, terminated_at=tx.now - dt.timedelta(minutes=61))
    keep_house(store, CONFIG)
    with store.read() as tx:
        assert tx.count(Instance) == 0
