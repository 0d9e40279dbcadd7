"""The host keys that a guest printed: found among whatever else is on its console, and nothing else taken for one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from freehold.cli.host_keys import host_keys, known_hosts

BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
KEY = "ssh-ed25519 " + "A" * 68
OTHER = "ssh-ed25519 " + "B" * 68


def block(*lines: str) -> str:
    return "\n".join(("[    3.1] booting", BEGIN, *lines, END, "login:")) + "\n"


def test_the_newest_whole_block_counts() -> None:
    assert host_keys(block(f"{OTHER} root@old") + block(f"{KEY} root@ip-172-31-0-5")) == [KEY]
    assert host_keys(block(KEY) + f"{BEGIN}\n{OTHER}\n") == [KEY]


def test_serial_lines_end_with_carriage_returns() -> None:
    assert host_keys(block(KEY).replace("\n", "\r\n")) == [KEY]


def test_there_are_none_before_the_block_is_whole() -> None:
    assert host_keys("") == host_keys(f"{BEGIN}\n{KEY}\n") == []


@given(st.text(), st.text(st.characters(exclude_characters="\n\r")))
def test_what_is_not_a_key_is_not_taken(around: str, line: str) -> None:
    for key in host_keys(around + block(line, f"@cert-authority * {KEY}", f"{KEY},x", "*") + around):
        assert re.fullmatch(r"(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*", key)


def test_ssh_keygen_finds_a_real_key_in_the_file(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    printed = (tmp_path / "key.pub").read_text()
    (tmp_path / "known_hosts").write_text(known_hosts("203.0.113.7", host_keys(block(printed.strip()))))
    command = ["ssh-keygen", "-F", "203.0.113.7", "-f", tmp_path / "known_hosts"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split()[1] in found
