"""Whatever callers, guests and a host that hears late and repeats itself do, in any order: what is held is what is
paid for, a host's room adds up, and no address is left over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from freehold.config import Config
from freehold.control.reports import apply_report
from freehold.control.specs import guest_specs
from freehold.host.wire import GuestReport, GuestSpec, Report, encode
from freehold.records.compute import Host, Instance, Volume, VolumeAttachment
from freehold.records.network import Address, NetworkInterface
from freehold.records.schema import metadata
from freehold.records.store import Store
from freehold.records.usage import UsageEntry
from freehold.services.errors import AwsError
from tests.ec2.calls import Caller
from tests.ec2.conftest import opened
from tests.ec2.launching import IMAGE, add_host, add_images

HOST = "host-1"
MIB = 400  # room for three
FEW = 4  # instances in a life, so that much happens to each

# The states from which each call is answered; from all others it fails with IncorrectInstanceState.
ANSWERED = {
    "start_instances": {"pending", "running", "stopped"},
    "stop_instances": {"running", "stopping", "stopped"},
    "reboot_instances": {"pending", "running", "shutting-down", "terminated"},
    "terminate_instances": {"pending", "running", "stopping", "stopped", "shutting-down", "terminated"},
}


class Guest(msgspec.Struct):
    """A guest as its host has it: the spec that it heard last, what it made of it, whether it powered itself off."""

    spec: GuestSpec
    state: Literal["starting", "running", "stopped", "absent", "failed"] = "starting"
    powered_off: bool = False
    reported: GuestReport | None = None


def attempt(operation: Callable[..., Any], **request: Any) -> tuple[Any, str | None]:
    """(the answer, None), or (None, the code of the error)."""
    try:
        return operation(**request), None
    except AwsError as error:
        return None, error.code


class Life(RuleBasedStateMachine):
    instances = Bundle("instances")

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.guests: dict[str, Guest] = {}
        self.launched = 0

    @initialize()
    def open(self) -> None:
        with self.store.write() as tx:
            for table in reversed(metadata.sorted_tables):
                tx.connection.execute(table.delete())
        self.caller: Caller = opened(self.store, "111122223333")
        add_images(self.store)
        add_host(self.store, HOST, memory_mib=MIB)

    # What callers do

    @precondition(lambda self: self.launched < FEW)
    @rule(target=instances, count=st.integers(1, 2), behaviour=st.sampled_from(["stop", "terminate"]))
    def launch(self, count: int, behaviour: str) -> Any:
        answer, code = attempt(
            self.caller.run_instances,
            ImageId=IMAGE,
            InstanceType="fh1.nano",
            MinCount=count,
            MaxCount=count,
            InstanceInitiatedShutdownBehavior=behaviour,
        )
        assert code in (None, "InsufficientInstanceCapacity")
        if code is not None:
            return multiple()
        self.launched += count
        return multiple(*(instance["InstanceId"] for instance in answer["Instances"]))

    @rule(named=st.lists(instances, min_size=1, max_size=2))
    def start(self, named: list[str]) -> None:
        self.change("start_instances", named)

    @rule(named=st.lists(instances, min_size=1, max_size=2))
    def stop(self, named: list[str]) -> None:
        self.change("stop_instances", named)

    @rule(named=st.lists(instances, min_size=1, max_size=2))
    def reboot(self, named: list[str]) -> None:
        self.change("reboot_instances", named)

    @rule(named=st.lists(instances, min_size=1, max_size=2))
    def terminate(self, named: list[str]) -> None:
        self.change("terminate_instances", named)

    def change(self, operation: str, named: list[str]) -> None:
        before = {instance_id: self.record(instance_id) for instance_id in named}
        states = {instance.state for instance in before.values()}
        _, code = attempt(getattr(self.caller, operation), InstanceIds=named)
        if code is None:
            assert states <= ANSWERED[operation]
            return
        assert {instance_id: self.record(instance_id) for instance_id in named} == before
        if code == "InsufficientInstanceCapacity":
            assert (operation, "stopped" in states) == ("start_instances", True)
        else:
            assert (code, states <= ANSWERED[operation]) == ("IncorrectInstanceState", False)

    @rule(instance_id=instances)
    def give_an_elastic_ip(self, instance_id: str) -> None:
        if self.record(instance_id).state in ("running", "stopping", "stopped"):
            allocated, code = attempt(self.caller.allocate_address)
            assert code in (None, "AddressLimitExceeded")
            if code is None:
                self.caller.associate_address(AllocationId=allocated["AllocationId"], InstanceId=instance_id)

    @rule(instance_id=instances, tokens=st.sampled_from(["optional", "required"]))
    def change_metadata_options(self, instance_id: str, tokens: str) -> None:
        if self.record(instance_id).state not in ("shutting-down", "terminated"):
            self.caller.modify_instance_metadata_options(InstanceId=instance_id, HttpTokens=tokens)

    # What the host does

    @rule(instance_id=instances)
    def host_hears(self, instance_id: str) -> None:
        with self.store.read() as tx:
            instance = tx.get(Instance, instance_id)
            assert instance is not None
            if instance.state == "terminated" and instance_id not in self.guests:
                return
            (spec,) = guest_specs(tx, Config(), [instance])
        guest = self.guests.setdefault(instance_id, Guest(spec))
        guest.spec = spec

    @rule(instance_id=instances)
    def host_works(self, instance_id: str) -> None:
        guest = self.guests.get(instance_id)
        if guest is None:
            return
        match guest.spec.desired:
            case "running":
                guest.state = "stopped" if guest.powered_off else "running"
            case "stopped" | "absent" as desired:
                guest.state, guest.powered_off = desired, False
        self.report(instance_id, guest)

    @rule(instance_id=instances)
    def host_follows(self, instance_id: str) -> None:
        self.host_hears(instance_id)
        self.host_works(instance_id)

    @rule(instance_id=instances)
    def host_fails(self, instance_id: str) -> None:
        guest = self.guests.get(instance_id)
        if guest is not None and guest.spec.desired == "running" and not guest.powered_off:
            guest.state = "failed"
            self.report(instance_id, guest)

    @rule(instance_id=instances, reported=st.booleans())
    def guest_powers_off(self, instance_id: str, reported: bool) -> None:
        guest = self.guests.get(instance_id)
        if guest is not None and guest.state == "running":
            guest.state, guest.powered_off = "stopped", True
            if reported:
                self.report(instance_id, guest)

    @rule(instance_id=instances)
    def host_repeats_itself(self, instance_id: str) -> None:
        guest = self.guests.get(instance_id)
        if guest is not None and guest.reported is not None:
            self.send(guest.reported)

    @rule()
    def all_settles(self) -> None:
        self.settle()
        assert {instance.state for instance in self.all(Instance)} <= {"running", "stopped", "terminated"}

    def settle(self) -> None:
        for _ in range(3):  # a guest that powered off is heard, told to stop, and has stopped
            for instance in self.all(Instance):
                self.host_follows(instance.id)

    def report(self, instance_id: str, guest: Guest) -> None:
        with self.store.read() as tx:
            now = tx.now
        guest.reported = GuestReport(
            instance_id, guest.spec.generation, guest.state, now, guest_shutdown=guest.powered_off
        )
        self.send(guest.reported)

    def send(self, guest: GuestReport) -> None:
        report = msgspec.json.decode(encode(Report((guest,)))[4:], type=Report)
        with self.store.write() as tx:
            apply_report(tx, HOST, report)

    # What must always be so

    @invariant()
    def what_is_held_is_paid_for(self) -> None:
        paid = {(entry.resource_id, entry.item) for entry in self.all(UsageEntry) if entry.closed_at is None}
        held = {(i.id, f"instance:{i.instance_type}") for i in self.all(Instance) if i.state == "running"}
        held |= {(volume.id, f"volume:{volume.volume_type}") for volume in self.all(Volume)}
        held |= {(address.public_ip, "address") for address in self.all(Address)}
        assert paid == held

    @invariant()
    def nothing_is_paid_for_twice(self) -> None:
        entries = sorted(self.all(UsageEntry), key=lambda entry: (entry.resource_id, entry.item, entry.id))
        for entry in entries:
            assert entry.closed_at is None or entry.closed_at >= entry.opened_at
        for one, other in pairwise(entries):
            if (one.resource_id, one.item) == (other.resource_id, other.item):
                assert one.closed_at is not None
                assert one.closed_at <= other.opened_at

    @invariant()
    def the_room_of_the_host_adds_up(self) -> None:
        (host,) = self.all(Host)
        holding = [instance for instance in self.all(Instance) if instance.holds_capacity]
        assert host.vcpus_used == sum(instance.vcpus for instance in holding)
        assert host.memory_used_mib == sum(instance.memory_mib for instance in holding) <= MIB
        for instance in self.all(Instance):
            if instance.state != "shutting-down":
                assert instance.holds_capacity == (instance.state in ("pending", "running", "stopping"))

    @invariant()
    def an_instance_has_its_parts_and_no_others(self) -> None:
        alive = {instance.id: instance.state for instance in self.all(Instance) if instance.state != "terminated"}
        interfaces = self.all(NetworkInterface)
        assert sorted(interface.instance_id or "" for interface in interfaces) == sorted(alive)
        assert sorted(attachment.instance_id for attachment in self.all(VolumeAttachment)) == sorted(alive)
        of_interface = {interface.id: alive[interface.instance_id or ""] for interface in interfaces}
        on = [address.interface_id for address in self.all(Address) if address.interface_id]
        assert len(on) == len(set(on))
        for address in self.all(Address):
            assert address.interface_id is None or address.interface_id in of_interface
            if address.kind == "auto":
                assert of_interface[address.interface_id or ""] in ("pending", "running")

    def teardown(self) -> None:
        if ids := [instance.id for instance in self.all(Instance)]:
            self.caller.terminate_instances(InstanceIds=ids)
            self.settle()
        assert {instance.state for instance in self.all(Instance)} <= {"terminated"}
        assert {address.kind for address in self.all(Address)} <= {"elastic"}
        assert not self.all(Volume)
        assert not self.all(VolumeAttachment)
        assert [host.memory_used_mib for host in self.all(Host)] == [0]
        super().teardown()  # type: ignore[no-untyped-call]

    def all(self, kind: Any) -> Sequence[Any]:
        with self.store.read() as tx:
            rows: Sequence[Any] = tx.select(kind)
        return rows

    def record(self, instance_id: str) -> Instance:
        with self.store.read() as tx:
            found = tx.get(Instance, instance_id)
        assert found is not None
        return found


def test_a_life(store: Store) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Life(store),
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
