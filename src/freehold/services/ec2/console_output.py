"""GetConsoleOutput."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from freehold.records.compute import ConsoleOutput
from freehold.services.ec2.resources import INSTANCE, named_by
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import GetConsoleOutputRequestTypeDef


@operation(resources=named_by("InstanceId", INSTANCE))
def get_console_output(call: Call, request: GetConsoleOutputRequestTypeDef) -> Response:
    """The newest 64 KiB of the serial console; none before the guest has written any.

    Latest makes no difference: the host reports the console as it grows, not only after a start or a stop.
    """
    instance = INSTANCE.load(call, request["InstanceId"])
    console = call.tx.get(ConsoleOutput, instance.id)
    if console is None:
        return {"InstanceId": instance.id, "Timestamp": instance.launched_at, "Output": ""}
    return {"InstanceId": instance.id, "Timestamp": console.at, "Output": base64.b64encode(console.data).decode()}
