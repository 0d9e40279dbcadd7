"""``freehold snapshot``, and exporting images: disks between files and the default account's snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from freehold.cli import fail
from freehold.cli.endpoint import Endpoint, client, cloud_paths, running_endpoint
from freehold.cli.image import disk_file
from freehold.cli.progress import in_tenths, say
from freehold.images import catalog, snapshot_blocks
from freehold.images.disk_formats import Format
from freehold.images.exporting import Disk, Progress, export, format_of
from freehold.images.importing import raw_disk, scratch
from freehold.images.targets import NewFile


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The disk of a snapshot of the default account, or of one that is shared with it."""

    endpoint: Endpoint
    snapshot_id: str

    def there(self, work: Path, progress: Progress) -> tuple[Path, Format]:
        file = work / "disk.raw"
        with closing(client(self.endpoint, "ebs")) as ebs:
            snapshot_blocks.read(ebs, self.snapshot_id, file, lambda done: progress("reading", done))
        return file, "raw"


@dataclass(frozen=True, slots=True)
class _OwnImage:
    """The disk of an image of the cloud's own."""

    file: Path

    def there(self, work: Path, progress: Progress) -> tuple[Path, Format]:
        return self.file, "qcow2"


def bring(data_dir: Path, file: Path, description: str, file_format: str | None, *, as_json: bool) -> None:
    """Import a disk as a snapshot of the default account; prints its id."""
    paths, endpoint, progress = cloud_paths(data_dir), running_endpoint(data_dir), in_tenths()
    source, given, ova = disk_file(file, file_format)
    begun: list[str] = []
    with scratch(catalog.images_directory(paths.data_dir)) as work, closing(client(endpoint, "ebs")) as ebs:
        raw, _digest = raw_disk(source, work, progress, given=given, ova=ova)
        try:
            with _refusals():
                snapshot_id = snapshot_blocks.write(
                    ebs, raw, description, lambda done: progress("writing", done), begun.append
                )
        except BaseException:
            for each in begun:
                _forget(endpoint, each)
            raise
    print(json.dumps({"SnapshotId": snapshot_id}) if as_json else snapshot_id)


def send(data_dir: Path, snapshot_id: str, file: Path, file_format: str | None, *, as_json: bool) -> None:
    """Export a snapshot of the default account to a file."""
    _export(_Snapshot(running_endpoint(data_dir), snapshot_id), file, file_format, as_json=as_json)


def send_image(data_dir: Path, image_id: str, file: Path, file_format: str | None, *, as_json: bool) -> None:
    """Export the root disk of an image to a file: of one of the cloud's own, or of the default account."""
    paths = cloud_paths(data_dir)
    for image in catalog.load(paths.data_dir):
        if image.image_id == image_id:
            if image.kernel is not None:
                say("its kernel is not on its disk: elsewhere the disk needs one")
            _export(_OwnImage(catalog.paths(paths.data_dir, image).disk), file, file_format, as_json=as_json)
            return
    endpoint = running_endpoint(data_dir)
    with closing(client(endpoint, "ec2")) as ec2, _refusals():
        (found,) = ec2.describe_images(ImageIds=[image_id])["Images"]
    disks = {each["DeviceName"]: each["Ebs"].get("SnapshotId") for each in found["BlockDeviceMappings"]}
    root = disks.pop(found["RootDeviceName"])
    if others := [each for each in disks.values() if each]:
        say(f"it has other disks, which `freehold snapshot export` exports: {', '.join(others)}")
    _export(_Snapshot(endpoint, root), file, file_format, as_json=as_json)


def _export(disk: Disk, file: Path, file_format: str | None, *, as_json: bool) -> None:
    to: Any = file_format or format_of(file)
    with _refusals():
        export(disk, NewFile(file), to, in_tenths())
    if as_json:
        print(json.dumps({"File": str(file), "Format": to, "Bytes": file.stat().st_size}))


@contextmanager
def _refusals() -> Iterator[None]:
    """What the cloud refuses, or does not answer, as a sentence."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise fail(str(error)) from error


def _forget(endpoint: Endpoint, snapshot_id: str) -> None:
    """Delete what was begun; if that fails too, the cloud gives it up by itself after an hour."""
    with closing(client(endpoint, "ec2")) as ec2:
        try:
            ec2.delete_snapshot(SnapshotId=snapshot_id)
        except (BotoCoreError, ClientError) as error:
            say(f"{snapshot_id} is not deleted: {error}")
