"""What EC2's operations need: each resource, its condition keys and tags, tags on create, roles that are passed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from freehold.control.volume_keys import volume_keys
from freehold.records.compute import Instance
from freehold.records.identities import InstanceProfile, Role
from freehold.records.ids import new_iam_id
from tests.cloudapi import ApiServer, api_server
from tests.ec2.launching import IMAGE, add_host, add_images, host_reports
from tests.ec2.snapshotting import host_took
from tests.front.audited import written
from tests.iam.granting import Grants, allow, denied, deny

LAUNCH = {"InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
EVERY = "arn:aws:ec2:*:*:"


@pytest.fixture(scope="module")
def grants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grants]:
    with api_server(tmp_path_factory.mktemp("cloud")) as api:
        for name in ("host-1", "host-2"):
            add_host(api.store, name, memory_mib=65536)
        add_images(api.store)
        api.client("ec2").describe_vpcs()  # makes the default VPC
        add_profile(api)
        yield Grants(api)


def add_profile(api: ApiServer) -> None:
    """An instance profile ``worker`` with a role of this name."""
    with api.store.write() as tx:
        named = ("worker", "worker", "/")
        role = Role(new_iam_id("AROA"), api.account_id, *named, "", "{}", 3600, None, None, tx.now)
        tx.insert(role, InstanceProfile(new_iam_id("AIPA"), api.account_id, *named, role.id, tx.now))


_users = iter(range(1000))


def client(grants: Grants, *statements: Any) -> Any:
    """EC2 as a new user with these statements sees it."""
    return grants.api.client("ec2", keys=grants.user(f"user-{next(_users)}", *statements))


def allowed_or(refused: bool, *said: str) -> Any:
    return denied(*said) if refused else nullcontext()


def run(ec2: Any, **changes: Any) -> str:
    answer = ec2.run_instances(**{"ImageId": IMAGE, **LAUNCH, **changes})
    return str(answer["Instances"][0]["InstanceId"])


TYPES = ("image", "instance", "volume", "network-interface", "subnet", "security-group")


@pytest.mark.parametrize("missing", [*TYPES, "key-pair", None])
def test_a_launch_needs_all_that_it_uses(grants: Grants, missing: str | None) -> None:
    root = grants.api.client("ec2")
    if not root.describe_key_pairs()["KeyPairs"]:
        root.create_key_pair(KeyName="mine", KeyType="ed25519")
    types = [one for one in (*TYPES, "key-pair") if one != missing]
    ec2 = client(grants, allow("ec2:RunInstances", [f"{EVERY}{one}/*" for one in types]))
    said = ("is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-east-1:", f":{missing}/")
    with allowed_or(missing is not None, *said, "Encoded authorization failure message: "):
        run(ec2, KeyName="mine")
    if missing == "key-pair":
        assert run(ec2)


@pytest.mark.parametrize(
    ("resource", "condition", "asked"),
    [
        ("instance/*", {"StringEquals": {"ec2:InstanceType": "t3.nano"}}, True),
        ("instance/*", {"StringEquals": {"ec2:InstanceType": "t3.micro"}}, False),
        ("instance/*", {"StringEquals": {"ec2:MetadataHttpTokens": "required", "ec2:Tenancy": "default"}}, True),
        ("instance/*", {"StringLike": {"ec2:AvailabilityZone": "us-east-1b"}}, False),
        ("instance/*", {"Bool": {"ec2:EbsOptimized": "false"}}, True),
        ("instance/*", {"StringEquals": {"ec2:CpuOptionsAmdSevSnp": "disabled"}}, True),
        ("instance/*", {"StringEquals": {"ec2:InstanceBandwidthWeighting": "vpc-1"}}, False),
        ("image/*", {"StringEquals": {"ec2:Owner": "amazon", "ec2:ImageID": IMAGE}}, True),
        ("image/*", {"StringEquals": {"ec2:Owner": "111122223333"}}, False),
        ("volume/*", {"NumericGreaterThan": {"ec2:VolumeSize": "1"}}, False),
        ("volume/*", {"StringEquals": {"ec2:VolumeType": "gp3"}}, True),
        ("volume/*", {"Bool": {"ec2:Encrypted": "true"}}, True),
        ("volume/*", {"Bool": {"ec2:Encrypted": "false"}}, False),
        ("subnet/*", {"StringLike": {"ec2:Vpc": "arn:aws:ec2:us-east-1:*:vpc/vpc-*"}}, True),
        ("subnet/*", {"StringLike": {"ec2:AvailabilityZone": "us-east-1?"}}, True),
        ("subnet/*", {"StringEquals": {"ec2:AvailabilityZoneId": "use1-az9"}}, False),
        ("security-group/*", {"ArnLike": {"ec2:Vpc": "arn:aws:ec2:*:*:vpc/*"}}, True),
        ("network-interface/*", {"Bool": {"ec2:AssociatePublicIpAddress": "true"}}, True),
        ("network-interface/*", {"Bool": {"ec2:AssociatePublicIpAddress": "false"}}, False),
    ],
)
def test_condition_keys_of_a_launch(grants: Grants, resource: str, condition: Any, asked: bool) -> None:
    others = [f"{EVERY}{one}/*" for one in TYPES if not resource.startswith(f"{one}/")]
    ec2 = client(
        grants, allow("ec2:RunInstances", others), allow("ec2:RunInstances", f"{EVERY}{resource}", **condition)
    )
    with allowed_or(not asked, f":{resource.split('/')[0]}/"):
        run(ec2)


def test_a_launch_needs_the_subnet_that_it_gets(grants: Grants) -> None:
    """Not the others that it might have got: us-east-1a comes first."""
    root = grants.api.client("ec2")
    default = {each["AvailabilityZone"]: each["SubnetId"] for each in root.describe_subnets()["Subnets"]}
    assert len(default) > 1
    others = [f"{EVERY}{one}/*" for one in TYPES if one != "subnet"]
    for zone, subnet_id in default.items():
        ec2 = client(grants, allow("ec2:RunInstances", [*others, f"{EVERY}subnet/{subnet_id}"]))
        refused = zone != "us-east-1a"
        said = f"ec2:RunInstances on resource: arn:aws:ec2:us-east-1:{grants.api.account_id}:subnet/"
        with allowed_or(refused, said + default["us-east-1a"], "Encoded authorization failure message: "):
            run(ec2, ClientToken=zone)
        with denied(said + default["us-east-1a"]) if refused else denied(code="DryRunOperation"):
            run(ec2, DryRun=True)
    elsewhere = {"StringNotEquals": {"ec2:AvailabilityZone": "us-east-1a"}}
    in_another = {"ArnNotLike": {"ec2:Subnet": f"{EVERY}subnet/{default['us-east-1a']}"}}
    for resource, condition in (("instance", elsewhere), ("volume", elsewhere), ("network-interface", in_another)):
        run(client(grants, allow("ec2:*"), deny("ec2:RunInstances", f"{EVERY}{resource}/*", **condition)))


def test_a_fleet_needs_the_subnet_that_it_gets(grants: Grants) -> None:
    root = grants.api.client("ec2")
    data = {"ImageId": IMAGE, "InstanceType": "t3.nano"}
    template = root.create_launch_template(LaunchTemplateName="of-fleets", LaunchTemplateData=data)["LaunchTemplate"]
    default = {each["AvailabilityZone"]: each["SubnetId"] for each in root.describe_subnets()["Subnets"]}
    others = [f"{EVERY}{one}/*" for one in (*TYPES, "launch-template") if one != "subnet"]
    named = {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"}
    for options in ({}, {"OnDemandOptions": {"SingleAvailabilityZone": True}}):
        for zone in ("us-east-1a", "us-east-1b"):
            subnet = allow("ec2:RunInstances", f"{EVERY}subnet/{default[zone]}")
            answer = client(grants, allow("ec2:CreateFleet"), allow("ec2:RunInstances", others), subnet).create_fleet(
                Type="instant",
                LaunchTemplateConfigs=[{"LaunchTemplateSpecification": named}],
                TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
                **options,
            )
            if zone == "us-east-1a" or options:  # with them it tries one zone after the other
                (launched,) = answer["Instances"][0]["InstanceIds"]
                (found,) = root.describe_instances(InstanceIds=[launched])["Reservations"][0]["Instances"]
                assert found["SubnetId"] == default[zone]
            else:
                assert answer["Instances"] == []
                assert "UnauthorizedOperation" in {each["ErrorCode"] for each in answer["Errors"]}


def tagged(**tags: str) -> dict[str, Any]:
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"TagSpecifications": [{"ResourceType": "instance", "Tags": pairs}]}


def test_tags_on_create(grants: Grants) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html"""
    launch = allow("ec2:RunInstances")
    with denied("ec2:CreateTags on resource: arn:aws:ec2:us-east-1:", ":instance/*"):
        run(client(grants, launch), **tagged(team="red"))
    run(client(grants, launch))
    at_launch = allow("ec2:CreateTags", f"{EVERY}instance/*", StringEquals={"ec2:CreateAction": "RunInstances"})
    ec2 = client(grants, launch, at_launch)
    instance_id = run(ec2, **tagged(team="red"))
    with denied("ec2:CreateTags on resource: ", instance_id):
        ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "team", "Value": "blue"}])


