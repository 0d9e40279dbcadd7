"""Stopping and starting spot instances: whether their request allows it, and what becomes of it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/manage-spot-instances.html
"""

from __future__ import annotations

from freehold.records.compute import Instance
from freehold.records.spot import SpotRequest, turn
from freehold.services.ec2.spot_errors import IncorrectSpotRequestState, OneTimeCanNotStop
from freehold.services.operation import Call

_NO_CAPACITY = "instance-stopped-no-capacity"


def check_stop(call: Call, instance: Instance) -> None:
    """Raises UnsupportedOperation for an instance of a one-time request."""
    request = _request(call, instance)
    if request is not None and request.kind == "one-time":
        raise OneTimeCanNotStop(instance.id)


def check(call: Call, instance: Instance, *, by_service: bool = False) -> None:
    """Raises IncorrectSpotRequestState for an instance that was interrupted: it is started `by_service` when there is
    room again."""
    request = _request(call, instance)
    if request is None:
        return
    if request.state != "disabled" or (request.status == _NO_CAPACITY) != by_service:
        raise IncorrectSpotRequestState(instance.id)


def starts(call: Call, instance: Instance) -> None:
    request = _request(call, instance)
    if request is not None:
        turn(call.tx, request, "active", "fulfilled")


def _request(call: Call, instance: Instance) -> SpotRequest | None:
    return None if instance.spot_request_id is None else call.tx.get(SpotRequest, instance.spot_request_id)
