"""What an account may hold: each quota stops the operation that would go beyond it, and nothing before."""

from __future__ import annotations

from freehold.config import Config
from freehold.quotas import (
    GROUPS_PER_INTERFACE,
    IMAGES,
    LAUNCH_TEMPLATE_VERSIONS,
    LAUNCH_TEMPLATES,
    PROVISIONED_IOPS,
    RUNNING_VCPUS,
    SNAPSHOTS,
    STORAGE_TIB,
)
from freehold.records.quotas import AppliedQuota
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import census, launch, launch_one, run_one, shown, stop, terminate


def allow(caller: Caller, **values: float) -> None:
    """Only so much by default."""
    caller.config = Config(quotas={name.replace("_", "-"): value for name, value in values.items()})


def test_instances_have_so_many_vcpus_at_once(ready: Caller, stranger: Caller) -> None:
    allow(ready, **{RUNNING_VCPUS: 4})
    allow(stranger, **{RUNNING_VCPUS: 4})
    first = run_one(ready, InstanceType="t3.nano")
    assert len(launch(ready, MinCount=1, MaxCount=5)["Instances"]) == 2  # as many as there may be
    before = census(ready.store)
    with refused("VcpuLimitExceeded") as caught:
        launch(ready)
    assert "your current vCPU limit of 4" in caught.value.message
    assert census(ready.store) == before
    launch_one(stranger)
    stop(ready, first)
    launch(ready, MinCount=2, MaxCount=2)
    with refused("VcpuLimitExceeded"):
        ready.start_instances(InstanceIds=[first])
    with ready.store.write() as tx:
        tx.insert(AppliedQuota(ready.account, "us-east-1", RUNNING_VCPUS, 6))
    ready.start_instances(InstanceIds=[first])
    with refused("VcpuLimitExceeded"):
        launch(ready)
    terminate(ready, first)
    launch(ready, MinCount=2, MaxCount=2)


def test_a_launch_that_was_made_is_answered_beyond_the_quota(ready: Caller) -> None:
    made = launch(ready, ClientToken="once")
    allow(ready, **{RUNNING_VCPUS: 0})
    assert launch(ready, ClientToken="once") == made


def test_volumes_hold_so_much(ready: Caller) -> None:
    allow(ready, **{STORAGE_TIB["gp3"]: 1})
    big = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 600}}]
    instance_id = run_one(ready, BlockDeviceMappings=big)
    with refused("VolumeLimitExceeded") as caught:
        launch(ready, BlockDeviceMappings=big)
    assert "maximum gp3 storage limit of 1 TiB" in caught.value.message
    launch(ready, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 600, "VolumeType": "gp2"}}])
    terminate(ready, instance_id)
    launch(ready, BlockDeviceMappings=big)
    zone = {"AvailabilityZone": "us-east-1a"}
    with refused("VolumeLimitExceeded"):
        ready.create_volume(Size=500, VolumeType="gp3", **zone)
    ready.create_volume(Size=424, VolumeType="gp3", **zone)


def test_volumes_do_so_much_in_a_second(ready: Caller) -> None:
    allow(ready, **{PROVISIONED_IOPS["io2"]: 1000})
    request = {"AvailabilityZone": "us-east-1a", "Size": 10, "VolumeType": "io2"}
    ready.create_volume(Iops=600, **request)
    with refused("MaxIOPSLimitExceeded"):
        ready.create_volume(Iops=401, **request)
    ready.create_volume(Iops=400, **request)


def test_the_disks_of_a_launch_do_so_much_in_a_second(ready: Caller) -> None:
    allow(ready, **{PROVISIONED_IOPS["io2"]: 1000})
    two = [
        {"DeviceName": device, "Ebs": {"VolumeSize": 10, "VolumeType": "io2", "Iops": 200}}
        for device in ("/dev/xvda", "/dev/sdf")
    ]
    with refused("MaxIOPSLimitExceeded"):
        launch(ready, MinCount=3, MaxCount=3, BlockDeviceMappings=two)
    launch(ready, MinCount=2, MaxCount=2, BlockDeviceMappings=two)
    with refused("MaxIOPSLimitExceeded"):
        launch(ready, BlockDeviceMappings=[two[0], two[1] | {"DeviceName": "/dev/sdg"}])
    launch(ready, BlockDeviceMappings=two[:1])


def test_launch_templates_and_their_versions_are_so_many(ready: Caller) -> None:
    allow(ready, **{LAUNCH_TEMPLATES: 1, LAUNCH_TEMPLATE_VERSIONS: 2})
    data = {"InstanceType": "fh1.nano"}
    ready.create_launch_template(LaunchTemplateName="one", LaunchTemplateData=data)
    with refused("ResourceLimitExceeded"):
        ready.create_launch_template(LaunchTemplateName="two", LaunchTemplateData=data)
    ready.create_launch_template_version(LaunchTemplateName="one", LaunchTemplateData=data)
    with refused("ResourceLimitExceeded"):
        ready.create_launch_template_version(LaunchTemplateName="one", LaunchTemplateData=data)
    ready.delete_launch_template_versions(LaunchTemplateName="one", Versions=["2"])
    ready.create_launch_template_version(LaunchTemplateName="one", LaunchTemplateData=data)


def test_an_account_says_what_it_may_hold(ready: Caller) -> None:
    allow(ready, **{GROUPS_PER_INTERFACE: 1})
    group_ids = [ready.create_security_group(GroupName=name, Description=name)["GroupId"] for name in ("a", "b")]
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        launch(ready, SecurityGroupIds=group_ids)
    (attribute,) = ready.describe_account_attributes(AttributeNames=["vpc-max-security-groups-per-interface"])[
        "AccountAttributes"
    ]
    assert attribute["AttributeValues"] == [{"AttributeValue": "1"}]


def test_snapshots_are_so_many(ready: Caller) -> None:
    allow(ready, **{SNAPSHOTS: 1})
    instance_id = run_one(ready)
    (mapping,) = shown(ready, instance_id)["BlockDeviceMappings"]
    volume_id = mapping["Ebs"]["VolumeId"]
    first = ready.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    with refused("SnapshotLimitExceeded"):
        ready.create_snapshot(VolumeId=volume_id)
    with refused("SnapshotLimitExceeded"):
        ready.create_snapshots(InstanceSpecification={"InstanceId": instance_id})
    ready.delete_snapshot(SnapshotId=first)


def test_images_are_so_many(ready: Caller) -> None:
    allow(ready, **{IMAGES: 1})
    instance_id = run_one(ready)
    ready.create_image(InstanceId=instance_id, Name="one", NoReboot=True)
    with refused("ResourceLimitExceeded"):
        ready.create_image(InstanceId=instance_id, Name="two", NoReboot=True)
