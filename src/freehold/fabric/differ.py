"""Makes the OVN northbound database hold exactly the rows that `freehold.fabric.rows` computes: the only writer of it.

A VPC is changed in one transaction, so it is never half there. What was applied is remembered and compared in memory;
without that memory (a new process, a database that was restarted, a failure) what is there is read first, and the same
code finds the difference. A row is known by its name alone (`Ref`), which external_ids also carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from freehold.fabric.row import Ref, Row, Value
from freehold.fabric.rows import public_rows
from freehold.network.ovsdb import Operation, Ovsdb, OvsdbError, OvsdbUnavailable

log = structlog.get_logger()

# The columns that Freehold writes. Rows are made in this order of tables, roots first, and deleted in the reverse.
_COLUMNS = {
    "Logical_Router": ("name", "options"),
    "Logical_Switch": ("name",),
    "DHCP_Options": ("cidr", "options"),
    "Address_Set": ("name", "addresses"),
    "Logical_Router_Port": ("name", "mac", "networks"),
    "Gateway_Chassis": ("name", "chassis_name", "priority"),
    "Logical_Router_Static_Route": ("ip_prefix", "nexthop"),
    "Logical_Router_Policy": ("priority", "match", "action"),
    "NAT": ("type", "external_ip", "logical_ip"),
    "Logical_Switch_Port": ("name", "type", "addresses", "port_security", "dhcpv4_options", "options"),
    "Port_Group": ("name", "ports"),
    "ACL": ("direction", "priority", "match", "action"),
}
_RANK = {table: rank for rank, table in enumerate(_COLUMNS)}
# The parent's column that holds rows of a table. Such a row lives as long as its parent refers to it.
_HELD_IN = {
    "Logical_Router_Port": "ports",
    "Gateway_Chassis": "gateway_chassis",
    "Logical_Router_Static_Route": "static_routes",
    "Logical_Router_Policy": "policies",
    "NAT": "nat",
    "Logical_Switch_Port": "ports",
    "ACL": "acls",
}
# Columns whose sets of references may be long: only what joins and what leaves is written.
_REFERRING = {("Port_Group", "ports")}
_PUBLIC = "public"  # owner of the rows that all VPCs share


@dataclass(frozen=True, slots=True)
class _Found:
    """A row as the database has it."""

    columns: Mapping[str, Any]
    parent: Ref | None


class Fabric:
    """The northbound database. For one thread.

    Its methods raise OvsdbUnavailable when the database can not be reached: try again later, from where you were. After
    any error the next `apply` reads what is there.
    """

    def __init__(self, socket: Path) -> None:
        """`socket`: of the ovsdb-server that has the database ``OVN_Northbound``."""
        self._ovsdb = Ovsdb(socket, "OVN_Northbound")
        self._applied: dict[str, dict[Ref, Row]] = {}
        self._found: dict[str, dict[Ref, _Found]] | None = None

    def close(self) -> None:
        self._ovsdb.close()

    def forget(self) -> None:
        """Have the next `apply` of each VPC read what is there, and mend whatever someone else changed."""
        self._applied.clear()
        self._found = None

    def vpcs_present(self) -> set[str]:
        """The VPCs that have rows."""
        applied = {vpc_id for vpc_id, rows in self._applied.items() if rows}
        return (applied | self._read().keys()) - {_PUBLIC}

    def apply(self, vpc_id: str, rows: Mapping[Ref, Row]) -> int:
        """Make `rows` all that there is of the VPC (none: remove it); returns the number of operations it took.

        Raises OvsdbUnavailable; OvsdbError when OVN's schema refuses a row.
        """
        if _PUBLIC not in self._applied:
            self._apply(_PUBLIC, public_rows())
        return self._apply(vpc_id, rows)

    def sync(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until every host has installed all that was applied; False if it has not.

        Raises OvsdbUnavailable.
        """
        table = {"table": "NB_Global", "where": []}
        bump = {"op": "mutate", **table, "mutations": [["nb_cfg", "+=", 1]]}
        read = {"op": "select", **table, "columns": ["nb_cfg"]}
        number = self._ovsdb.transact([bump, read])[1]["rows"][0]["nb_cfg"]
        installed = {"columns": ["hv_cfg"], "until": "==", "rows": [{"hv_cfg": number}]}
        try:
            self._ovsdb.transact([{"op": "wait", **table, **installed, "timeout": int(timeout * 1000)}])
        except OvsdbError:
            return False
        return True

    def _read(self) -> dict[str, dict[Ref, _Found]]:
        """What there was of each VPC that was not applied since, by VPC."""
        if self._found is None:
            selects = [
                {"op": "select", "table": table, "where": [], "columns": ["_uuid", "external_ids", *columns]}
                for table, columns in _COLUMNS.items()
            ]
            found: dict[str, dict[Ref, _Found]] = {}
            for table, result in zip(_COLUMNS, self._ovsdb.transact(selects), strict=True):
                for row in result["rows"]:
                    names = dict(row["external_ids"][1])
                    if "freehold:vpc" in names:
                        parent = names.get("freehold:parent")
                        found.setdefault(names["freehold:vpc"], {})[Ref(table, names["freehold:key"])] = _Found(
                            row, Ref(*parent.split("/", 1)) if parent else None
                        )
            self._found = found
        return self._found

    def _apply(self, vpc_id: str, rows: Mapping[Ref, Row]) -> int:
        before: Mapping[Ref, Row | _Found] | None = self._applied.get(vpc_id)
        if before is None:
            before = self._read().get(vpc_id, {})
        operations = _difference(vpc_id, before, rows)
        if operations:
            try:
                self._ovsdb.transact(operations)
            except (OvsdbError, OvsdbUnavailable):
                self.forget()
                raise
            log.info("fabric applied", vpc=vpc_id, rows=len(rows), operations=len(operations))
        self._applied[vpc_id] = dict(rows)
        self._read().pop(vpc_id, None)
        return len(operations)


