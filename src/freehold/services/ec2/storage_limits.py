"""How much an account's volumes of a type may hold together.

https://docs.aws.amazon.com/general/latest/gr/ebs-service.html#limits_ebs
"""

from __future__ import annotations

import sqlalchemy as sa

from freehold.quotas import STORAGE_TIB
from freehold.records.compute import volumes
from freehold.services.ec2.compute_errors import VolumeLimitExceeded
from freehold.services.operation import Call
from freehold.services.quotas import limit


def check(call: Call, volume_type: str, more_gib: int) -> None:
    """To be asked when the caller has taken its turn. Raises VolumeLimitExceeded if the account may not hold so much
    more in volumes of the type."""
    most_tib = limit(call, STORAGE_TIB[volume_type])
    columns = volumes.c
    held = call.tx.connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(columns.size_gib), 0)).where(
            columns.account_id == call.account_id,
            columns.region == call.region,
            columns.volume_type == volume_type,
            columns.state != "deleting",
        )
    ).scalar_one()
    if int(held) + more_gib > most_tib * 1024:
        raise VolumeLimitExceeded(volume_type, most_tib)
