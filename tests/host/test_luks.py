"""Encrypted volumes as files: QEMU and cryptsetup both open them, with their key alone, and nothing is in clear."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS
from msgspec.structs import replace

from freehold.host.layout import Layout
from freehold.host.volumes import luks, qcow2
from freehold.host.volumes.pool import Pool
from freehold.host.wire import VolumeSpec
from freehold.paths import Paths
from tests.cli.clouds import short_place
from tests.host.plane import key_of

VOLUME = VolumeSpec("vol-0123456789abcdef0", 1, None, "/dev/xvda", boot=True, encrypted=True)
KEY = key_of(VOLUME.volume_id)
CLUSTER = 65536


@pytest.fixture
def pool() -> Iterator[Pool]:
    with short_place() as place:
        layout = Layout(Paths(place))
        layout.prepare()
        yield Pool(layout)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A plain image of 1 GiB whose first MiB is full of ``A``."""
    path = tmp_path / "image.qcow2"
    subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", path, "1G"), check=True)
    subprocess.run(("qemu-io", "-c", "write -P 0x41 0 1M", path), check=True, stdout=subprocess.DEVNULL)
    return path


def made(pool: Pool, volume: VolumeSpec = VOLUME, image: Path | None = None) -> Path:
    asyncio.run(pool.make(volume, image, KEY))
    return pool.layout.volume(volume.volume_id)


def qemu(path: Path, key: bytes, program: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of QEMU's tools on an encrypted volume."""
    secret = path.with_suffix(".secret")
    secret.write_text(luks.passphrase(key))
    options = f"driver=qcow2,file.filename={path},encrypt.format=luks,encrypt.key-secret=key"
    return subprocess.run(
        (*program, "--object", f"secret,id=key,file={secret}", "--image-opts", options, *arguments),
        capture_output=True,
        text=True,
    )


def qemu_io(path: Path, key: bytes, *commands: str) -> subprocess.CompletedProcess[str]:
    done = qemu(path, key, ("qemu-io",), *(word for command in commands for word in ("-c", command)))
    assert "Pattern verification failed" not in done.stdout
    return done


def luks_header(path: Path) -> Path:
    """LUKS's header of a volume, as a file of its own."""
    data = path.read_bytes()
    place = data.index(b"LUKS\xba\xbe")
    alone = path.with_suffix(".luks")
    alone.write_bytes(data[place : place + luks.HEADER_BYTES] + bytes(CLUSTER))
    return alone


def cryptsetup(key: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ("cryptsetup", "--batch-mode", "--key-file=-", *arguments),
        input=luks.passphrase(key).encode(),
        capture_output=True,
    )


def test_qemu_and_cryptsetup_open_a_volume_with_its_key_alone(pool: Pool, image: Path) -> None:
    path = made(pool, image=image)
    wrong = secrets.token_bytes(32)
    assert qemu_io(path, KEY, "read -P 0x41 0 1M", "read -P 0 1M 1M").returncode == 0
    assert "Invalid password" in qemu_io(path, wrong, "read 0 512").stderr
    header = luks_header(path)
    assert cryptsetup(KEY, "luksOpen", "--test-passphrase", header).returncode == 0
    assert cryptsetup(wrong, "luksOpen", "--test-passphrase", header).returncode != 0


def test_what_is_written_is_not_there_in_clear_and_the_image_stays(pool: Pool, image: Path) -> None:
    """Also where a write covers a part of a cluster, the rest of which is copied from the plain image."""
    path, before = made(pool, image=image), image.read_bytes()
    assert qemu_io(path, KEY, "write -P 0x5a 6k 8k", "write -P 0x5b 512M 64k").returncode == 0
    assert qemu_io(path, KEY, "read -P 0x41 0 6k", "read -P 0x5a 6k 8k", "read -P 0x5b 512M 64k").returncode == 0
    written = path.read_bytes()
    assert not any(letter * 16 in written for letter in (b"A", b"Z", b"["))
    assert image.read_bytes() == before
    checked = qemu(path, KEY, ("qemu-img", "check"))
    assert "No errors were found" in checked.stdout, checked


def test_the_data_is_under_the_master_key_that_cryptsetup_finds(pool: Pool, tmp_path: Path) -> None:
    path = made(pool)
    assert qemu_io(path, KEY, "write -P 0x5a 0 64k").returncode == 0
    master = tmp_path / "master"
    dumped = cryptsetup(KEY, "luksDump", "--dump-volume-key", f"--volume-key-file={master}", luks_header(path))
    assert dumped.returncode == 0, dumped
    data = path.read_bytes()
    place = len(data) - CLUSTER  # the last cluster of the file; a sector's number is its place in the file
    sector = place // 512
    decryptor = Cipher(AES(master.read_bytes()), XTS(sector.to_bytes(16, "little"))).decryptor()
    assert decryptor.update(data[place : place + 512]) == b"\x5a" * 512


@pytest.mark.parametrize("size_gib", [1, 9, 16384])
def test_volumes_of_all_sizes_are_sound(pool: Pool, image: Path, size_gib: int) -> None:
    path = made(pool, replace(VOLUME, size_gib=size_gib), image)
    assert qemu_io(path, KEY, f"write -P 0x5a {size_gib * 1024 - 1}M 64k", "read -P 0x41 0 1M").returncode == 0
    assert "No errors were found" in qemu(path, KEY, ("qemu-img", "check")).stdout


def test_each_volume_has_a_master_key_of_its_own() -> None:
    one, other = luks.header(KEY), luks.header(KEY)
    assert one[8 * 512 :] != other[8 * 512 :]
    assert len(one) < luks.HEADER_BYTES


def test_only_an_empty_plain_file_is_encrypted(pool: Pool, image: Path, tmp_path: Path) -> None:
    for path in (made(pool), luks_header(made(pool))):
        before = path.read_bytes()
        with pytest.raises(qcow2.NotEmpty):
            qcow2.encrypt(path, luks.header(KEY), luks.HEADER_BYTES)
        assert path.read_bytes() == before


def test_a_volume_that_nobody_has_open_is_grown(pool: Pool, image: Path) -> None:
    path = made(pool, image=image)
    assert qemu_io(path, KEY, "write -P 0x5a 6k 8k").returncode == 0
    assert made(pool, replace(VOLUME, size_gib=3), image) == path
    assert qcow2.size(path) == 3 << 30
    assert qemu_io(path, KEY, "read -P 0x5a 6k 8k", "read -P 0x41 64k 64k", "read -P 0 2G 64k").returncode == 0
    checked = qemu(path, KEY, ("qemu-img", "check"))
    assert "No errors were found" in checked.stdout, checked
