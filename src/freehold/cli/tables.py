"""Tables for people: as wide as the terminal, and wide enough for anything where there is none."""

from __future__ import annotations

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_WIDTH_ELSEWHERE = 200


def table(*columns: str, title: str | None = None, show_footer: bool = False) -> Table:
    made = Table(title=title, box=SIMPLE_HEAD, show_footer=show_footer, title_justify="left", pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def print_table(made: Table) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_ELSEWHERE)
    console.print(made)
