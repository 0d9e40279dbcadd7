"""Disks from elsewhere: each format, what is refused of them, and where qemu-img can look while it reads them."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.images import confined
from freehold.images.catalog import ImageManifest, load, paths
from freehold.images.disk_formats import FORMATS, UnusableDisk, check, detected
from freehold.images.importing import Wanted, import_image
from freehold.images.partitions import boot_modes
from freehold.images.sources import LocalFile, stage
from tests.images.guest import run

SIZE = 8 << 20
AS_QEMU_CALLS_IT = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}


def silent(*_: object) -> None:
    pass


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk with a first sector that a BIOS would start, and something at its end."""
    made = tmp_path / "disk.raw"
    with made.open("wb") as file:
        file.write(b"\xfa\x31\xc0".ljust(510, b"\0") + b"\x55\xaa")
        file.seek(SIZE - 4)
        file.write(b"last")
    return made


def converted(disk: Path, to: str, *options: str) -> Path:
    target = disk.with_suffix(f".{to}")
    run("qemu-img", "convert", "-f", "raw", "-O", AS_QEMU_CALLS_IT[to], *options, str(disk), str(target))
    return target


def imported(file: Path, cloud: Path, **wanted: object) -> ImageManifest:
    given = {"name": "an image", "description": "of somebody else", "default_user": "debian"} | wanted
    return import_image(LocalFile(file), Wanted(**given), cloud, silent)  # type: ignore[arg-type]


@pytest.mark.parametrize("of", [each for each in FORMATS if each != "raw"])
def test_each_format_keeps_the_bytes(of: str, disk: Path, tmp_path: Path) -> None:
    options = ("-o", "subformat=streamOptimized") if of == "vmdk" else ()
    file = converted(disk, of, *options)
    assert detected(file) == of
    image = imported(file, tmp_path)
    assert load(tmp_path) == [image]
    assert (image.kernel, image.boot_mode, image.default_user) == (None, "legacy-bios", "debian")
    stored = paths(tmp_path, image).disk
    assert stored.stat().st_mode & 0o777 == 0o444
    assert "Images are identical" in run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(disk), str(stored))
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [".import.lock", image.image_id]


