"""What a user sees of how a server fares, and does about it, with real servers."""

from __future__ import annotations

import pytest

from tests.e2e.servers import Servers, tcp, wait

POOL = "198.18.7.0/27"


@pytest.fixture(scope="module")
def server(servers: Servers) -> str:
    (instance_id,) = servers.launch(servers.group("status", tcp(22)))
    servers.wait_until_ready(instance_id)
    return instance_id


def test_the_console_is_shown_as_it_is_at_the_call(servers: Servers, server: str) -> None:
    for number in range(3):
        servers.ssh(server, f"echo word-{number} >/dev/ttyS0")
        assert f"word-{number}" in servers.console(server)


def test_a_diagnostic_interrupt_reaches_the_kernel(servers: Servers, server: str) -> None:
    servers.ec2.send_diagnostic_interrupt(InstanceId=server)
    wait(lambda: "NMI received" in servers.ssh(server, "dmesg"), "the kernel has seen the interrupt")
    assert "NMI received" in servers.console(server)
    servers.ssh(server, "echo 1 >/proc/sys/kernel/unknown_nmi_panic")
    servers.ec2.send_diagnostic_interrupt(InstanceId=server)
    wait(lambda: "Kernel panic - not syncing: NMI" in servers.console(server), "the kernel has panicked")
