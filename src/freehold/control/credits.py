"""CPU credits that hosts report become records, and what was spent beyond them is charged."""

from __future__ import annotations

import datetime as dt

import structlog

from freehold.config import Config
from freehold.host.wire import REPORT_SECONDS, CreditReading, Report
from freehold.records.compute import Instance
from freehold.records.cpu_credits import CpuCredits
from freehold.records.feed import take_turn
from freehold.records.store import Transaction
from freehold.records.usage import count_usage

log = structlog.get_logger()

ITEM = "cpu-credits"
_RECORDED = dt.timedelta(seconds=60)  # a balance that changes all the time is written down this often


def apply_credits(tx: Transaction, config: Config, host_id: str, report: Report) -> None:
    """To be done before all else that the report says: what an instance has spent is charged also when it is gone."""
    said = [(guest.instance_id, guest.credits) for guest in report.guests if guest.credits is not None]
    if not said:
        return
    take_turn(tx)
    for instance_id, reading in said:
        instance = tx.get(Instance, instance_id)
        if instance is not None and instance.host_id == host_id and instance.state != "terminated":
            _apply(tx, config, instance, reading)


def _apply(tx: Transaction, config: Config, instance: Instance, reading: CreditReading) -> None:
    """A host is not trusted: it can charge no more than the instance's vCPUs can have used since the last reading, with
    what may have been left to charge before."""
    known = tx.get(CpuCredits, instance.id)
    last = known or CpuCredits(instance.id, 0, 0, 0, instance.launched_at)
    charged = reading.charged - last.charged
    if charged < 0:  # the host has forgotten some, or all: it counts on from there, and nothing is charged twice
        tx.put(CpuCredits(instance.id, reading.balance, reading.surplus, reading.charged, tx.now))
        return
    if charged > last.surplus + _spent_at_most(config, instance, tx.now - last.at):
        log.warning("implausible CPU credits", instance=instance.id, host=instance.host_id, charged=charged)
        return
    if charged:
        count_usage(tx, instance.account_id, instance.region, instance.id, ITEM, charged)
    if known is None or charged or tx.now - last.at >= _RECORDED:
        tx.put(CpuCredits(instance.id, reading.balance, reading.surplus, reading.charged, tx.now))


def _spent_at_most(config: Config, instance: Instance, period: dt.timedelta) -> float:
    """In thousandths of a credit, which is a minute of a vCPU."""
    seconds = period.total_seconds() + REPORT_SECONDS
    return instance.vcpus * seconds / 60 * 1000 * config.compute.credit_clock
