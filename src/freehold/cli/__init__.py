"""The `freehold` command. Everything heavy is imported inside the commands, so that help starts at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A cloud of your own that speaks the AWS APIs.")
account_app = typer.Typer(no_args_is_help=True, help="Accounts of this cloud.")
app.add_typer(account_app, name="account")

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="FREEHOLD_DATA_DIR", help="Where the cloud keeps everything.")
]
DEFAULT_DATA_DIR = Path("/var/lib/freehold")


def fail(message: str) -> typer.Exit:
    """Say what is wrong, and leave with 1: ``raise fail("…")``."""
    print(message, file=sys.stderr)
    return typer.Exit(1)


@account_app.command("create")
def account_create(
    name: Annotated[str, typer.Argument(help="A name for people.")], data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Create an account with a root key pair and print it as JSON: AccountId, AccessKeyId, SecretAccessKey.

    Example: freehold account create lab
    """
    from freehold.cli.accounts import create

    create(data_dir, name)


@account_app.command("delete")
def account_delete(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The 12 digits of the account.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Delete an account with everything in it. Its bill and its audit trail are kept.

    Example: freehold account delete 123456789012 --yes
    """
    from freehold.cli.accounts import delete

    if not yes:
        typer.confirm(f"Delete account {account_id} with everything in it?", abort=True)
    delete(data_dir, account_id)


@app.command()
def bill(
    account: Annotated[Optional[str], typer.Option(help="Only this account.")] = None,  # noqa: UP045 typer reads it
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print what was used since the beginning of the month, and what it costs.

    Example: freehold bill --json
    """
    from freehold.cli.bill import show

    show(data_dir, account, as_json=json)


def main() -> None:
    os.umask(0o077)  # whatever is made in the data directory is its owner's alone
    app()
