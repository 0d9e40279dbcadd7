"""The CPU credits of burstable instances, as their hosts last reported them."""

from __future__ import annotations

import datetime as dt

from freehold.records.ids import InstanceId
from freehold.records.schema import Record, table


class CpuCredits(Record, frozen=True):
    """In thousandths of a credit: CloudWatch's CPUCreditBalance, CPUSurplusCreditBalance, and all that was charged
    since the launch (the sum of CPUSurplusCreditsCharged)."""

    instance_id: InstanceId
    balance: int
    surplus: int
    charged: int
    at: dt.datetime


cpu_credits = table("cpu_credits", CpuCredits, key=("instance_id",))
