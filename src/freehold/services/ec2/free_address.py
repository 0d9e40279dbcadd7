"""Choosing a free IPv4 address of a network."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

import sqlalchemy as sa

from freehold.records.store import Transaction

_PROBES = 16


def free_address(
    tx: Transaction, network: IPv4Network, first: int, used: sa.Column[str], *where: sa.ColumnElement[bool]
) -> str | None:
    """An address of the network, at random, that the column `used` does not have in the rows that meet `where`.

    None if there is none. `first` is the offset of the first address that may be given; the last never is. A few
    random ones are looked up first, which finds one in one query while the network is not nearly full, however large
    it is; only then are all addresses in use read.
    """

    def address(offset: int) -> str:
        return str(IPv4Address(int(network.network_address) + offset))

    offsets = range(first, network.num_addresses - 1)
    probes = [address(offset) for offset in random.sample(offsets, min(_PROBES, len(offsets)))]
    in_use = set(tx.connection.scalars(sa.select(used).where(*where, used.in_(probes))))
    if free := [probe for probe in probes if probe not in in_use]:
        return free[0]
    in_use = set(tx.connection.scalars(sa.select(used).where(*where)))
    return next((text for offset in offsets if (text := address(offset)) not in in_use), None)
