"""The filters of DescribeSpotInstanceRequests.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotInstanceRequests.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from freehold.records.network import SecurityGroup, security_groups
from freehold.records.spot import spot_requests
from freehold.services.ec2.filters import Condition, absent, constant, matching, moment, text
from freehold.services.ec2.regions import zone_id_filter
from freehold.services.ec2.resources import SECURITY_GROUP
from freehold.services.ec2.spot_statuses import MESSAGES
from freehold.services.operation import Call


def _member(call: Call, source: sa.ColumnElement[Any], path: Sequence[str]) -> sa.ColumnElement[str]:
    """A member of an object in a JSON text, as text; what is not there is NULL."""
    if call.tx.connection.dialect.name == "sqlite":
        steps = "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in path)
        return sa.cast(sa.func.json_extract(source, f"${steps}"), sa.Text)
    return sa.func.json_extract_path_text(sa.cast(source, sa.JSON), *path, type_=sa.Text)


def _launch(*path: str) -> Condition:
    """A filter on what the launch is to be asked for."""
    return lambda call, values: matching(_member(call, spot_requests.c.launch, path), _written(call, values))


def _any(array: str, *path: str) -> Condition:
    """A filter on the members of an array in that; without a path on the texts in it."""

    def condition(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
        whole: sa.ColumnElement[Any] = sa.cast(spot_requests.c.launch, sa.Text)
        if call.tx.connection.dialect.name == "sqlite":
            each = sa.func.json_each(whole, f"$.{array}").table_valued("value")
            value: sa.ColumnElement[Any] = each.c.value
        else:
            found = sa.func.json_extract_path(sa.cast(whole, sa.JSON), array)
            function = sa.func.json_array_elements if path else sa.func.json_array_elements_text
            each = function(found).table_valued("value")
            value = each.c.value
        shown = _member(call, value, path) if path else sa.cast(value, sa.Text)
        return sa.exists().select_from(each).where(matching(shown, _written(call, values)))

    return condition


def _group_name(call: Call, values: Sequence[str]) -> sa.ColumnElement[bool]:
    """A filter on the names of groups, which a launch may also name by their ids."""
    named = call.tx.select(SecurityGroup, *SECURITY_GROUP.visible(call), matching(security_groups.c.name, values))
    return sa.or_(_any("SecurityGroups")(call, values), _any("SecurityGroupIds")(call, [group.id for group in named]))


def _written(call: Call, values: Sequence[str]) -> Sequence[str]:
    """Truths as the database has them."""
    if call.tx.connection.dialect.name != "sqlite":
        return values
    return [{"true": "1", "false": "0"}.get(value, value) for value in values]


def _members(prefix: str, array: str, paths: dict[str, tuple[str, ...]]) -> dict[str, Condition]:
    return {f"{prefix}.{name}": _any(array, *path) for name, path in paths.items()}


_GROUPS_MAX = 16  # of an interface
_ABSENT = ("availability-zone-group", "launch-group", "launch.kernel-id", "launch.ramdisk-id")
_MESSAGE = sa.case(*((spot_requests.c.status == code, message) for code, message in MESSAGES.items()))

FILTERS: dict[str, Condition] = {
    **dict.fromkeys(_ABSENT, absent),
    **_members(
        "launch.block-device-mapping",
        "BlockDeviceMappings",
        {
            "delete-on-termination": ("Ebs", "DeleteOnTermination"),
            "device-name": ("DeviceName",),
            "snapshot-id": ("Ebs", "SnapshotId"),
            "volume-size": ("Ebs", "VolumeSize"),
            "volume-type": ("Ebs", "VolumeType"),
        },
    ),
    **_members(
        "network-interface",
        "NetworkInterfaces",
        {
            "addresses.primary": ("PrivateIpAddresses", "Primary"),
            "delete-on-termination": ("DeleteOnTermination",),
            "description": ("Description",),
            "device-index": ("DeviceIndex",),
            "network-interface-id": ("NetworkInterfaceId",),
            "private-ip-address": ("PrivateIpAddress",),
            "subnet-id": ("SubnetId",),
        },
    ),
    "create-time": moment(spot_requests.c.created_at),
    "fault-code": lambda call, values: matching(_member(call, spot_requests.c.fault, ("code",)), values),
    "fault-message": lambda call, values: matching(_member(call, spot_requests.c.fault, ("message",)), values),
    "instance-id": text(spot_requests.c.instance_id),
    "launch.group-id": _any("SecurityGroupIds"),
    "launch.group-name": _group_name,
    "launch.image-id": _launch("ImageId"),
    "launch.instance-type": text(spot_requests.c.instance_type),
    "launch.key-name": _launch("KeyName"),
    "launch.monitoring-enabled": _launch("Monitoring", "Enabled"),
    "launched-availability-zone": text(spot_requests.c.zone),
    "launched-availability-zone-id": zone_id_filter(spot_requests.c.zone),
    "network-interface.group-id": lambda call, values: sa.or_(
        *(_any("NetworkInterfaces", "Groups", str(number))(call, values) for number in range(_GROUPS_MAX))
    ),
    "product-description": constant("Linux/UNIX"),
    "spot-instance-request-id": text(spot_requests.c.id),
    "spot-price": text(spot_requests.c.max_price),
    "state": text(spot_requests.c.state),
    "status-code": text(spot_requests.c.status),
    "status-message": text(_MESSAGE),
    "type": text(spot_requests.c.kind),
    "valid-from": moment(spot_requests.c.valid_from),
    "valid-until": moment(spot_requests.c.valid_until),
}
"""`tag:<key>` and `tag-key` are added by `filters.conditions`."""
