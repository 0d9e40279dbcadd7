"""What a new volume is made from, a snapshot or another volume: its data is there at once, on the host that has that.

https://docs.aws.amazon.com/ebs/latest/userguide/ebs-restoring-volume.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.records.compute import Host, Volume
from freehold.records.ids import HostId
from freehold.records.snapshots import Snapshot
from freehold.services.ec2 import ebs_encryption
from freehold.services.ec2.ebs_encryption import Asked
from freehold.services.ec2.errors import IncorrectState, InvalidParameterValue
from freehold.services.ec2.snapshot_sharing import usable
from freehold.services.operation import Call


def named(call: Call, request: Mapping[str, Any]) -> Snapshot | None:
    """The snapshot that a request names: the caller's own, or one shared with them. Raises InvalidSnapshot.NotFound,
    InvalidSnapshotID.Malformed, IncorrectState."""
    if not request.get("SnapshotId"):
        return None
    snapshot = usable(call, request["SnapshotId"])
    if snapshot.state != "completed":
        raise IncorrectState(f"The snapshot '{snapshot.id}' is not in the 'completed' state.")
    return snapshot


def size_gib(request: Mapping[str, Any], source: Snapshot | Volume | None) -> int | None:
    """The source's, if none is given. Raises InvalidParameterValue for less."""
    given: int | None = request.get("Size")
    if source is None:
        return given
    if given is not None and given < source.size_gib:
        kind = "snapshot" if isinstance(source, Snapshot) else "volume"
        raise InvalidParameterValue(
            f"Volume of size {given}GB is smaller than {kind} '{source.id}', expect size >= {source.size_gib}GB"
        )
    return given or source.size_gib


def encryption(call: Call, request: Any, source: Snapshot | Volume | None) -> Asked:
    """As `ebs_encryption.over`."""
    return ebs_encryption.over(call, source, ebs_encryption.asked_for(call, request))


def host_in(call: Call, snapshot: Snapshot, zone: str) -> HostId | None:
    """The snapshot's host, if it serves the zone."""
    host = call.tx.get(Host, snapshot.host_id)
    return host.id if host is not None and host.zone in (None, zone) else None