def test_a_raw_disk_is_what_it_is_said_to_be_whatever_is_on_it(disk: Path, tmp_path: Path) -> None:
    """A guest may have written another format's mark, and the name of a file, to the beginning of its disk."""
    overlay = tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk), str(overlay))
    image = imported(overlay, tmp_path, format="raw", boot_mode="uefi")
    assert image.virtual_size == -(-overlay.stat().st_size // 512) * 512
    assert (image.boot_mode, image.minimum_memory) == ("uefi", 256)


def test_an_archive_has_one_disk(disk: Path, tmp_path: Path) -> None:
    """An OVA; its other files are not looked at, wherever they would go."""
    vmdk = converted(disk, "vmdk", "-o", "subformat=streamOptimized")

    def archive(name: str, *members: tuple[str, bytes]) -> Path:
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, content in members:
                described = tarfile.TarInfo(member)
                described.size = len(content)
                tar.addfile(described, io.BytesIO(content))
        return tmp_path / name

    content = vmdk.read_bytes()
    one = archive("one.ova", ("../../one.ovf", b"<Envelope/>"), ("/disk.vmdk", content))
    image = imported(one, tmp_path)
    assert image.virtual_size == SIZE
    for other in (archive("none.ova", ("x.ovf", b"")), archive("two.ova", ("a.vmdk", content), ("b.vmdk", content))):
        with pytest.raises(UnusableDisk, match="not one"):
            imported(other, tmp_path, name="another")
    assert load(tmp_path) == [image]


def test_what_is_not_whole_in_itself_is_refused(disk: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"secret".ljust(SIZE, b"\0"))
    overlay, elsewhere = tmp_path / "overlay.qcow2", tmp_path / "elsewhere.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(overlay))
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", str(elsewhere), "8M")
    described = tmp_path / "described.vmdk"
    described.write_text(f'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 16384 FLAT "{secret}" 0\n')
    differencing = converted(disk, "vhd")
    content = bytearray(differencing.read_bytes())
    struct.pack_into(">I", content, len(content) - 512 + 60, 4)
    differencing.write_bytes(content)
    for file, why in (
        (overlay, "overlay"),
        (elsewhere, "another file"),
        (described, "where a disk is"),
        (differencing, "overlay"),
    ):
        with pytest.raises(UnusableDisk, match=why):
            imported(file, tmp_path)
    assert load(tmp_path) == []


def test_qemu_img_sees_nothing_but_the_file(tmp_path: Path) -> None:
    """Though its reader follows the name of a file, there is none: no file of this machine is where it looks."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"secret".ljust(SIZE, b"\0"))
    secret.chmod(0o644)
    described = tmp_path / "described.vmdk"
    text = '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    for name in (str(secret), "/etc/passwd", "/proc/self/environ", "/dev/zero"):
        described.write_text(f'{text}RW 4 FLAT "{name}" 0\n')
        with pytest.raises(UnusableDisk, match="No such file"):
            confined.convert(described, "vmdk", tmp_path / "out.raw", silent)


def test_room_and_time_are_limited(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "large.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", str(large), "17T")
    with pytest.raises(UnusableDisk, match="can not be read"):
        imported(large, tmp_path)
    file = converted(disk, "qcow2")
    with monkeypatch.context() as changed:
        changed.setattr(confined, "_FREE_BYTES_MIN", 1 << 62)
        changed.setattr(confined, "_LOOK_SECONDS", 0.0)
        with pytest.raises(UnusableDisk, match="no room"):
            imported(file, tmp_path)
    monkeypatch.setattr(confined, "SECONDS_MAX", 0.0)
    monkeypatch.setattr(confined, "_LOOK_SECONDS", 0.0)
    with pytest.raises(UnusableDisk, match="within"):
        imported(file, tmp_path)
    assert [path.name for path in (tmp_path / "images").iterdir()] == [".import.lock"]


def test_what_an_import_that_was_cut_left_behind_goes(disk: Path, tmp_path: Path) -> None:
    left = tmp_path / "images" / ".import-left"
    left.mkdir(parents=True)
    (left / "disk.raw").write_bytes(b"x")
    imported(disk, tmp_path)
    assert not left.exists()


def test_names_are_aws_s_and_each_is_there_once(disk: Path, tmp_path: Path) -> None:
    for name in ("ab", "x" * 129, "a;b", "a\nb"):
        with pytest.raises(UnusableDisk, match="no name"):
            imported(disk, tmp_path, name=name)
    imported(disk, tmp_path)
    with pytest.raises(UnusableDisk, match="choose another"):
        imported(disk, tmp_path)


def test_a_disk_without_a_boot_loader_needs_a_word(tmp_path: Path) -> None:
    blank = tmp_path / "blank.raw"
    with blank.open("wb") as file:
        os.truncate(file.fileno(), SIZE)
    with pytest.raises(UnusableDisk, match="No boot loader"):
        imported(blank, tmp_path)
    assert imported(blank, tmp_path, boot_mode="legacy-bios").boot_mode == "legacy-bios"


_HEADS = (
    b"QFI\xfb\0\0\0\3" + bytes(600),
    b"KDMV\1\0\0\0" + bytes(600),
    b"vhdxfile" + bytes(600),
    b"conectix".ljust(512, b"\0"),
    bytes(510) + b"\x55\xaaEFI PART" + bytes(600),
)


@given(st.sampled_from(_HEADS), st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 255)), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_a_file_it_is_taken_or_refused(
    tmp_path: Path, head: bytes, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(head)
    for at, value in changes:
        if at < len(content):
            content[at] = value
    file = tmp_path / "hostile"
    file.write_bytes(content)
    detected(file)
    boot_modes(file)
    for of in FORMATS:
        try:
            check(file, of)
        except UnusableDisk as refusal:
            assert str(refusal).endswith(".")  # noqa: PT017 each of them is a sentence
    try:
        stage(LocalFile(file), tmp_path / "staged", ova=True, progress=silent)
    except UnusableDisk as refusal:
        assert "\n" not in str(refusal)  # noqa: PT017
