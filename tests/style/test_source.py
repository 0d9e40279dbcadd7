"""Rules of the house that no other tool checks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from freehold.services.operation import Catalog

ROOT = Path(__file__).parents[2]
LINES_MAX = 500


def sources() -> Iterator[tuple[str, str]]:
    """(path, text) of every text file that is tracked or about to be."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for path in sorted(set(listed.split("\0")) - {""}):
        file = ROOT / path
        if file.is_file() and b"\0" not in (content := file.read_bytes()):
            yield path, content.decode()


def test_no_module_is_too_long() -> None:
    """A migration is history: it is as long as what it changed."""
    lengths = {
        path: text.count("\n")
        for path, text in sources()
        if path.endswith(".py") and "/migrations/versions/" not in path
    }
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """No package registry's host (whoever installs has their own), and no home directory but those of guests."""
    hosts = ("py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs.org", "static.crates" + ".io")
    private = re.compile(
        "|".join([*map(re.escape, hosts), re.escape(str(ROOT)), r"/Users/\w", r"/home/(?!ec2-user)\w"])
    )
    found = [f"{path}: {match[0]}" for path, text in sources() for match in private.finditer(text)]
    assert found == []


def test_nothing_waits_by_what_may_lose_a_cancellation() -> None:
    """`asyncio.wait_for` of Python 3.11 forgets that it was cancelled if what it waits for ends at that moment: an
    agent that was to end worked on."""
    forbidden = "asyncio." + "wait_for("
    assert [path for path, text in sources() if path.startswith("src/") and forbidden in text] == []


def test_every_operation_says_something_about_itself() -> None:
    silent = [operation.name for operation in Catalog().operations.values() if not operation.function.__doc__]
    assert silent == []