def test_a_launch_must_have_a_tag(grants: Grants) -> None:
    others = [f"{EVERY}{one}/*" for one in TYPES if one != "instance"]
    owned = {
        "StringEquals": {"aws:RequestTag/owner": "${aws:username}"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["owner"]},
    }
    keys = grants.user(
        "owner",
        allow("ec2:RunInstances", others),
        allow(["ec2:RunInstances", "ec2:CreateTags"], f"{EVERY}instance/*", **owned),
        allow("ec2:TerminateInstances", StringEquals={"ec2:ResourceTag/owner": "${aws:username}"}),
    )
    ec2 = grants.api.client("ec2", keys=keys)
    for tags in ({}, {"owner": "another"}, {"owner": "owner", "more": "1"}):
        with denied(":instance/*"):
            run(ec2, **tagged(**tags))
    mine = run(ec2, **tagged(owner="owner"))
    other = run(grants.api.client("ec2"))
    with denied(f"ec2:TerminateInstances on resource: arn:aws:ec2:us-east-1:{grants.api.account_id}:instance/{other}"):
        ec2.terminate_instances(InstanceIds=[mine, other])
    ec2.terminate_instances(InstanceIds=[mine])


def test_a_role_must_be_allowed_to_be_passed(grants: Grants) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html"""
    role = f"arn:aws:iam::{grants.api.account_id}:role/worker"
    profile = {"IamInstanceProfile": {"Name": "worker"}}
    launch = allow(["ec2:RunInstances", "ec2:AssociateIamInstanceProfile"])
    ec2 = client(grants, launch)
    with denied(f"is not authorized to perform: iam:PassRole on resource: {role} because no identity-based policy"):
        run(ec2, **profile)
    plain = run(ec2)
    with denied(f"iam:PassRole on resource: {role}"):
        ec2.associate_iam_instance_profile(InstanceId=plain, **profile)
    for service, refused in (("lambda.amazonaws.com", True), ("ec2.amazonaws.com", False)):
        ec2 = client(grants, launch, allow("iam:PassRole", role, StringEquals={"iam:PassedToService": service}))
        with allowed_or(refused, "iam:PassRole"):
            run(ec2, **profile)
    for region, refused in (("eu-west-1", True), ("us-east-1", False)):
        instances = f"arn:aws:ec2:{region}:{grants.api.account_id}:instance/*"
        ec2 = client(grants, launch, allow("iam:PassRole", role, ArnLike={"iam:AssociatedResourceArn": instances}))
        with allowed_or(refused, "iam:PassRole"):
            run(ec2, **profile)
        with allowed_or(refused, "iam:PassRole"):
            ec2.associate_iam_instance_profile(InstanceId=plain, **profile)


def open_to(grants: Grants, account_id: str, *actions: str) -> str:
    """The policy of a key of the account, which lets another one do this."""
    own = allow("kms:*") | {"Principal": {"AWS": f"arn:aws:iam::{grants.api.account_id}:root"}}
    return json.dumps({"Statement": [own, allow(list(actions)) | {"Principal": {"AWS": account_id}}]})


def test_a_customer_managed_key_must_be_allowed_to_be_used(grants: Grants) -> None:
    """https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html#ebs-encryption-permissions"""
    root = grants.api.client("kms")
    key = root.create_key()["KeyMetadata"]["Arn"]
    disk = {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": key}}]}
    launch = allow(["ec2:RunInstances", "ec2:StartInstances", "ec2:StopInstances"])
    for needed, other in (
        ("kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"),
        ("kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext"),
    ):
        ec2 = client(grants, launch, allow(other, key))
        with denied(f"is not authorized to perform: {needed} on resource: {key}"):
            run(ec2, **disk)
    via = {"StringEquals": {"kms:ViaService": "ec2.us-east-1.amazonaws.com"}}
    able = client(
        grants,
        launch,
        allow("kms:*", key, **via, Bool={"kms:GrantIsForAWSResource": "true", "aws:ViaAWSService": "true"}),
    )
    instance_id = run(able, **disk)
    able = client(grants, launch, allow("kms:*", key, StringEquals={"ec2:KmsKeyId": "another"}))
    with denied(f"on resource: {key}"):
        run(able, **disk)

    host_reports(grants.api.store, instance_id, "running")
    without = client(grants, launch)
    without.stop_instances(InstanceIds=[instance_id])
    host_reports(grants.api.store, instance_id, "stopped")
    with denied(f"is not authorized to perform: kms:CreateGrant on resource: {key}"):
        without.start_instances(InstanceIds=[instance_id])
    client(grants, launch, allow("kms:CreateGrant", key)).start_instances(InstanceIds=[instance_id])


def test_a_keys_policy_counts_for_root_too_and_may_let_in_another_account(grants: Grants) -> None:
    """https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html"""
    owner = grants.api.client("kms")
    other_id, other_keys = grants.api.create_account()
    other = grants.api.client("ec2", keys=other_keys)
    key = owner.create_key()["KeyMetadata"]["Arn"]
    disk = {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"KmsKeyId": key}}]}
    with denied(f"arn:aws:iam::{other_id}:root is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext"):
        run(other, **disk)
    owner.put_key_policy(KeyId=key, Policy=open_to(grants, other_id, "kms:CreateGrant", "kms:GenerateDataKey*"))
    instance_id = run(other, **disk)
    (volume,) = other.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])["Volumes"]
    assert volume["KmsKeyId"] == key
    with grants.api.store.read() as tx:
        keys, hopeless = volume_keys(tx, grants.api.sealer, tx.select(Instance, id=instance_id))
    assert [each.volume_id for each in keys] == [volume["VolumeId"]]
    assert not hopeless
    # An account's own root is not above the policy of its key.
    grants.api.create_role("keeper")
    keeper = f"arn:aws:iam::{grants.api.account_id}:role/keeper"
    policy = json.dumps({"Statement": [allow("kms:*") | {"Principal": {"AWS": keeper}}]})
    owner.put_key_policy(KeyId=key, Policy=policy, BypassPolicyLockoutSafetyCheck=True)
    with denied("root is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext"):
        run(grants.api.client("ec2"), **disk)


