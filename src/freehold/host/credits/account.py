"""The arithmetic of CPU credits: earned all the time that a guest runs, spent on the time of a vCPU.

A credit is a minute of one vCPU. A guest earns its type's credits each hour and keeps at most what it earns in a day.
With none left a ``standard`` one gets what it earns, its baseline; an ``unlimited`` one spends surplus credits, which
what it earns later pays back. Surplus beyond a day's earnings is charged, and all of it when the guest stops or becomes
``standard``. None has credits to begin with: those types are not offered here that have on AWS (T2).
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-credits-baseline-concepts.html,
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode-concepts.html
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from freehold.host.wire import CreditSpec

SECONDS = 60.0
"""Of a vCPU, for a credit."""
_HOUR = 3600.0


class CreditAccount(msgspec.Struct, frozen=True):
    """In seconds of a vCPU: what is left, what was spent beyond that, and what of this was charged so far. Not both of
    the first two are more than 0."""

    balance: float = 0.0
    surplus: float = 0.0
    charged: float = 0.0


def baseline(spec: CreditSpec) -> float:
    """The vCPUs that a guest earns."""
    return spec.per_hour * SECONDS / _HOUR


def most(spec: CreditSpec) -> float:
    """The largest balance, and the largest surplus that is not charged yet."""
    return spec.per_hour * 24 * SECONDS


def advance(account: CreditAccount, spec: CreditSpec, seconds: float, used: float) -> CreditAccount:
    """After `seconds` in which a guest has used `used` seconds of vCPUs."""
    if not spec.unlimited:
        account = settled(account)
    worth = account.balance - account.surplus + (baseline(spec) * seconds - used) * spec.clock
    if worth >= 0:
        return replace(account, balance=min(worth, most(spec)), surplus=0.0)
    if not spec.unlimited:
        return replace(account, balance=0.0, surplus=0.0)
    surplus = min(-worth, most(spec))
    return CreditAccount(0.0, surplus, account.charged - worth - surplus)


def settled(account: CreditAccount) -> CreditAccount:
    """With the surplus charged."""
    return CreditAccount(account.balance, 0.0, account.charged + account.surplus)
