"""Building for real: the same content has the same id, a cut build is never seen, failures say what to do."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from freehold.images import packages, tools
from freehold.images.build import ImageBuildError, build, cache_directory
from freehold.images.catalog import ImageManifest, load, paths
from freehold.images.kernel import modules_in_order


def test_a_second_build_is_the_same_image(
    micro: ImageManifest, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built again from nothing but the packages, under another umask: same id, kernel and initramfs, byte for byte; the
    guest's users get at its directories.
    """
    shutil.copytree(cache_directory() / "packages", tmp_path / "cache/freehold/packages")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    umask = os.umask(0o077)
    try:
        again = build("freehold-micro", tmp_path / "cloud", print)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    assert again.image_id == micro.image_id
    first, second = paths(data_dir, micro), paths(tmp_path / "cloud", again)
    assert first.kernel.read_bytes() == second.kernel.read_bytes()
    assert first.initrd.read_bytes() == second.initrd.read_bytes()
    assert second.disk.stat().st_ino != first.disk.stat().st_ino
    raw = tmp_path / "disk.raw"
    tools.run_tool(("qemu-img", "convert", "-O", "raw", str(second.disk), str(raw)))
    for directory, mode in {"/": "0755", "/etc": "0755", "/usr/bin": "0755", "/root": "0700", "/tmp": "01777"}.items():
        assert f"Mode:  {mode} " in tools.run_tool(("debugfs", "-R", f"stat {directory}", str(raw))).decode()
    raw.unlink()


def test_a_second_cloud_gets_the_image_from_the_cache(micro: ImageManifest, data_dir: Path, tmp_path: Path) -> None:
    """Nothing is built (no progress is told), leftovers of a cut build go, the files can only be read."""
    leftover = tmp_path / "images/.build-freehold-micro-cut"
    leftover.mkdir(parents=True)
    (leftover / "image.json").write_text("{}")
    other = tmp_path / "images/.build-debian-12-going-on"
    other.mkdir()
    assert load(tmp_path) == []

    told: list[str] = []
    assert build("freehold-micro", tmp_path, told.append) == micro
    assert told == []
    assert load(tmp_path) == [micro]
    assert not leftover.exists()
    assert other.exists()
    for file in paths(tmp_path, micro).directory.iterdir():
        assert (file.stat().st_mode & 0o777, file.stat().st_uid) == (0o444, 0)


def test_a_build_of_another_family_is_not_waited_for(micro: ImageManifest, tmp_path: Path) -> None:
    with (cache_directory() / "build-debian-12.lock").open("w") as lock:
        with suppress(BlockingIOError):  # somebody builds it just now
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert build("freehold-micro", tmp_path, print) == micro


def test_failures_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageBuildError, match="choose one of freehold-micro, debian-12"):
        build("freehold-macro", tmp_path, print)
    with pytest.raises(ImageBuildError, match="run 'apt-get update'"):
        packages.fetch(("freehold-no-such-package",), tmp_path, print)
    with monkeypatch.context() as elsewhere:
        other = tuple(each.replace("bookworm", "noble") for each in packages._APT_GET)
        elsewhere.setattr(packages, "_APT_GET", other)
        with pytest.raises(ImageBuildError, match="no packages of Debian 12"):
            packages.fetch(("busybox-static",), tmp_path, print)
    monkeypatch.setitem(tools.PACKAGE_OF, "no-such-tool", "its-package")
    with pytest.raises(ImageBuildError, match="apt-get install its-package"):
        tools.run_tool(("no-such-tool",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageBuildError, match="XDG_CACHE_HOME"):
        build("freehold-micro", tmp_path, print)


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    """Built-in modules are left out, `-` and `_` are one, an unknown module is refused."""
    for name, needs in {"a-b": "c_d,e", "c-d": "", "e": "c-d,built-in"}.items():
        (tmp_path / f"{name}.ko").write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0")
    (tmp_path / "modules.builtin").write_text("kernel/built-in.ko\n")
    names = [path.name for path in modules_in_order(tmp_path, ["built_in", "a_b", "e"])]
    assert names == ["c-d.ko", "e.ko", "a-b.ko"]
    with pytest.raises(ImageBuildError, match="no module f"):
        modules_in_order(tmp_path, ["f"])