def test_another_accounts_encrypted_snapshot_needs_its_key_too(grants: Grants) -> None:
    """https://docs.aws.amazon.com/ebs/latest/userguide/share-kms-key.html"""
    owner, ec2 = grants.api.client("kms"), grants.api.client("ec2")
    other_id, other_keys = grants.api.create_account()
    other = grants.api.client("ec2", keys=other_keys)
    key = owner.create_key()["KeyMetadata"]["Arn"]
    instance_id = run(ec2, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"KmsKeyId": key}}])
    host_reports(grants.api.store, instance_id, "running")
    (volume,) = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])["Volumes"]
    snapshot_id = ec2.create_snapshot(VolumeId=volume["VolumeId"])["SnapshotId"]
    host_took(grants.api.store, snapshot_id)
    image_id = ec2.create_image(InstanceId=instance_id, Name="shared", NoReboot=True)["ImageId"]
    (disk,) = ec2.describe_images(ImageIds=[image_id])["Images"][0]["BlockDeviceMappings"]
    host_took(grants.api.store, disk["Ebs"]["SnapshotId"])
    ec2.modify_snapshot_attribute(SnapshotId=snapshot_id, CreateVolumePermission={"Add": [{"UserId": other_id}]})
    ec2.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": other_id}]})
    uses: dict[str, Any] = {
        "volume": lambda: other.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot_id),
        "copy": lambda: other.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=snapshot_id),
        "launch": lambda: run(other, ImageId=image_id),
        "read": lambda: grants.api.client("ebs", keys=other_keys).get_snapshot_block(
            SnapshotId=snapshot_id, BlockIndex=0, BlockToken="none"
        ),
    }
    for name, use in uses.items():
        code = "AccessDeniedException" if name == "read" else "UnauthorizedOperation"
        with denied("is not authorized to perform: kms:Decrypt", code=code):
            use()
    policy = open_to(grants, other_id, "kms:CreateGrant", "kms:Decrypt", "kms:ReEncrypt*")
    owner.put_key_policy(KeyId=key, Policy=policy)
    del uses["read"]  # no host is there to be asked
    for use in uses.values():
        use()
    seen = [each for each in written(grants.api.store) if each["eventName"] == "ReEncrypt"]
    assert {each["recipientAccountId"] for each in seen} == {other_id, grants.api.account_id}


