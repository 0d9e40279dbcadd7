"""The commands and their options. Everything heavy is imported inside the commands, so that help starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freehold.cli import DEFAULT_PORT
from freehold.cli.disk_commands import image, snapshot
from freehold.cli.options import PATH, data_dir_option, json_option, yes_option
from freehold.cli.quota_commands import quota

_FAMILIES = click.Choice(["freehold-micro", "debian-12"])
_EVENTS = click.Choice(
    ["instance-stop", "instance-reboot", "instance-retirement", "system-reboot", "system-maintenance"]
)
_WIDE = {"max_content_width": 110}
# `--help` after `freehold aws` is for the AWS CLI.
_PASSED_ON: dict[str, Any] = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": ["--freehold-help"],
}


class _AsWritten(click.Group):
    """Lists its commands in the order of this file, which is that of a first day."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_AsWritten, context_settings=_WIDE)
@click.version_option(package_name="freehold", message="%(prog)s %(version)s")
def app() -> None:
    """A cloud of your own that speaks the AWS APIs.

    \b
    Begin with:
      freehold up
      eval "$(freehold env)"
      aws ec2 describe-images --owners amazon
    """


@app.command()
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="On loopback.")
@click.option("--foreground", is_flag=True, help="Stay, for a systemd unit.")
@data_dir_option
def up(port: int, foreground: bool, data_dir: Path) -> None:
    """Start the cloud, making it where there is none.

    Returns when it is ready.

    \b
    Examples:
      freehold up
      freehold up --data-dir /srv/lab --port 4700
    """
    from freehold.cli.up import up as start

    start(data_dir, port, foreground)


@app.command()
@click.option("--guests", is_flag=True, help="Stop the servers too, as StopInstances does.")
@data_dir_option
def down(guests: bool, data_dir: Path) -> None:
    """Stop Freehold; servers and their network run on.

    \b
    Examples:
      freehold down
      freehold down --guests
    """
    from freehold.cli.down import down as stop

    stop(data_dir, guests)


@app.command()
@yes_option
@data_dir_option
def destroy(yes: bool, data_dir: Path) -> None:
    """Remove the cloud: servers, disks, data directory, all.

    \b
    Examples:
      freehold destroy
      freehold destroy --data-dir /srv/lab --yes
    """
    from freehold.cli.down import destroy as remove

    remove(data_dir, yes)


@app.command()
@json_option
@data_dir_option
def status(as_json: bool, data_dir: Path) -> None:
    """Show the parts, the servers, the capacity and the accounts.

    \b
    Examples:
      freehold status
      freehold status --json | jq -r .endpoint
    """
    from freehold.cli.status import show

    show(data_dir, as_json=as_json)


@app.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended: install packages, load tun.")
@json_option
@data_dir_option
def doctor(fix: bool, as_json: bool, data_dir: Path) -> None:
    """Say what this machine lacks to be a cloud.

    \b
    Examples:
      freehold doctor
      freehold doctor --fix
    """
    from freehold.cli.doctor import doctor as examine

    examine(data_dir, fix, as_json)


@app.command()
@data_dir_option
def env(data_dir: Path) -> None:
    """Print shell commands that point aws, boto3, Terraform … here.

    \b
    Example:
      eval "$(freehold env)"
    """
    from freehold.cli.clients import env as show

    show(data_dir)


@app.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
@data_dir_option
def aws(arguments: tuple[str, ...], data_dir: Path) -> None:
    """Run the AWS CLI, pointed here.

    It has the default account's keys. --data-dir comes before its own arguments.

    \b
    Examples:
      freehold aws sts get-caller-identity
      freehold aws ec2 describe-instances --query 'Reservations[].Instances[].InstanceId'
    """
    from freehold.cli.clients import aws as become

    become(data_dir, list(arguments))


@app.command()
@click.argument("instance")
@click.argument("command", nargs=-1, metavar="[-- COMMAND]")
@click.option("-i", "key", type=PATH, help="The private key of its key pair.")
@click.option("-l", "user", help="Log in as this user, not the image's.")
@data_dir_option
def ssh(instance: str, command: tuple[str, ...], key: Path | None, user: str | None, data_dir: Path) -> None:
    """Log in to a server, by its id or its Name tag.

    It must show the host keys that it printed on its console.

    \b
    Examples:
      freehold ssh i-0123456789abcdef0 -i lab.pem
      freehold ssh web -i lab.pem -- uname -a
    """
    from freehold.cli.instances import ssh as become

    become(data_dir, instance, key, user, list(command))


@app.command()
@click.argument("instance_id", metavar="ID")
@data_dir_option
def console(instance_id: str, data_dir: Path) -> None:
    """Join a server's serial console; Ctrl-] leaves.

    \b
    Example:
      freehold console i-0123456789abcdef0
    """
    from freehold.cli.instances import console as join

    join(data_dir, instance_id)


@app.group()
def event() -> None:
    """Scheduled events of servers, and what their owners report."""


