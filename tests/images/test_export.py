"""Disks that go elsewhere: each format has the bytes, and nothing is there that is not finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.images import confined
from freehold.images.disk_formats import FORMATS, Format, UnusableDisk, detected
from freehold.images.exporting import Progress, export, format_of
from freehold.images.importing import raw_disk
from freehold.images.sources import LocalFile
from freehold.images.targets import NewFile

SIZE = (8 << 20) + 512  # no multiple of what a VHD's geometry or a VMDK's grain has


@dataclass(frozen=True)
class Made:
    """A raw disk that is made for the export."""

    content: bytes

    def there(self, work: Path, progress: Progress) -> tuple[Path, Format]:
        file = work / "disk.raw"
        file.write_bytes(self.content)
        file.chmod(0o600)
        return file, "raw"


@dataclass(frozen=True)
class Kept:
    """A disk that is there, and stays."""

    file: Path

    def there(self, work: Path, progress: Progress) -> tuple[Path, Format]:
        return self.file, "qcow2"


def silent(*_: object) -> None:
    pass


CONTENT = b"first".ljust(SIZE - 4, b"\0") + b"last"


@pytest.mark.parametrize("to", FORMATS)
def test_each_format_has_the_bytes(to: Format, tmp_path: Path) -> None:
    target = tmp_path / f"disk.{to}"
    export(Made(CONTENT), NewFile(target), format_of(target), silent)
    assert detected(target) == to
    assert target.stat().st_uid == 0
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    work = tmp_path / "work"
    work.mkdir()
    raw, _digest = raw_disk(LocalFile(target), work, silent, given=None, ova=None)
    assert raw.read_bytes().rstrip(b"\0") == CONTENT


def test_an_image_s_own_disk_stays_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "own.qcow2"
    export(Made(CONTENT), NewFile(own), "qcow2", silent)
    own.chmod(0o444)
    export(Kept(own), NewFile(tmp_path / "copy.raw"), "raw", silent)
    export(Kept(own), NewFile(tmp_path / "copy.qcow2"), "qcow2", silent)
    assert (tmp_path / "copy.raw").read_bytes() == CONTENT
    assert (own.stat().st_uid, own.stat().st_mode & 0o777) == (0, 0o444)


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there.vmdk"
    there.write_bytes(b"mine")
    with pytest.raises(UnusableDisk, match="not overwritten"):
        export(Made(CONTENT), NewFile(there), "vmdk", silent)
    with pytest.raises(UnusableDisk, match="no directory"):
        export(Made(CONTENT), NewFile(tmp_path / "absent" / "a.vmdk"), "vmdk", silent)
    with pytest.raises(UnusableDisk, match="does not say"):
        format_of(tmp_path / "disk")
    monkeypatch.setattr(confined, "SECONDS_MAX", 0.0)
    monkeypatch.setattr(confined, "_LOOK_SECONDS", 0.0)
    with pytest.raises(UnusableDisk, match="within"):
        export(Made(CONTENT), NewFile(tmp_path / "late.vmdk"), "vmdk", silent)
    assert [path.name for path in tmp_path.iterdir()] == ["there.vmdk"]
    assert there.read_bytes() == b"mine"


@contextmanager
def exporting(file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of an export."""
    program = (
        "import sys; from pathlib import Path; from freehold.images.targets import NewFile\n"
        "with NewFile(Path(sys.argv[1])).scratch() as work:\n"
        "    (work / 'disk.raw').write_text('half'); print(work, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen((sys.executable, "-c", program, str(file)), stdin=-1, stdout=-1, text=True) as process:
        yield process


def test_what_an_export_left_that_was_killed_goes_with_the_next_one(tmp_path: Path) -> None:
    target = tmp_path / "disk.raw"
    with exporting(tmp_path / "one.raw") as living, exporting(tmp_path / "other.raw") as killed:
        assert living.stdout is not None
        assert killed.stdout is not None
        kept, left = Path(living.stdout.readline().strip()), Path(killed.stdout.readline().strip())
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert left.is_dir()
        export(Made(CONTENT), NewFile(target), "raw", silent)
        assert set(tmp_path.iterdir()) == {target, kept}
        assert (kept / "disk.raw").read_text() == "half"
        living.communicate("")
    assert living.returncode == 0
    assert list(tmp_path.iterdir()) == [target]