def test_a_snapshot_that_is_written_by_blocks_needs_its_key(grants: Grants) -> None:
    """https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-permissions.html"""
    owner = grants.api.client("kms")
    key = owner.create_key()["KeyMetadata"]["Arn"]
    encrypted = {"VolumeSize": 1, "Encrypted": True, "KmsKeyArn": key}
    refused = {"code": "AccessDeniedException"}

    def ebs(*statements: Any) -> Any:
        return grants.api.client("ebs", keys=grants.user(f"writer-{next(_users)}", allow("ebs:*"), *statements))

    for needed, other in (
        ("kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"),
        ("kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext"),
    ):
        with denied(f"is not authorized to perform: {needed} on resource: {key}", **refused):
            ebs(allow(other, key)).start_snapshot(**encrypted)
    able = ebs(allow(["kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"], key))
    started = able.start_snapshot(**encrypted)["SnapshotId"]
    ebs().start_snapshot(VolumeSize=1)  # the AWS managed key lets in its account
    data = bytes(512 << 10)
    block = {"BlockIndex": 0, "BlockData": data, "DataLength": len(data), "ChecksumAlgorithm": "SHA256"}
    block |= {"SnapshotId": started, "Checksum": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    with denied(f"is not authorized to perform: kms:Decrypt on resource: {key}", **refused):
        able.put_snapshot_block(**block)
    with denied(code="InternalServerException"):  # no host is there to be asked
        ebs(allow("kms:Decrypt", key)).put_snapshot_block(**block)

    host_took(grants.api.store, started)
    child = {"VolumeSize": 1, "ParentSnapshotId": started}
    with denied(f"is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext on resource: {key}", **refused):
        ebs().start_snapshot(**child)
    assert able.start_snapshot(**child)["KmsKeyArn"] == key

    other_id, other_keys = grants.api.create_account()
    other = grants.api.client("ebs", keys=other_keys)
    with denied(
        f"root is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext on resource: {key}", **refused
    ):
        other.start_snapshot(**encrypted)
    owner.put_key_policy(KeyId=key, Policy=open_to(grants, other_id, "kms:CreateGrant", "kms:GenerateDataKey*"))
    assert other.start_snapshot(**encrypted)["KmsKeyArn"] == key


def test_a_launch_must_use_a_key(grants: Grants) -> None:
    key = grants.api.client("kms").create_key()["KeyMetadata"]["Arn"]
    others = [f"{EVERY}{one}/*" for one in TYPES if one != "volume"]
    with_key = allow("ec2:RunInstances", f"{EVERY}volume/*", StringEquals={"ec2:KmsKeyId": key})
    ec2 = client(grants, allow("ec2:RunInstances", others), with_key, allow("kms:*", key))
    with denied(":volume/*"):
        run(ec2)
    run(ec2, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"KmsKeyId": key}}])


