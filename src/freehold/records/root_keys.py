"""The cloud's root key, outside the database: without it the database opens nothing.

By configuration (``[root_key]``) it is

- a file in the data directory that only its owner may read,
- such a file that only a PKCS #11 token opens (`freehold.records.tokens`), or
- a credential that systemd gives to the service (https://systemd.io/CREDENTIALS/).

Files have generations: ``root.1.key``, ``root.2.key`` …; the newest seals, all of them open. While a rotation seals
everything anew (`freehold.records.root_rotation`) there are two. Then the older one is retired (``root.1.retired``):
session tokens that it has sealed are in their holders' hands and work on until they expire; then it is deleted.
A cloud moves to a token by a rotation.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.config import RootKey
from freehold.records.tokens import RootKeyError as RootKeyError
from freehold.records.tokens import Token

KEY_BYTES = 32
RETIRED_SECONDS = 36 * 3600
"""How long a retired generation still opens: the longest that session tokens live (GetSessionToken)."""

_NAME = re.compile(r"root\.([1-9][0-9]*)\.(key|retired)")


class RootKeys(Protocol):
    """Where root keys come from."""

    def stamp(self) -> object:
        """Changes whenever `load` would give something else."""

    def load(self) -> list[bytes]:
        """All root keys, each of 32 bytes; the first one seals. Raises RootKeyError."""


def root_keys(data_dir: Path, config: RootKey) -> RootKeys:
    """The root keys of a cloud, where its configuration says. Raises RootKeyError."""
    match config.source:
        case "credential":
            return Credential(config.credential)
        case "pkcs11":
            return Files(data_dir / "keys", Token(config))
        case _:
            return Files(data_dir / "keys")


@dataclass(frozen=True, slots=True)
class Generation:
    """A root key's file."""

    number: int
    retired: bool
    path: Path


class Files:
    """Root keys in a directory; the first is made when there is none."""

    def __init__(self, directory: Path, token: Token | None = None) -> None:
        self._directory = directory
        self._token = token

    def stamp(self) -> object:
        try:
            return set(os.listdir(self._directory))
        except FileNotFoundError:
            return None

    def generations(self) -> list[Generation]:
        """Newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._directory):
                if match := _NAME.fullmatch(name):
                    found.append(Generation(int(match[1]), match[2] == "retired", self._directory / name))
        return sorted(found, key=lambda generation: generation.number, reverse=True)

    def load(self) -> list[bytes]:
        while True:
            generations = self.generations()
            if not generations:
                self._make(1)
                continue
            try:
                return [self._read(generation.path) for generation in generations]
            except FileNotFoundError as error:
                if self.generations() == generations:
                    raise RootKeyError(f"{error.filename} leads nowhere.") from error
                # One was retired or deleted just now: look again.

    def add(self) -> int:
        """Make the next generation, which seals from now on; returns its number."""
        number = self.generations()[0].number + 1
        self._make(number)
        return number

    def retire(self, generation: Generation) -> None:
        """From now on it opens what is not in the database, and that for `RETIRED_SECONDS`."""
        with contextlib.suppress(FileNotFoundError):  # another rotation was first
            os.utime(generation.path)
            generation.path.rename(generation.path.with_suffix(".retired"))
            _sync(self._directory)

    def overdue(self, *, older_than_seconds: float = RETIRED_SECONDS) -> list[Generation]:
        """Those that were retired at least so long ago."""
        found, before = [], time.time() - older_than_seconds
        for generation in self.generations():
            with contextlib.suppress(FileNotFoundError):  # a rotation has just deleted it
                if generation.retired and generation.path.stat().st_mtime <= before:
                    found.append(generation)
        return found

    def delete(self, generations: Iterable[Generation]) -> None:
        for generation in generations:
            generation.path.unlink(missing_ok=True)

    def _read(self, path: Path) -> bytes:
        key = path.read_bytes()
        if self._token is not None and len(key) != KEY_BYTES:  # one from before there was a token is as it was
            key = self._token.unwrap(key)
        if len(key) != KEY_BYTES:
            raise RootKeyError(
                f"{path}: The root key must be {KEY_BYTES} bytes, not {len(key)}: restore it from a backup."
            )
        return key

    def _make(self, number: int) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = secrets.token_bytes(KEY_BYTES)
        written = key if self._token is None else self._token.wrap(key)
        path = self._directory / f"root.{number}.key"
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(written)
                file.flush()
                os.fsync(descriptor)
            # A link fails when the name exists: of two processes that start at once the first one's key stands, and no
            # one ever reads half a key.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()
        _sync(self._directory)


class Credential:
    """A root key that systemd hands to the service, and maybe the one before it (``NAME.previous``)."""

    def __init__(self, name: str) -> None:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise RootKeyError(
                f"The root key is systemd's credential {name} (root_key.source), and this process was given none: run "
                f"it with `systemd-run --pty -p LoadCredential={name}:FILE`, or in the cloud's own unit."
            )
        self._path = Path(directory) / name

    def stamp(self) -> object:
        return None

    def load(self) -> list[bytes]:
        keys = list(self._keys())
        if any(len(key) != KEY_BYTES for key in keys):
            raise RootKeyError(f"{self._path}: the credential must be {KEY_BYTES} bytes, as they are.")
        return keys

    def _keys(self) -> Iterator[bytes]:
        try:
            yield self._path.read_bytes()
        except OSError as error:
            raise RootKeyError(f"The credential {self._path} can not be read: {error.strerror}.") from error
        with contextlib.suppress(FileNotFoundError):
            yield self._path.with_name(f"{self._path.name}.previous").read_bytes()


def _sync(directory: Path) -> None:
    """Have the directory's names on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
