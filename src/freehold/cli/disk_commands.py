"""``freehold image`` and ``freehold snapshot``: the commands and their options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from freehold.cli.options import PATH, data_dir_option, json_option

_EXPORTED = click.Choice(["raw", "qcow2", "vmdk", "vhd", "vhdx"])
_IMPORTED = click.Choice([*_EXPORTED.choices, "ova"])


_format = click.option("--format", "file_format", type=_EXPORTED, help="As the file's name says, unless given.")


def _to_file(command: Callable[..., None]) -> Callable[..., None]:
    """What exports have after the name of what is exported."""
    return click.argument("file", type=PATH)(_format(json_option(data_dir_option(command))))


@click.group()
def image() -> None:
    """Machine images of this cloud."""


@image.command("build")
@click.argument("family")
@data_dir_option
def image_build(family: str, data_dir: Path) -> None:
    """Build freehold-micro or debian-12, unless it is there; prints its id.

    \b
    Examples:
      freehold image build freehold-micro
      freehold image build debian-12
    """
    from freehold.cli.image import make

    make(data_dir, family)


@image.command("import")
@click.argument("file", type=PATH)
@click.option("--name", required=True, help="What the image is to be called.")
@click.option("--description", default="", help="What is said of it.")
@click.option("--user", default="root", show_default=True, help="Whom its servers let in.")
@click.option("--format", "file_format", type=_IMPORTED)
@click.option("--boot-mode", type=click.Choice(["legacy-bios", "uefi"]), help="As its boot loader says, unless given.")
@json_option
@data_dir_option
def image_import(
    file: Path,
    name: str,
    description: str,
    user: str,
    file_format: str | None,
    boot_mode: str | None,
    as_json: bool,
    data_dir: Path,
) -> None:
    """Import a disk, such as a distribution's cloud image, for all accounts; prints its id.

    \b
    Examples:
      freehold image import debian-12-genericcloud-amd64.qcow2 --name debian-12-cloud --user debian
      freehold image import appliance.ova --name appliance --boot-mode uefi
    """
    from freehold.cli.image import bring

    bring(data_dir, file, name, description, user, file_format, boot_mode, as_json=as_json)


@image.command("list")
@json_option
@data_dir_option
def image_list(as_json: bool, data_dir: Path) -> None:
    """List the images.

    \b
    Example:
      freehold image list --json
    """
    from freehold.cli.image import show

    show(data_dir, as_json=as_json)


@image.command("export")
@click.argument("image_id", metavar="IMAGE")
@_to_file
def image_export(image_id: str, file: Path, file_format: str | None, as_json: bool, data_dir: Path) -> None:
    """Export the root disk of an image to a new file.

    Of an image of the cloud's own, or of the default account.

    \b
    Examples:
      freehold image export ami-0123456789abcdef0 web.vmdk
      freehold image export ami-0123456789abcdef0 /srv/web.img --format qcow2
    """
    from freehold.cli.snapshot import send_image

    send_image(data_dir, image_id, file, file_format, as_json=as_json)


@click.group()
def snapshot() -> None:
    """Snapshots of the default account, from files and to files."""


@snapshot.command("import")
@click.argument("file", type=PATH)
@click.option("--description", default="", help="What is said of it.")
@click.option("--format", "file_format", type=_IMPORTED)
@json_option
@data_dir_option
def snapshot_import(file: Path, description: str, file_format: str | None, as_json: bool, data_dir: Path) -> None:
    """Import a disk as a snapshot; prints its id.

    \b
    Examples:
      freehold snapshot import data.vmdk --description "of the old server"
      freehold snapshot import disk.img --format raw
    """
    from freehold.cli.snapshot import bring

    bring(data_dir, file, description, file_format, as_json=as_json)


@snapshot.command("export")
@click.argument("snapshot_id", metavar="SNAPSHOT")
@_to_file
def snapshot_export(snapshot_id: str, file: Path, file_format: str | None, as_json: bool, data_dir: Path) -> None:
    """Export a snapshot to a new file.

    \b
    Examples:
      freehold snapshot export snap-0123456789abcdef0 data.qcow2
    """
    from freehold.cli.snapshot import send

    send(data_dir, snapshot_id, file, file_format, as_json=as_json)
