"""The commands of ``freehold quota``."""

from __future__ import annotations

from pathlib import Path

import click

from freehold.cli.options import data_dir_option, json_option


@click.group()
def quota() -> None:
    """What accounts may hold, and what they ask for."""


_region_option = click.option("--region", metavar="NAME", help="The cloud's own unless given.")


@quota.command("list")
@click.option("--account", "account_id", metavar="ID", help="As they are for this account; else the defaults.")
@_region_option
@json_option
@data_dir_option
def quota_list(account_id: str | None, region: str | None, as_json: bool, data_dir: Path) -> None:
    """Print the quotas: their codes and values.

    \b
    Examples:
      freehold quota list
      freehold quota list --account 123456789012 --json
    """
    from freehold.cli.quotas import show

    show(data_dir, account_id, region, as_json=as_json)


@quota.command("requests")
@json_option
@data_dir_option
def quota_requests(as_json: bool, data_dir: Path) -> None:
    """List what accounts have asked for by RequestServiceQuotaIncrease and wait for.

    \b
    Example:
      freehold quota requests
    """
    from freehold.cli.quotas import show_requests

    show_requests(data_dir, as_json=as_json)


@quota.command("approve")
@click.argument("request_id", metavar="REQUEST")
@data_dir_option
def quota_approve(request_id: str, data_dir: Path) -> None:
    """Give an account what it asks for.

    \b
    Example:
      freehold quota approve $(freehold quota requests --json | jq -r '.[0].Id')
    """
    from freehold.cli.quotas import decide

    decide(data_dir, request_id, approve=True)


@quota.command("deny")
@click.argument("request_id", metavar="REQUEST")
@data_dir_option
def quota_deny(request_id: str, data_dir: Path) -> None:
    """Deny what an account asks for.

    \b
    Example:
      freehold quota deny $(freehold quota requests --json | jq -r '.[0].Id')
    """
    from freehold.cli.quotas import decide

    decide(data_dir, request_id, approve=False)


@quota.command("set")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("code")
@click.argument("value", type=click.FloatRange(0, 2**53), required=False)
@click.option("--default", "to_default", is_flag=True, help="Take back what the account was given.")
@_region_option
@data_dir_option
def quota_set(
    account_id: str, code: str, value: float | None, to_default: bool, region: str | None, data_dir: Path
) -> None:
    """Let an account hold more, or less, than by default.

    What it holds already stays. With less than that it can only not make more.

    \b
    Examples:
      freehold quota set 123456789012 L-1216C47A 64
      freehold quota set 123456789012 L-1216C47A --default
    """
    from freehold.cli.quotas import set_value

    if (value is None) != to_default:
        raise click.UsageError("Give a VALUE, or --default.")
    set_value(data_dir, account_id, code, value, region)
