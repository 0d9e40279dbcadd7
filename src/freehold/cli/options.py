"""Options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freehold.cli import DEFAULT_DATA_DIR

PATH: Any = click.Path(path_type=Path)

data_dir_option = click.option(
    "--data-dir",
    type=PATH,
    default=DEFAULT_DATA_DIR,
    envvar="FREEHOLD_DATA_DIR",
    show_default=True,
    show_envvar=True,
    help="Where the cloud keeps everything.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="For scripts.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