def _difference(vpc_id: str, before: Mapping[Ref, Row | _Found], after: Mapping[Ref, Row]) -> list[Operation]:
    """The operations that turn the rows `before` into those `after`."""
    made: list[Operation] = []
    changed: list[Operation] = []
    # UUIDs to put into, and to take out of, the sets that refer to rows: by row and column.
    joining: dict[tuple[Ref, str], set[str]] = {}
    leaving: dict[tuple[Ref, str], set[str]] = {}

    for ref in sorted((ref for ref, row in after.items() if before.get(ref) != row), key=_rank):
        row, old = after[ref], before.get(ref)
        if old is None:
            made.append(_insert(vpc_id, row))
            if row.parent is not None:
                joining.setdefault((row.parent, _HELD_IN[ref.table]), set()).add(str(ref.uuid))
            continue
        update: dict[str, Any] = {}
        for column, value in row.columns.items():
            was = old.columns[column] if isinstance(old, _Found) else _json(old.columns[column])
            if (ref.table, column) in _REFERRING:
                members, old_members = _uuids(_json(value)), _uuids(was)
                joining[ref, column] = members - old_members
                leaving[ref, column] = old_members - members
            elif _canonical(_json(value)) != _canonical(was):
                update[column] = _json(value)
        if update:
            changed.append({"op": "update", "table": ref.table, "where": _where(ref), "row": update})

    deleted: list[Operation] = []
    for ref in sorted((ref for ref in before if ref not in after), key=_rank, reverse=True):
        parent = before[ref].parent
        if parent is None:
            deleted.append({"op": "delete", "table": ref.table, "where": _where(ref)})
        elif parent not in before or parent in after:  # else it goes with its parent
            leaving.setdefault((parent, _HELD_IN[ref.table]), set()).add(str(ref.uuid))

    mutated = [
        {"op": "mutate", "table": ref.table, "where": _where(ref), "mutations": [[column, how, _refs(uuids)]]}
        for how, sets in (("delete", leaving), ("insert", joining))
        for (ref, column), uuids in sets.items()
        if uuids
    ]
    return made + changed + mutated + deleted


def _rank(ref: Ref) -> int:
    return _RANK[ref.table]


def _where(ref: Ref) -> list[Any]:
    return [["_uuid", "==", ["uuid", str(ref.uuid)]]]


def _insert(vpc_id: str, row: Row) -> Operation:
    names = {"freehold:vpc": vpc_id, "freehold:key": row.ref.key}
    if row.parent is not None:
        names["freehold:parent"] = f"{row.parent.table}/{row.parent.key}"
    columns = {column: _json(value) for column, value in row.columns.items()}
    return {
        "op": "insert",
        "table": row.ref.table,
        "uuid": str(row.ref.uuid),
        "row": {**columns, "external_ids": _json(names)},
    }


def _refs(uuids: Iterable[str]) -> list[Any]:
    return ["set", [["uuid", uuid] for uuid in sorted(uuids)]]


def _uuids(value: Any) -> set[str]:
    """The members of a set of references; a set of one is written as its member (RFC 7047 §5.1)."""
    members = value[1] if value[0] == "set" else [value]
    return {uuid for _, uuid in members}


def _json(value: Value) -> Any:
    """A value in OVSDB's notation (RFC 7047 §5.1)."""
    match value:
        case Ref():
            return ["uuid", str(value.uuid)]
        case frozenset():
            return ["set", sorted(_json(member) for member in value)]
        case Mapping():
            return ["map", [[key, value[key]] for key in sorted(value)]]
        case _:
            return value


def _canonical(value: Any) -> Any:
    """A value in OVSDB's notation as one that is equal whichever way the database chose to write it."""
    match value:
        case ["set", [member]]:
            return member
        case ["set", [*members]]:
            return "set", frozenset(members)
        case ["map", [*pairs]]:
            return "map", dict(pairs)
        case _:
            return value
