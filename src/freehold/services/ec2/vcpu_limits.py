"""How many vCPUs an account's instances may have at once: one quota for all instance types of this cloud, and one for
those that are spot instances.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html#ec2-on-demand-instances-limits
"""

from __future__ import annotations

import sqlalchemy as sa

from freehold import quotas
from freehold.records.compute import instances
from freehold.services.ec2.compute_errors import VcpuLimitExceeded
from freehold.services.ec2.spot_errors import MaxSpotInstanceCountExceeded
from freehold.services.operation import Call
from freehold.services.quotas import limit


def allowed(call: Call, vcpus: int, low: int, high: int, *, spot: bool = False, reserved: int = 0) -> int:
    """How many more instances of so many vCPUs the account may start: `low` to `high`. To be asked when the caller has
    taken its turn. `reserved` are vCPUs that it holds without instances. Raises VcpuLimitExceeded, of spot instances
    MaxSpotInstanceCountExceeded, for fewer than `low`."""
    most = limit(call, quotas.SPOT_VCPUS if spot else quotas.RUNNING_VCPUS)
    columns = instances.c
    held = call.tx.connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(columns.vcpus), 0)).where(
            columns.account_id == call.account_id,
            columns.region == call.region,
            columns.state.in_(("pending", "running")),
            columns.spot_request_id.is_not(None) if spot else columns.spot_request_id.is_(None),
        )
    ).scalar_one()
    count = min(high, max(0, most - reserved - int(held)) // vcpus)
    if count < low:
        raise MaxSpotInstanceCountExceeded if spot else VcpuLimitExceeded(most)
    return count