@event.command("schedule")
@click.argument("instance_id", metavar="ID")
@click.argument("code", type=_EVENTS, metavar="CODE")
@click.option("--at", "not_before", metavar="TIME", help="When it begins (ISO 8601, UTC); else now.")
@click.option("--until", "not_after", metavar="TIME", help="When it is over at the latest.")
@click.option("--deadline", metavar="TIME", help="Until when its owner may move it.")
@click.option("--description", help="What its owner is told.")
@click.option("--expedited", is_flag=True, help="The event windows of its owner do not count.")
@data_dir_option
def event_schedule(
    instance_id: str,
    code: str,
    not_before: str | None,
    not_after: str | None,
    deadline: str | None,
    description: str | None,
    expedited: bool,
    data_dir: Path,
) -> None:
    """Schedule an event for a server; prints its id.

    CODE is instance-stop, instance-reboot or instance-retirement, which the cloud carries out, or system-reboot or
    system-maintenance, which announce what you do yourself. Owners see it by DescribeInstanceStatus, servers by IMDS.
    What the cloud carries out waits for the owner's event windows, unless those come after the deadline.

    \b
    Examples:
      freehold event schedule i-0123456789abcdef0 instance-reboot --at 2026-12-01T04:00Z --deadline 2026-12-08T04:00Z
      freehold event schedule i-0123456789abcdef0 system-maintenance --at 2026-12-01T04:00Z --until 2026-12-01T06:00Z
    """
    from freehold.cli.events import schedule

    schedule(data_dir, instance_id, code, not_before, not_after, deadline, description, expedited=expedited)


@event.command("list")
@json_option
@data_dir_option
def event_list(as_json: bool, data_dir: Path) -> None:
    """List what is scheduled, and what ended in the last week.

    \b
    Example:
      freehold event list --json
    """
    from freehold.cli.events import show

    show(data_dir, as_json=as_json)


@event.command("complete")
@click.argument("event_id", metavar="EVENT")
@data_dir_option
def event_complete(event_id: str, data_dir: Path) -> None:
    """Say that what an event announced is done.

    \b
    Example:
      freehold event complete instance-event-0123456789abcdef0
    """
    from freehold.cli.events import end

    end(data_dir, event_id, "completed")


@event.command("cancel")
@click.argument("event_id", metavar="EVENT")
@data_dir_option
def event_cancel(event_id: str, data_dir: Path) -> None:
    """Cancel an event that has not been carried out.

    \b
    Example:
      freehold event cancel instance-event-0123456789abcdef0
    """
    from freehold.cli.events import end

    end(data_dir, event_id, "canceled")


@event.command("reports")
@json_option
@data_dir_option
def event_reports(as_json: bool, data_dir: Path) -> None:
    """List what owners last reported of their servers' status.

    \b
    Example:
      freehold event reports
    """
    from freehold.cli.events import reports

    reports(data_dir, as_json=as_json)


@app.command()
@click.option("--account", metavar="ID", help="Only this account.")
@json_option
@data_dir_option
def bill(account: str | None, as_json: bool, data_dir: Path) -> None:
    """Print what was used this month, and what it costs.

    \b
    Examples:
      freehold bill
      freehold bill --account 123456789012 --json
    """
    from freehold.cli.bill import show

    show(data_dir, account, as_json=as_json)


@app.command()
@click.option("--servers", type=click.IntRange(1, 200), default=1, show_default=True, help="How many to launch.")
@click.option("--image", type=_FAMILIES, default="freehold-micro", show_default=True)
@click.option("--pool", metavar="NETWORK", help="Public addresses of its cloud; else a free documentation network.")
def demo(servers: int, image: str, pool: str | None) -> None:
    """A tour: a cloud, servers, a command in each, a bill.

    Makes a cloud of its own, launches real servers in it by the AWS API, runs a command in each over SSH, deletes
    them, prints their bill, and removes the cloud; Ctrl-C does so at any time.

    \b
    Examples:
      freehold demo
      freehold demo --servers 40
      freehold demo --image debian-12
    """
    from freehold.cli.demo import demo as show

    show(servers, image, pool)


@app.group()
def account() -> None:
    """Accounts of this cloud."""


@account.command("create")
@click.argument("name")
@data_dir_option
def account_create(name: str, data_dir: Path) -> None:
    """Create an account with a root key pair.

    Prints it as JSON: AccountId, AccessKeyId, SecretAccessKey.

    \b
    Example:
      freehold account create lab
    """
    from freehold.cli.accounts import create

    create(data_dir, name)


@account.command("delete")
@click.argument("account_id", metavar="ID")
@yes_option
@data_dir_option
def account_delete(account_id: str, yes: bool, data_dir: Path) -> None:
    """Delete an account with everything in it.

    Its bill and its audit trail are kept.

    \b
    Example:
      freehold account delete 123456789012 --yes
    """
    from freehold.cli.accounts import delete

    if not yes:
        click.confirm(f"Delete account {account_id} with everything in it?", abort=True)
    delete(data_dir, account_id)


@app.group()
def key() -> None:
    """The root key, which seals this cloud's secrets."""


@key.command("rotate")
@click.option("--at-once", is_flag=True, help="Delete the old key now: temporary credentials end.")
@data_dir_option
def key_rotate(at_once: bool, data_dir: Path) -> None:
    """Seal all secrets with a new root key.

    The cloud may run meanwhile. The old key still opens session tokens for 36 hours, the longest that they live; then
    it is deleted. After Ctrl-C or a crash, the same command goes on.

    \b
    Examples:
      freehold key rotate
      freehold key rotate --at-once
    """
    from freehold.cli.key import rotate

    rotate(data_dir, at_once=at_once)


@app.group()
def audit() -> None:
    """The audit trail of this cloud."""


@audit.command("verify")
@json_option
@data_dir_option
def audit_verify(as_json: bool, data_dir: Path) -> None:
    """Compare the audit trail with its chain of seals.

    Says which records were changed, are missing or stand in another's place; ends with 1 if any.

    \b
    Examples:
      freehold audit verify
      freehold audit verify --json | jq .findings
    """
    from freehold.cli.audit import verify

    verify(data_dir, as_json=as_json)


app.add_command(quota)


app.add_command(image)
app.add_command(snapshot)
