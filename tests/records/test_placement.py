"""Whatever comes and goes, the hosts that a placement group offers keep what its strategy promises."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from freehold.records.ids import AccountId, HostId
from freehold.records.placement import SPREAD_MAX, PlacementGroup, Seat, Strategy, choices

ZONES = ("us-east-1a", "us-east-1b")
HOSTS = [HostId(f"host-{number}") for number in range(10)]


def group(strategy: Strategy, level: str | None = None) -> PlacementGroup:
    of = ("pg-1", AccountId("111122223333"), "us-east-1", "group", strategy)
    spread_level = "rack" if level == "rack" else "host" if level == "host" else None
    return PlacementGroup(*of, 3 if strategy == "partition" else None, spread_level, dt.datetime.now(dt.UTC))


# What happens: a launch in a zone on the host with this number among those offered, or a member that leaves.
happenings = st.lists(st.tuples(st.sampled_from(("launch", "leave")), st.sampled_from(ZONES), st.integers(0, 9)))


def lived(of: PlacementGroup, events: list[tuple[str, str, int]]) -> list[Seat]:
    """The members after all of it; what must hold is asked after each."""
    taken: list[Seat] = []
    for what, zone, number in events:
        if what == "leave" and taken:
            del taken[number % len(taken)]
        elif what == "launch":
            for choice in choices(of, zone, None, taken):
                offered = [host for host in HOSTS if host not in choice.hosts.never]
                if offered:
                    taken.append(Seat(zone, offered[number % len(offered)], choice.partition))
                    break
        keeps_its_promise(of, taken)
    return taken


def keeps_its_promise(of: PlacementGroup, taken: list[Seat]) -> None:
    if of.strategy == "spread":
        assert len({seat.host_id for seat in taken}) == len(taken)
        if of.spread_level == "rack":
            assert max(Counter(seat.zone for seat in taken).values(), default=0) <= SPREAD_MAX
    else:
        assert all(seat.partition in (1, 2, 3) for seat in taken)
        having = {(seat.host_id, seat.zone, seat.partition) for seat in taken}
        assert len({host_id for host_id, _, _ in having}) == len(having)


@given(happenings)
def test_a_spread_group_never_shares_a_host(events: list[tuple[str, str, int]]) -> None:
    lived(group("spread", "rack"), events)
    lived(group("spread", "host"), events)


@given(happenings)
def test_a_host_is_of_one_partition(events: list[tuple[str, str, int]]) -> None:
    lived(group("partition"), events)


def test_a_level_of_hosts_has_as_many_as_there_are() -> None:
    events = [("launch", ZONES[0], 0)] * 12
    assert len(lived(group("spread", "host"), events)) == len(HOSTS)
    assert len(lived(group("spread", "rack"), events)) == SPREAD_MAX
