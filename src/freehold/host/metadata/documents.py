"""What the metadata service tells an instance: its spec, as EC2's tree of directories and texts.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html lists the categories. What an instance
here does not have (elastic GPUs) is not in the tree and answers 404, as on EC2. All dated versions have the same tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias
from urllib.parse import unquote

from freehold.dns_names import public_dns_name
from freehold.host.wire import EventSpec, GuestSpec, InterfaceSpec, InterruptionSpec, MetadataSpec, RoleCredentials

Tree: TypeAlias = "dict[str, Tree | str | bytes]"

VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01"),
    *("2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19"),
    *("2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03"),
    *("2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest"),
)

# The tag keys that can be a name here (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html).
_TAG_KEY = re.compile(r"[A-Za-z0-9+\-=.,_:@]{1,128}")
_TAG_KEYS_RESERVED = {".", "..", "_index"}

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_EVENT_MOMENT = "%d %b %Y %H:%M:%S GMT"

_LISTING = ""  # the name of what a directory says of itself, where that is not simply its names


def find(spec: GuestSpec, path: str, credentials: RoleCredentials | None = None, now: float = 0.0) -> bytes | None:
    """The document at a path, percent-encoded as in a URL; a directory is the list of its names. None = none there.
    `credentials` of the instance's role, if it has a profile; `now` in seconds since 1970."""
    version, *names = [unquote(name) for name in path.split("/") if name] or [""]
    if not version:
        return "\n".join(VERSIONS).encode()
    if version not in VERSIONS:
        return None
    node: Tree | str | bytes = _tree(spec, credentials, now)
    for name in names:
        if not isinstance(node, dict) or name == _LISTING or name not in node:
            return None
        node = node[name]
    if isinstance(node, dict):
        node = node[_LISTING] if _LISTING in node else "\n".join(_listed(node))
    assert not isinstance(node, dict)
    return node.encode() if isinstance(node, str) else node


def _listed(tree: Tree) -> Iterator[str]:
    return (f"{name}/" if isinstance(tree[name], dict) else name for name in sorted(tree))


def _tree(spec: GuestSpec, credentials: RoleCredentials | None, now: float) -> Tree:
    tree: Tree = {
        "dynamic": {"instance-identity": {"document": _identity(spec)}},
        "meta-data": _metadata(spec) | _role(credentials) | _connect_keys(spec, now),
    }
    if spec.metadata.user_data is not None:
        tree["user-data"] = spec.metadata.user_data
    tree[_LISTING] = "\n".join(tree)
    return tree


