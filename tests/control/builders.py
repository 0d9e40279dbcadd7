"""Records for tests of the controllers: an account with one VPC, and instances in it."""

from __future__ import annotations

from typing import Any

from freehold.records.compute import Host, Instance, MetadataOptions, Volume, VolumeAttachment
from freehold.records.ids import AccountId, HostId, InstanceId, SubnetId, VolumeId, VpcId, new_id
from freehold.records.network import (
    InterfaceGroup,
    InternetGateway,
    NetworkInterface,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Vpc,
)
from freehold.records.store import Transaction
from freehold.records.usage import open_usage

ACCOUNT = AccountId("111122223333")
REGION = "us-east-1"
HOST = HostId("host-1")


def make_network(tx: Transaction) -> None:
    """vpc-1 with subnet-1 (10.0.0.0/24), an internet gateway, and the groups sg-1 (SSH from anywhere) and sg-2."""
    common = (ACCOUNT, REGION)
    tx.insert(
        Vpc(VpcId("vpc-1"), *common, "10.0.0.0/16", True, "default", 1, tx.now),
        Subnet(SubnetId("subnet-1"), *common, VpcId("vpc-1"), "us-east-1a", "10.0.0.0/24", True, True, tx.now),
        InternetGateway("igw-1", *common, VpcId("vpc-1"), tx.now),
        RouteTable(
            "rtb-1", *common, VpcId("vpc-1"), "rtbassoc-1", (Route("0.0.0.0/0", "igw-1", "CreateRoute"),), tx.now
        ),
        SecurityGroup("sg-1", *common, VpcId("vpc-1"), "web", "d", tx.now),
        SecurityGroup("sg-2", *common, VpcId("vpc-1"), "db", "d", tx.now),
        SecurityGroupRule("sgr-1", *common, "sg-1", False, "tcp", 22, 22, "0.0.0.0/0", None, None, None, tx.now),
        SecurityGroupRule("sgr-2", *common, "sg-1", False, "-1", -1, -1, None, "::/0", None, None, tx.now),
        SecurityGroupRule("sgr-3", *common, "sg-1", False, "icmp", 8, -1, None, None, "sg-2", None, tx.now),
    )


def make_host(tx: Transaction) -> None:
    tx.insert(Host(HOST, None, 8, 4096, 0, 0, "tcg", True, tx.now))


def make_bare_instance(tx: Transaction, number: int = 5, **changes: Any) -> Instance:
    """The instance alone."""
    fields: dict[str, Any] = {
        "id": InstanceId(new_id("i")),
        "account_id": ACCOUNT,
        "region": REGION,
        "zone": "us-east-1a",
        "vpc_id": VpcId("vpc-1"),
        "subnet_id": SubnetId("subnet-1"),
        "private_ip": f"10.0.0.{number}",
        "reservation_id": "r-1",
        "launch_index": 0,
        "image_id": "ami-1",
        "instance_type": "t3.nano",
        "vcpus": 2,
        "memory_mib": 512,
        "key_name": None,
        "client_token": None,
        "state": "pending",
        "state_reason": None,
        "state_transition_reason": "",
        "shutdown_behavior": "stop",
        "disable_api_termination": False,
        "disable_api_stop": False,
        "ebs_optimized": False,
        "monitoring": False,
        "root_device_name": "/dev/xvda",
        "metadata_options": MetadataOptions(),
        "host_id": HOST,
        "generation": 1,
        "reboots": 0,
        "launched_at": tx.now,
        "terminated_at": None,
        "holds_capacity": True,
    }
    instance = Instance(**(fields | changes))
    tx.insert(instance)
    return instance


def make_instance(tx: Transaction, number: int = 5, **changes: Any) -> Instance:
    """An instance on HOST that is pending, with a root volume and one interface at 10.0.0.<number>."""
    instance = make_bare_instance(tx, number, **changes)
    interface = NetworkInterface(
        id=new_id("eni"),
        account_id=ACCOUNT,
        region=REGION,
        vpc_id=instance.vpc_id,
        subnet_id=instance.subnet_id,
        zone=instance.zone,
        description="",
        mac_address=f"02:00:00:00:00:{number:02x}",
        private_ip=instance.private_ip,
        source_dest_check=True,
        instance_id=instance.id,
        attachment_id=new_id("eni-attach"),
        device_index=0,
        delete_on_termination=True,
        attached_at=tx.now,
        host_id=HOST,
        created_at=tx.now,
    )
    volume = Volume(
        id=VolumeId(new_id("vol")),
        account_id=ACCOUNT,
        region=REGION,
        zone=instance.zone,
        size_gib=8,
        volume_type="gp3",
        iops=3000,
        throughput_mibps=125,
        image_id=instance.image_id,
        state="in-use",
        host_id=HOST,
        created_at=tx.now,
    )
    attachment = VolumeAttachment(
        volume_id=volume.id,
        instance_id=instance.id,
        account_id=ACCOUNT,
        region=REGION,
        device="/dev/xvda",
        state="attached",
        delete_on_termination=True,
        attached_at=tx.now,
    )
    tx.insert(interface, volume, attachment, InterfaceGroup(interface.id, "sg-1", 0))
    open_usage(tx, ACCOUNT, REGION, volume.id, "volume:gp3", volume.size_gib)
    return instance
