"""The slots of a guest's machine: one PCI bus, on which each disk and network card has a place, also by hot-plug.

A root port for each, as physical machines have them, costs a guest a sixth of its boot, a tenth of its wake as a clone
and 4 MiB (docs/decisions/0062).
"""

from __future__ import annotations

from freehold.volume_types import DEVICES_MAX

BUS = "slots"
SLOTS = range(1, DEVICES_MAX + 1)


def bus() -> tuple[dict[str, object], ...]:
    """The devices that make up the bus. A conventional bus is one of PCI Express machines by a root port and a bridge;
    no device of ours has I/O ports, and looking for those costs boot time."""
    port = {"driver": "pcie-root-port", "id": "slots-port", "chassis": 1, "slot": 1, "addr": "0x10", "io-reserve": 0}
    return port, {"driver": "pcie-pci-bridge", "id": BUS, "bus": port["id"]}


def place(slot: int) -> dict[str, object]:
    """What puts a virtio device into a slot, for ``device_add``. On such a bus it would be one for old guests, too,
    which needs I/O ports."""
    return {"bus": BUS, "addr": f"{slot:#x}", "disable-legacy": "on"}
