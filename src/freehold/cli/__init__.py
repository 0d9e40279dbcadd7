"""The `freehold` command. Everything heavy is imported inside the commands, so that help starts at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A cloud of your own that speaks the AWS APIs. Begin with: freehold up",
)
account_app = typer.Typer(no_args_is_help=True, help="Accounts of this cloud.")
image_app = typer.Typer(no_args_is_help=True, help="Machine images of this cloud.")
app.add_typer(account_app, name="account")
app.add_typer(image_app, name="image")

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="FREEHOLD_DATA_DIR", help="Where the cloud keeps everything.")
]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DEFAULT_DATA_DIR = Path("/var/lib/freehold")
DEFAULT_PORT = 4600
_PASSED_ON = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": ["--freehold-help"],
}


def fail(message: str) -> typer.Exit:
    """Say what is wrong, and leave with 1: ``raise fail("…")``."""
    print(message, file=sys.stderr)
    return typer.Exit(1)


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The endpoint's port on loopback.")] = DEFAULT_PORT,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, for a systemd unit.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Start the cloud, making it first where there is none; returns when it is ready.

    Example: freehold up --data-dir /srv/lab --port 4700
    """
    from freehold.cli.up import up as start

    start(data_dir, port, foreground)


@app.command()
def down(
    guests: Annotated[bool, typer.Option("--guests", help="Stop the servers too.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Stop Freehold. Servers run on, and so does their network, unless they are stopped too.

    Example: freehold down --guests
    """
    from freehold.cli.down import down as stop

    stop(data_dir, guests)


@app.command()
def destroy(yes: Yes = False, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Remove the cloud: its servers, its data directory, all that it made on this machine.

    Example: freehold destroy --yes
    """
    from freehold.cli.down import destroy as remove

    remove(data_dir, yes)


@app.command()
def status(json: Json = False, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show the parts, the servers, the capacity and the accounts.

    Example: freehold status --json
    """
    from freehold.cli.status import show

    show(data_dir, as_json=json)


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended: install packages, load tun.")] = False,
    json: Json = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Say what this machine lacks to be a cloud.

    Example: freehold doctor --fix
    """
    from freehold.cli.doctor import doctor as examine

    examine(data_dir, fix, json)


@app.command()
def env(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print shell commands that point aws, boto3, Terraform … here.

    Example: eval "$(freehold env)"
    """
    from freehold.cli.clients import env as show

    show(data_dir)


@app.command(context_settings=_PASSED_ON)
def aws(
    arguments: Annotated[Optional[list[str]], typer.Argument(help="For the AWS CLI.")] = None,  # noqa: UP045
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """The AWS CLI, already pointed here, with the default account's keys.

    Example: freehold aws ec2 describe-images
    """
    from freehold.cli.clients import aws as become

    become(data_dir, arguments or [])


@app.command()
def ssh(
    instance: Annotated[str, typer.Argument(help="The server's id, or its Name tag.")],
    command: Annotated[Optional[list[str]], typer.Argument(metavar="[-- COMMAND]")] = None,  # noqa: UP045
    key: Annotated[Optional[Path], typer.Option("-i", help="The private key of its key pair.")] = None,  # noqa: UP045
    user: Annotated[Optional[str], typer.Option("-l", help="Log in as this user, not the image's.")] = None,  # noqa: UP045
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Log in to a server, which must show the host keys that it printed on its console.

    Example: freehold ssh i-0123456789abcdef0 -i lab.pem -- uname -a
    """
    from freehold.cli.instances import ssh as become

    become(data_dir, instance, key, user, command or [])


@app.command()
def console(
    instance: Annotated[str, typer.Argument(metavar="ID", help="The server's id.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Join a server's serial console; Ctrl-] leaves.

    Example: freehold console i-0123456789abcdef0
    """
    from freehold.cli.instances import console as join

    join(data_dir, instance)


@image_app.command("build")
def image_build(
    family: Annotated[str, typer.Argument(help="freehold-micro or debian-12")], data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Build a built-in image, unless it is there already, and print its id.

    Example: freehold image build debian-12
    """
    from freehold.cli.image import make

    make(data_dir, family)


@image_app.command("list")
def image_list(json: Json = False, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the images.

    Example: freehold image list --json
    """
    from freehold.cli.image import show

    show(data_dir, as_json=json)


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
    yes: Yes = False,
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
    json: Json = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print what was used since the beginning of the month, and what it costs.

    Example: freehold bill --json
    """
    from freehold.cli.bill import show

    show(data_dir, account, as_json=json)


def main() -> None:
    os.umask(0o077)  # whatever is made in the data directory is its owner's alone
    try:
        app()
    except Exception as error:
        # Our own exceptions are sentences for the operator; any other is a defect, and shows where it is.
        if not type(error).__module__.startswith("freehold."):
            raise
        print(error, file=sys.stderr)
        sys.exit(1)
