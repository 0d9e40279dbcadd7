"""What QEMU says of a guest that does not come up: where its processors are, how its disks are."""

from __future__ import annotations

import json
import socket

from freehold.host.layout import GuestPaths

_ASKED = ("query-status", "query-blockstats", "query-block-jobs")
_ASKED_AS_PEOPLE_DO = ("info cpus", "info registers -a", "info irq", "info pic")
_SECONDS_MAX = 30


def examine(paths: GuestPaths) -> str:
    """By the monitor that is there for people; the error, if it does not answer."""
    commands = [{"execute": name} for name in ("qmp_capabilities", *_ASKED)]
    commands += [
        {"execute": "human-monitor-command", "arguments": {"command-line": line}} for line in _ASKED_AS_PEOPLE_DO
    ]
    said: list[str] = []
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_SECONDS_MAX)
            client.connect(str(paths.spare_monitor))
            answers = client.makefile()
            answers.readline()
            for command in commands:
                client.sendall(json.dumps(command).encode())
                while "return" not in (answer := json.loads(answers.readline())) and "error" not in answer:
                    pass  # an event
                said.append(f"{command}: {answer.get('return', answer)}")
    except (OSError, ValueError) as error:
        said.append(repr(error))
    return "\n".join(said)
