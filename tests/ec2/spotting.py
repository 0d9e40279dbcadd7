"""Spot instances on a small host, and what the controllers do with them."""

from __future__ import annotations

from typing import Any

from freehold.control.spot import SpotRequests
from freehold.records.compute import Host
from freehold.records.spot import SpotRequest
from tests.ec2.calls import Caller
from tests.ec2.launching import IMAGE

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}
STOPPING: dict[str, Any] = {
    "InstanceMarketOptions": {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"},
    }
}


def look(caller: Caller) -> float | None:
    """A round of the controllers."""
    return SpotRequests(caller.store, caller.config, caller.sealer).look()


def ask(caller: Caller, count: int = 1, **request: Any) -> list[str]:
    """RequestSpotInstances of fh1.nano; the ids of the requests."""
    specification = {"ImageId": IMAGE, "InstanceType": "fh1.nano"} | request.pop("LaunchSpecification", {})
    answer = caller.request_spot_instances(InstanceCount=count, LaunchSpecification=specification, **request)
    return [one["SpotInstanceRequestId"] for one in answer["SpotInstanceRequests"]]


def described(caller: Caller, request_id: str) -> Any:
    (one,) = caller.describe_spot_instance_requests(SpotInstanceRequestIds=[request_id])["SpotInstanceRequests"]
    return one


def standing(caller: Caller, request_id: str) -> tuple[str, str]:
    """(state, status code)."""
    one = described(caller, request_id)
    return one["State"], one["Status"]["Code"]


def let_notice_pass(caller: Caller, request_id: str) -> None:
    """The notice is over, and the controllers see it."""
    with caller.store.write() as tx:
        request = tx.get(SpotRequest, request_id)
        assert request is not None
        assert request.interrupt_at is not None
        tx.update(request, interrupt_at=tx.now)
    look(caller)


def used_mib(caller: Caller) -> int:
    with caller.store.read() as tx:
        return sum(host.memory_used_mib for host in tx.select(Host))