def test_condition_keys_of_what_there_is(grants: Grants) -> None:
    root = grants.api.client("ec2")
    small = run(root, **tagged(stage="test"))
    large = run(root, InstanceType="t3.micro")
    ec2 = client(grants, allow("ec2:CreateTags", f"{EVERY}instance/*", StringEquals={"ec2:InstanceType": "t3.nano"}))
    ec2.create_tags(Resources=[small], Tags=[{"Key": "a", "Value": "b"}])
    with denied(large):
        ec2.create_tags(Resources=[large], Tags=[{"Key": "a", "Value": "b"}])
    ec2 = client(grants, allow("ec2:*"), deny("ec2:*", StringEquals={"aws:ResourceTag/Stage": "test"}))
    with denied("with an explicit deny in an identity-based policy"):
        ec2.create_tags(Resources=[small], Tags=[{"Key": "a", "Value": "b"}])
    ec2.create_tags(Resources=[large], Tags=[{"Key": "a", "Value": "b"}])


def test_attributes_that_may_be_changed(grants: Grants) -> None:
    instance_id = run(grants.api.client("ec2"))
    only = {"StringEquals": {"ec2:Attribute": "InstanceInitiatedShutdownBehavior"}}
    ec2 = client(grants, allow("ec2:ModifyInstanceAttribute", **only))
    ec2.modify_instance_attribute(InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"})
    with denied():
        ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})


