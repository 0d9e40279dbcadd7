"""Whether an account may use serial consoles: EnableSerialConsoleAccess, DisableSerialConsoleAccess,
GetSerialConsoleAccessStatus. Disabled until it is enabled; `freehold console` is the operator's and asks nobody.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configure-access-to-serial-console.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.records.connect import SerialConsoleAccess, serial_console_access
from freehold.services.ec2.parameters import refuse_others
from freehold.services.operation import Call, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        DisableSerialConsoleAccessRequestTypeDef,
        EnableSerialConsoleAccessRequestTypeDef,
        GetSerialConsoleAccessStatusRequestTypeDef,
    )


@operation()
def enable_serial_console_access(call: Call, request: EnableSerialConsoleAccessRequestTypeDef) -> Response:
    """In this region, from now on."""
    refuse_others(request, set())
    call.tx.put(SerialConsoleAccess(call.account_id, call.region, call.now))
    return {"SerialConsoleAccessEnabled": True}


@operation()
def disable_serial_console_access(call: Call, request: DisableSerialConsoleAccessRequestTypeDef) -> Response:
    """Also where it was never enabled."""
    refuse_others(request, set())
    call.tx.delete_where(
        SerialConsoleAccess,
        serial_console_access.c.account_id == call.account_id,
        serial_console_access.c.region == call.region,
    )
    return {"SerialConsoleAccessEnabled": False}


@operation()
def get_serial_console_access_status(call: Call, request: GetSerialConsoleAccessStatusRequestTypeDef) -> Response:
    """Of this region; the account decides."""
    refuse_others(request, set())
    enabled = call.tx.get(SerialConsoleAccess, call.account_id, call.region) is not None
    return {"SerialConsoleAccessEnabled": enabled, "ManagedBy": "account"}
