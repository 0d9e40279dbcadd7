"""Memory of Freehold itself, idle and for each guest, against its budget: ``python -m bench.memory``.

Memory is what `freehold status` shows of all processes but QEMU: their proportional set size, in which pages that
several share count once (proc_pid_smaps(5)).
"""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.table import Table

from bench.launch import IMAGE, Freehold
from freehold.cli.status import look
from freehold.cli.temporary import TemporaryCloud, temporary_cloud

IDLE_MIB_MAX = 300
GUEST_MIB_MAX = 2
_FIRST = 2  # guests, which also bring what the first guest of a network needs
_SETTLE_SECONDS = 15


def parts(cloud: TemporaryCloud) -> dict[str, float]:
    """MiB of each part, once it has settled."""
    time.sleep(_SETTLE_SECONDS)
    return {part["name"]: part["memory_mib"] for part in look(cloud.paths)["parts"]}


def _row(idle: float, first: float, many: float, guests: int) -> list[str]:
    return [f"{idle:.1f}", f"{first:.1f}", f"{many:.1f}", f"{(many - first) / (guests - _FIRST):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guests", type=int, default=40)
    options = parser.parse_args()
    with temporary_cloud(IMAGE, None, print) as cloud:
        idle = parts(cloud)
        freehold = Freehold(cloud)
        freehold.launch(_FIRST)
        first = parts(cloud)
        freehold.launch(options.guests - _FIRST)
        many = parts(cloud)
    table = Table(title="Memory of Freehold's own processes (MiB)")
    for name in ("part", "idle", f"{_FIRST} guests", f"{options.guests} guests", "each further guest"):
        leads = name == "part"
        table.add_column(name, justify="left" if leads else "right", no_wrap=leads)
    for name in idle:
        table.add_row(name, *_row(idle[name], first[name], many[name], options.guests))
    table.add_section()
    table.add_row("all", *_row(sum(idle.values()), sum(first.values()), sum(many.values()), options.guests))
    table.add_row("wanted", f"≤ {IDLE_MIB_MAX}", "", "", f"≤ {GUEST_MIB_MAX}")
    Console().print(table)


if __name__ == "__main__":
    main()