def test_other_resources(grants: Grants) -> None:
    everything = allow("ec2:*")
    vpc_id = grants.api.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2 = client(grants, everything, deny("ec2:*", f"{EVERY}vpc/{vpc_id}"))
    with denied(f"ec2:CreateSecurityGroup on resource: arn:aws:ec2:us-east-1:{grants.api.account_id}:vpc/{vpc_id}"):
        ec2.create_security_group(GroupName="web", Description="web")
    group_id = grants.api.client("ec2").create_security_group(GroupName="web", Description="web")["GroupId"]
    ec2 = client(grants, everything, deny("ec2:*", f"{EVERY}security-group/{group_id}"))
    with denied(f":security-group/{group_id}"):
        ec2.delete_security_group(GroupName="web")
    address = grants.api.client("ec2").allocate_address()
    ec2 = client(grants, everything, deny("ec2:*", StringEquals={"ec2:PublicIpAddress": address["PublicIp"]}))
    with denied(f":elastic-ip/{address['AllocationId']}"):
        ec2.release_address(AllocationId=address["AllocationId"])
    only = {"StringEquals": {"ec2:KeyPairType": "ed25519"}}
    ec2 = client(grants, allow("ec2:CreateKeyPair", **only))
    ec2.create_key_pair(KeyName="small", KeyType="ed25519")
    with denied(":key-pair/large"):
        ec2.create_key_pair(KeyName="large")


def test_strangers_do_not_learn_what_there_is(grants: Grants) -> None:
    instance_id = run(grants.api.client("ec2"))
    ec2 = client(grants)
    for asked in (instance_id, "i-0123456789abcdef0"):
        with denied(f":instance/{asked} because no identity-based policy allows"):
            ec2.stop_instances(InstanceIds=[asked])
