"""Whether guests answer: an ARP probe to each at its own tap, for what EC2 calls the instance's reachability.

A probe goes from this host straight into the guest's network card: Open vSwitch never sees it. It asks for the guest's
own address from none (RFC 5227, 1.1: so the guest's neighbour table stays as it is), and the answer goes to a hardware
address that nobody has, which the guest's own switch drops. All guests are asked in one batch, by one socket that is
open for as long as answers may come, so that guests' packets pass no filter of ours otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from freehold.host.guest import Guest
from freehold.host.layout import tap_name
from freehold.host.wire import InterfaceSpec
from freehold.host.worker import Worker

_ROUND_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_MISSES_MAX = 3  # in a row, of a guest that has answered before
_FIRST_SECONDS = 300.0  # for the first answer since a boot

_PROBER = bytes.fromhex("020000f4ee40")  # locally administered; no network card of the cloud has it
_ARP, _ALL = 0x0806, 0x0003  # linux/if_ether.h
_HEAD = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)  # Ethernet, IPv4, their lengths, request (RFC 826)
_REPLY = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm/socket.h

# Only answers to `_PROBER` leave the kernel (classic BPF, linux/filter.h): load, compare and jump over, return.
_LOAD_WORD, _LOAD_HALF, _IF_EQUAL, _RETURN = 0x20, 0x28, 0x15, 0x06
_FILTER = (
    (_LOAD_WORD, 0, 0, 0),
    (_IF_EQUAL, 0, 5, int.from_bytes(_PROBER[:4], "big")),
    (_LOAD_HALF, 0, 0, 4),
    (_IF_EQUAL, 0, 3, int.from_bytes(_PROBER[4:], "big")),
    (_LOAD_HALF, 0, 0, 12),
    (_IF_EQUAL, 0, 1, _ARP),
    (_RETURN, 0, 0, 64),
    (_RETURN, 0, 0, 0),
)


@dataclass(slots=True)
class _Watched:
    """One boot of a guest: since when it is watched, and what it has answered."""

    boot: tuple[object, ...]
    since: float
    answers: bool | None = None
    misses: int = 0

    def take(self, *, answered: bool, now: float) -> None:
        self.misses = 0 if answered else self.misses + 1
        if answered:
            self.answers = True
        elif self.misses >= _MISSES_MAX and (self.answers is not None or now - self.since >= _FIRST_SECONDS):
            self.answers = False


class Probes(Worker):
    """Of the guests of an agent, by instance id. `changed` is called with each whose answer is another one."""

    def __init__(self, guests: Mapping[str, Guest], changed: Callable[[str], None]) -> None:
        super().__init__("probes of guests", _ROUND_SECONDS)
        self._guests = guests
        self._changed = changed
        self._watched: dict[str, _Watched] = {}

    def answers(self, instance_id: str) -> bool | None:
        """Whether a guest that runs answers on its private address; None: that can not be said yet."""
        watched = self._watched.get(instance_id)
        return None if watched is None or watched.boot != self._boot(instance_id) else watched.answers

    def _boot(self, instance_id: str) -> tuple[object, ...] | None:
        """What is the same until a guest boots again."""
        guest = self._guests.get(instance_id)
        if guest is None or guest.record.state != "running":
            return None
        return (guest.record.changed_at, guest.record.reboots)

    async def _round(self) -> float:
        now = time.monotonic()
        boots = {instance_id: boot for instance_id in self._guests if (boot := self._boot(instance_id)) is not None}
        self._watched = {
            instance_id: watched
            if (watched := self._watched.get(instance_id)) is not None and watched.boot == boot
            else _Watched(boot, now)
            for instance_id, boot in boots.items()
        }
        cards = {instance_id: self._guests[instance_id].spec.interfaces[0] for instance_id in boots}
        answered = await _ask(cards.values()) if cards else set()
        for instance_id, watched in self._watched.items():
            before = watched.answers
            watched.take(answered=cards[instance_id].interface_id in answered, now=time.monotonic())
            if watched.answers != before:
                self._changed(instance_id)
        return max(0.0, _ROUND_SECONDS - (time.monotonic() - now))


async def _ask(cards: Iterable[InterfaceSpec]) -> set[str]:
    """The ids of the network cards behind which a guest answered. Raises OSError without a raw socket."""
    loop = asyncio.get_running_loop()
    asked = {tap_name(card.interface_id): card for card in cards}
    answered: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ALL)) as line:
        _attach_filter(line)
        for tap, card in asked.items():
            with contextlib.suppress(OSError):  # no such tap: no answer either
                line.sendto(_probe(card), (tap, _ARP))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                while len(answered) < len(asked):
                    frame, (tap, *_) = await loop.sock_recvfrom(line, 64)
                    if tap in asked and _is_answer(frame, asked[tap]):
                        answered.add(asked[tap].interface_id)
    return answered


def _probe(card: InterfaceSpec) -> bytes:
    target = bytes.fromhex(card.mac_address.replace(":", ""))
    ethernet = target + _PROBER + _ARP.to_bytes(2, "big")
    return ethernet + _HEAD + _PROBER + bytes(4) + bytes(6) + IPv4Address(card.private_ip).packed


def _is_answer(frame: bytes, card: InterfaceSpec) -> bool:
    return frame[14:22] == _REPLY and frame[28:32] == IPv4Address(card.private_ip).packed


def _attach_filter(line: socket.socket) -> None:
    program = b"".join(struct.pack("=HBBI", *each) for each in _FILTER)
    held = ctypes.create_string_buffer(program, len(program))
    line.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(_FILTER), ctypes.addressof(held)))
