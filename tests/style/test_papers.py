"""README, CONTRIBUTING, CHANGELOG and docs/: links lead somewhere, and commands that are shown exist as shown."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

from freehold.cli.app import app
from freehold.doctor.packages import NEEDED, NEEDED_BY_TESTS

ROOT = Path(__file__).parents[2]
PAPERS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A command of the shell: at the start of a line or a span, after its prompt or within `$(…)`.
COMMAND = re.compile(r"(?:^\s*(?:\$ )?|\$\()(?:\.venv/bin/)?freehold +([a-z].*)", re.MULTILINE)


def paper(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """What can stand after `#` in a link: the headings, as web pages of repositories name them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `freehold …` that a text shows."""
    pieces = [*FENCED.findall(text), *SPAN.findall(FENCED.sub("", text))]
    for line in (found for piece in pieces for found in COMMAND.findall(piece)):
        words = shlex.shlex(line.partition(')"')[0].partition("`")[0], posix=True, punctuation_chars=True)
        words.whitespace_split = True
        yield list(takewhile(lambda word: not set(word) <= set("|&;<>"), words))


@pytest.mark.parametrize("path", PAPERS, ids=paper)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("", path.read_text())):
        place, _, anchor = link.partition("#")
        target = (path.parent / place) if place else path
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target.read_text()))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAPERS, ids=paper)
def test_commands_exist_as_they_are_shown(path: Path) -> None:
    for arguments in commands(path.read_text()):
        command: click.Command = app
        while isinstance(command, click.Group) and arguments:
            name, *arguments = arguments
            assert name in command.commands, f"there is no command {name}"
            command = command.commands[name]
        if arguments:  # else it is only named
            command.make_context(command.name, arguments)  # UsageError: no such option, or an argument is missing


def test_commands_are_found() -> None:
    shown = list(commands((ROOT / "README.md").read_text()))
    assert ["ssh", "web", "-i", "lab.pem", "--", "cat", "/root/hello"] in shown
    assert ["env"] in shown


def test_every_dependency_is_argued_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in required} | NEEDED.keys() | NEEDED_BY_TESTS.keys()
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    argued = {name.partition("\\")[0] for row in rows for name in row.split(", ")}
    assert names - argued == set()


def test_examples_are_in_the_source() -> None:
    source = [path.read_text() for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")]
    examples = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    assert [example for example in examples if not any(example in text for text in source)] == []