def _metadata(spec: GuestSpec) -> Tree:
    metadata, primary = spec.metadata, spec.interfaces[0]
    tree: Tree = {
        "ami-id": metadata.image_id,
        "ami-launch-index": str(metadata.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": _devices(spec),
        "events": {"maintenance": _events(metadata.events), **_rebalance(metadata.interruption)},
        "hibernation": {"configured": "false"},
        "hostname": metadata.hostname,
        "instance-action": "none",
        "instance-id": spec.instance_id,
        "instance-life-cycle": "spot" if metadata.spot else "on-demand",
        "instance-type": metadata.instance_type,
        "local-hostname": metadata.hostname,
        "local-ipv4": primary.private_ip,
        "mac": primary.mac_address,
        "network": {
            "interfaces": {"macs": {each.mac_address: _interface(spec, each) for each in spec.interfaces}},
        },
        "placement": _placement(metadata),
        "profile": "default-hvm",
        "reservation-id": metadata.reservation_id,
        "security-groups": "\n".join(name for _, name in primary.security_groups),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if primary.public_ip is not None:
        tree["public-hostname"] = public_dns_name(metadata.region, primary.public_ip)
        tree["public-ipv4"] = primary.public_ip
    if metadata.interruption is not None:
        tree["spot"] = _spot(metadata.interruption)
    if metadata.public_keys:
        keys: Tree = {str(number): {"openssh-key": f"{key}\n"} for number, (_, key) in enumerate(metadata.public_keys)}
        keys[_LISTING] = "\n".join(f"{number}={name}" for number, (name, _) in enumerate(metadata.public_keys))
        tree["public-keys"] = keys
    if metadata.tags is not None:
        shown = {key: value for key, value in metadata.tags.items() if _TAG_KEY.fullmatch(key)}
        tree["tags"] = {"instance": {key: shown[key] for key in shown.keys() - _TAG_KEYS_RESERVED}}
    return tree


def _spot(interruption: InterruptionSpec) -> Tree:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""
    at = f"{interruption.at:{_MOMENT}}"
    tree: Tree = {"instance-action": json.dumps({"action": interruption.action, "time": at})}
    if interruption.action == "terminate":
        tree["termination-time"] = at
    return tree


def _rebalance(interruption: InterruptionSpec | None) -> Tree:
    """It may come with the notice: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html"""
    if interruption is None:
        return {}
    return {"recommendations": {"rebalance": json.dumps({"noticeTime": f"{interruption.noticed_at:{_MOMENT}}"})}}


def _placement(metadata: MetadataSpec) -> Tree:
    placement: Tree = {"availability-zone": metadata.zone, "region": metadata.region}
    if metadata.placement_group is not None:
        placement["group-name"] = metadata.placement_group
    if metadata.partition_number is not None:
        placement["partition-number"] = str(metadata.partition_number)
    return placement


def _events(events: Sequence[EventSpec]) -> Tree:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html"""
    words = {"active": "", "completed": "[Completed] ", "canceled": "[Canceled] "}

    def shown(event: EventSpec) -> dict[str, str]:
        document = {
            "NotBefore": f"{event.not_before:{_EVENT_MOMENT}}",
            "Code": event.code,
            "Description": words[event.state] + event.description,
            "EventId": event.event_id,
        }
        if event.not_after is not None:
            document["NotAfter"] = f"{event.not_after:{_EVENT_MOMENT}}"
        return {**document, "State": event.state}

    return {
        "history": json.dumps([shown(event) for event in events if event.state != "active"], indent=2),
        "scheduled": json.dumps([shown(event) for event in events if event.state == "active"], indent=2),
    }


def _role(credentials: RoleCredentials | None) -> Tree:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html"""
    if credentials is None or credentials.role is None or credentials.issued_at is None:
        return {}
    updated = {"LastUpdated": f"{credentials.issued_at:{_MOMENT}}"}
    info = {"InstanceProfileArn": credentials.profile_arn, "InstanceProfileId": credentials.profile_id}
    keys: dict[str, str] = {}
    if credentials.expires_at is None:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html
        keys["Code"] = "AssumeRoleUnauthorizedAccess"
        keys["Message"] = (
            f"EC2 cannot assume the role {credentials.role}. Please see documentation at "
            "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html"
            "#troubleshoot_iam-ec2_errors-info-doc."
        )
        keys |= updated
    else:
        keys |= {"Code": "Success", **updated, "Type": "AWS-HMAC"}
        keys["AccessKeyId"] = credentials.access_key_id
        keys["SecretAccessKey"] = credentials.secret_access_key
        keys["Token"] = credentials.session_token
        keys["Expiration"] = f"{credentials.expires_at:{_MOMENT}}"
    return {
        "iam": {
            "info": json.dumps({"Code": "Success", **updated, **info}, indent=2),
            "security-credentials": {credentials.role: json.dumps(keys, indent=2)},
        }
    }


def _connect_keys(spec: GuestSpec, now: float) -> Tree:
    """Those that still count, under the names of their users, as EC2 Instance Connect's own programs know them. They
    are not signed: who asks here knows whose word it is."""
    users: dict[str, str] = {}
    for key in spec.metadata.connect_keys:
        if key.expires_at.timestamp() > now:
            head = (
                f"#Timestamp={int(key.expires_at.timestamp())}\n#Instance={spec.instance_id}\n"
                f"#Caller={key.caller_arn}\n#Request={key.request_id}\n"
            )
            users[key.os_user] = users.get(key.os_user, "") + head + key.public_key + "\n"
    return {"managed-ssh-keys": {"active-keys": {**users}}} if users else {}


def _devices(spec: GuestSpec) -> Tree:
    devices: Tree = {}
    others = 0
    for volume in spec.volumes:
        if volume.boot:
            devices["ami"] = devices["root"] = volume.device
        else:
            others += 1
            devices[f"ebs{others}"] = volume.device.removeprefix("/dev/")
    return devices


def _interface(spec: GuestSpec, interface: InterfaceSpec) -> Tree:
    tree: Tree = {
        "device-number": str(interface.device_index),
        "interface-id": interface.interface_id,
        "local-hostname": spec.metadata.hostname,
        "local-ipv4s": interface.private_ip,
        "mac": interface.mac_address,
        "network-card": "0",
        "owner-id": spec.metadata.account_id,
        "security-group-ids": "\n".join(each for each, _ in interface.security_groups),
        "security-groups": "\n".join(name for _, name in interface.security_groups),
        "subnet-id": interface.subnet_id,
        "subnet-ipv4-cidr-block": interface.subnet_cidr,
        "vpc-id": interface.vpc_id,
        "vpc-ipv4-cidr-block": interface.vpc_cidr,
        "vpc-ipv4-cidr-blocks": interface.vpc_cidr,
    }
    if interface.public_ip is not None:
        tree["ipv4-associations"] = {interface.public_ip: interface.private_ip}
        tree["public-hostname"] = public_dns_name(spec.metadata.region, interface.public_ip)
        tree["public-ipv4s"] = interface.public_ip
    return tree


def _identity(spec: GuestSpec) -> str:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html, unsigned."""
    metadata = spec.metadata
    document = {
        "accountId": metadata.account_id,
        "architecture": "x86_64",
        "availabilityZone": metadata.zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": metadata.image_id,
        "instanceId": spec.instance_id,
        "instanceType": metadata.instance_type,
        "kernelId": None,
        "pendingTime": f"{metadata.launched_at:{_MOMENT}}",
        "privateIp": spec.interfaces[0].private_ip,
        "ramdiskId": None,
        "region": metadata.region,
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2, separators=(",", " : "))
