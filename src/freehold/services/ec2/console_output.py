"""GetConsoleOutput, GetConsoleScreenshot, GetPasswordData, SendDiagnosticInterrupt."""

from __future__ import annotations

import base64
import datetime as dt
from contextlib import suppress
from typing import TYPE_CHECKING

from freehold.questions import ConsoleText, Interrupt, NoAnswer, Screenshot
from freehold.records.compute import ConsoleOutput
from freehold.services.ec2.asking import asked
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        GetConsoleOutputRequestTypeDef,
        GetConsoleScreenshotRequestTypeDef,
        GetPasswordDataRequestTypeDef,
        SendDiagnosticInterruptRequestTypeDef,
    )

_WITH_CONSOLE = ("pending", "running", "stopping", "stopped")


@operation(resources=named_by("InstanceId", INSTANCE))
def get_console_output(call: Call, request: GetConsoleOutputRequestTypeDef) -> Response:
    """The newest 64 KiB of the serial console; none before the guest has written any.

    Latest asks the host for what is there at this moment. Otherwise, and when the host can not say, it is what the host
    last reported, which it does about a second after the guest has written, and Timestamp says when.
    """
    refuse_others(request, {"InstanceId", "Latest"})
    instance = INSTANCE.load(call, request["InstanceId"])
    if request.get("Latest") and instance.state in _WITH_CONSOLE and instance.host_id is not None:
        with suppress(NoAnswer):
            console_now = call.ask(instance.host_id, ConsoleText(instance.id))
            return _output(instance.id, call.now, console_now)
    console = call.tx.get(ConsoleOutput, instance.id)
    if console is None:
        return _output(instance.id, instance.launched_at, b"")
    return _output(instance.id, console.at, console.data)


def _output(instance_id: str, at: dt.datetime, data: bytes) -> Response:
    return {"InstanceId": instance_id, "Timestamp": at, "Output": base64.b64encode(data).decode()}


@operation(resources=named_by("InstanceId", INSTANCE))
def get_console_screenshot(call: Call, request: GetConsoleScreenshotRequestTypeDef) -> Response:
    """What is on the screen of a running instance now, as JPEG. Our own images have their console on the serial line
    and leave the screen as it is. WakeUp presses a key before.

    Raises IncorrectInstanceState, Unavailable.
    """
    refuse_others(request, {"InstanceId", "WakeUp"})
    instance = INSTANCE.load(call, request["InstanceId"])
    picture = asked(call, instance, Screenshot(instance.id, bool(request.get("WakeUp"))))
    return {"InstanceId": instance.id, "ImageData": base64.b64encode(picture).decode()}


@operation(resources=named_by("InstanceId", INSTANCE))
def get_password_data(call: Call, request: GetPasswordDataRequestTypeDef) -> Response:
    """Refused: no instance runs Windows. An empty answer would have clients wait for one.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetPasswordData.html
    """
    refuse_others(request, {"InstanceId"})
    instance = INSTANCE.load(call, request["InstanceId"])
    raise UnsupportedOperation(f"A password of {instance.id}, which does not run Windows,")


def _interrupt(call: Call, request: SendDiagnosticInterruptRequestTypeDef) -> None:
    refuse_others(request, {"InstanceId"})
    instance = INSTANCE.load(call, request["InstanceId"])
    if not request.get("DryRun"):
        asked(call, instance, Interrupt(instance.id))


@operation(resources=named_by("InstanceId", INSTANCE), prepare=_interrupt)
def send_diagnostic_interrupt(call: Call, request: SendDiagnosticInterruptRequestTypeDef) -> Response:
    """A non-maskable interrupt, which Linux logs, and on which it panics where ``kernel.unknown_nmi_panic`` says so.

    It is sent before the write transaction, which has nothing to write, begins. Raises IncorrectInstanceState,
    Unavailable.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/diagnostic-interrupt.html
    """
    refuse_others(request, {"InstanceId"})
    return {}
