"""How much an account's volumes of a type may hold together, and how many operations a second they may be given.

https://docs.aws.amazon.com/general/latest/gr/ebs-service.html#limits_ebs
"""

from __future__ import annotations

import sqlalchemy as sa

from freehold.quotas import PROVISIONED_IOPS, STORAGE_TIB
from freehold.records.compute import volumes
from freehold.services.ec2.compute_errors import MaxIOPSLimitExceeded, VolumeLimitExceeded
from freehold.services.operation import Call
from freehold.services.quotas import limit


def check(call: Call, volume_type: str, more_gib: int, more_iops: int = 0) -> None:
    """To be asked when the caller has taken its turn. Raises VolumeLimitExceeded if the account may not hold so much
    more in volumes of the type, MaxIOPSLimitExceeded if they may not do so much more."""
    columns = volumes.c
    held_gib, held_iops = call.tx.connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(columns.size_gib), 0), sa.func.coalesce(sa.func.sum(columns.iops), 0)
        ).where(
            columns.account_id == call.account_id,
            columns.region == call.region,
            columns.volume_type == volume_type,
            columns.state != "deleting",
        )
    ).one()
    most_tib = limit(call, STORAGE_TIB[volume_type])
    if int(held_gib) + more_gib > most_tib * 1024:
        raise VolumeLimitExceeded(volume_type, most_tib)
    code = PROVISIONED_IOPS.get(volume_type)
    if code is not None and int(held_iops) + more_iops > (most := limit(call, code)):
        raise MaxIOPSLimitExceeded(volume_type, most)
