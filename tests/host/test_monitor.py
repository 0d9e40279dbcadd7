"""The monitor of a QEMU that has only just started."""

from __future__ import annotations

import json
import socket
import subprocess

from freehold.host.hypervisor.qemu import without_machine
from tests.cli.clouds import short_place


def test_qemu_waits_for_the_first_who_connects() -> None:
    """Who connects while it makes its monitor had one in some hundred hang for ever: it does not make it before."""
    with short_place() as place:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place / "qmp.sock"))
            listener.listen()
            argv = without_machine("freehold-test-waits", listener.fileno())
            process = subprocess.Popen(argv, pass_fds=(listener.fileno(),), stderr=subprocess.PIPE)
        try:
            assert process.stderr is not None
            assert b"waiting for connection" in process.stderr.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(place / "qmp.sock"))
                assert "QMP" in json.loads(client.makefile().readline())
        finally:
            process.kill()
            process.communicate()
