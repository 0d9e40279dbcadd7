"""What an instance shows and hears: console output, password data, diagnostic interrupts."""

from __future__ import annotations

import base64

from freehold.questions import ConsoleText, Interrupt, NoAnswer, Question, Screenshot
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import host_reports, launch_one, run_one, stop, terminate


class Host:
    """Answers what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Question]] = []
        self.refusal: str | None = None

    def ask(self, host_id: str, question: Question) -> bytes:
        self.asked.append((host_id, question))
        if self.refusal is not None:
            raise NoAnswer(self.refusal)
        return b"as it is now"


def test_the_latest_console_output_is_the_hosts_and_otherwise_what_it_last_reported(ready: Caller) -> None:
    instance_id = run_one(ready)
    host = Host()
    ready.ask = host.ask

    def output(**request: bool) -> bytes:
        answer = ready.get_console_output(InstanceId=instance_id, **request)
        assert answer["InstanceId"] == instance_id
        return base64.b64decode(answer["Output"])

    assert output() == b""
    host_reports(ready.store, instance_id, "running", console=b"as it was")
    assert output() == b"as it was"
    assert output(Latest=False) == b"as it was"
    assert host.asked == []
    assert output(Latest=True) == b"as it is now"
    assert host.asked == [("host-1", ConsoleText(instance_id))]
    host.refusal = "late"
    assert output(Latest=True) == b"as it was"
    terminate(ready, instance_id)
    host.refusal = None
    assert output(Latest=True) == b"as it was"


def test_a_diagnostic_interrupt_is_sent_to_what_runs(ready: Caller) -> None:
    host = Host()
    ready.ask = host.ask
    instance_id = launch_one(ready)["InstanceId"]
    with refused("IncorrectInstanceState"):
        ready.send_diagnostic_interrupt(InstanceId=instance_id)
    host_reports(ready.store, instance_id, "running")
    ready.send_diagnostic_interrupt(InstanceId=instance_id, DryRun=True)
    assert host.asked == []
    assert ready.send_diagnostic_interrupt(InstanceId=instance_id) == {}
    assert host.asked == [("host-1", Interrupt(instance_id))]
    host.refusal = "away"
    with refused("Unavailable"):
        ready.send_diagnostic_interrupt(InstanceId=instance_id)
    stop(ready, instance_id)
    with refused("IncorrectInstanceState"):
        ready.send_diagnostic_interrupt(InstanceId=instance_id)


def test_a_screenshot_is_what_the_host_sees(ready: Caller) -> None:
    host = Host()
    ready.ask = host.ask
    instance_id = run_one(ready)
    for request in ({}, {"WakeUp": True}):
        answer = ready.get_console_screenshot(InstanceId=instance_id, **request)
        assert base64.b64decode(answer["ImageData"]) == b"as it is now"
    assert host.asked == [("host-1", Screenshot(instance_id, wake_up)) for wake_up in (False, True)]
    host.refusal = "gone"
    with refused("Unavailable"):
        ready.get_console_screenshot(InstanceId=instance_id)
    stop(ready, instance_id)
    with refused("IncorrectInstanceState"):
        ready.get_console_screenshot(InstanceId=instance_id)


def test_no_instance_has_a_password(ready: Caller) -> None:
    instance_id = run_one(ready)
    with refused("UnsupportedOperation"):
        ready.get_password_data(InstanceId=instance_id)
    with refused("InvalidInstanceID.NotFound"):
        ready.get_password_data(InstanceId="i-0123456789abcdef0")
