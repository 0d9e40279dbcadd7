"""Whether guests answer: a real guest is asked at its tap; what follows from answers and silence."""

from __future__ import annotations

import asyncio
import os
import signal
from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as some
from msgspec.structs import replace

from freehold.host.probes import _FIRST_SECONDS, _MISSES_MAX, _ask, _Watched
from freehold.host.wire import InterfaceSpec
from freehold.network import namespace
from freehold.processes import guests
from tests.host.metadata import apply_network, ports_of, spec_of, view_of
from tests.host.plane import AgentProcess, Plane, guest_spec
from tests.ovn import Cloud

POOL = IPv4Network("198.18.7.64/28")


def test_a_guest_answers_for_its_own_address_alone(
    plane: Plane, agent: AgentProcess, image_id: str, cloud: Cloud
) -> None:
    ports = ports_of(20)
    apply_network(cloud, view_of(1, ports))
    spec = spec_of(ports, image_id, desired="running", shutdown_grace_seconds=0)
    plane.assign(spec)

    def answers() -> bool:
        report = plane.guests.get(spec.instance_id)
        return report is not None and report.answers is True

    plane.wait_for(answers, "the guest answers", 120)
    (card,) = spec.interfaces
    without_tap = guest_spec(2, image_id).interfaces[0]

    def ask(*cards: InterfaceSpec) -> set[str]:
        return namespace.inside(plane.paths.namespace, lambda: asyncio.run(_ask(cards)))

    assert ask(card, without_tap) == {card.interface_id}
    assert ask(replace(card, private_ip="10.0.1.77")) == set()
    qemu = guests(plane.paths.tag)[spec.instance_id].pid
    os.kill(qemu, signal.SIGSTOP)
    try:
        assert ask(card) == set()
    finally:
        os.kill(qemu, signal.SIGCONT)
    assert ask(card) == {card.interface_id}

    agent.end(signal.SIGKILL)
    plane.guests.clear()
    agent.start()
    plane.wait_for(answers, "it still answers")
    plane.want(spec.instance_id, "absent")
    plane.wait_for_state(spec.instance_id, "absent")


@given(some.lists(some.booleans(), max_size=20), some.floats(0, 2 * _FIRST_SECONDS))
def test_a_guest_is_unreachable_after_some_misses_in_a_row(answered: list[bool], per_round: float) -> None:
    watched = _Watched((), 0.0)
    for number, each in enumerate(answered, start=1):
        before = watched.answers
        watched.take(answered=each, now=number * per_round)
        silent = number >= _MISSES_MAX and not any(answered[number - _MISSES_MAX : number])
        if each:
            assert watched.answers is True
        elif not silent:
            assert watched.answers is before
        elif any(answered[:number]) or number * per_round >= _FIRST_SECONDS:
            assert watched.answers is False
        else:
            assert watched.answers is None  # it has all this time to boot
