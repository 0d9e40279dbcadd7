"""One account's things do not exist for another: every operation, by root and by an administrator of the other.

Each is called with the ids, names and ARNs of what the first account has, wherever its input takes some. It may be
refused or do something in the caller's own account; it must not show nor change anything of the first.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import ListShape, Shape, StringShape, StructureShape

from freehold.quotas import ELASTIC_IPS, SECURITY_GROUPS
from freehold.records.compute import Volume
from freehold.records.events import InstanceEvent
from freehold.records.ids import HostId, InstanceId, SnapshotId, new_id
from freehold.records.quotas import AppliedQuota
from freehold.records.schema import TABLES
from freehold.records.snapshots import Snapshot, WrittenBlock
from freehold.records.trails import Bucket
from tests.cloudapi import ApiServer, api_server
from tests.ec2.launching import IMAGE, add_host, add_images, host_reports
from tests.ec2.snapshotting import host_took
from tests.front.audited import written
from tests.front.test_walk import BUILT, NAMED, least
from tests.iam.granting import Grants, allow

TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}},
}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": allow("s3:*")})

# Names beside the ids of the same things, which may not be given together.
NOT_WITH_OTHERS = {"ec2": ("Arn", "GroupName", "KeyName", "LaunchTemplateName", "PublicIp")}
# What controllers write, and nobody can name; and what an account may do with others' images.
NOT_MADE = {"image_permissions", "service_uses", "traffic_counters", "trail_digests", "trail_log_files"}
TELLS = {"GetAccessKeyInfo"}  # whose a key is: that is what it is for


class Owner:
    """An account that has something of everything; `values` are what it is named by, by members of requests."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.account_id, self.keys = api.create_account("owner")
        self._ec2, self._iam, self._kms = (api.client(service, keys=self.keys) for service in ("ec2", "iam", "kms"))
        self.values: dict[str, str] = {}
        self.own: dict[str, dict[str, str]] = {}  # values of members that another service calls so too
        self._fill_iam()
        self._fill_ec2()
        self._fill_kms()
        self._fill_cloudtrail()
        self._fill_capacity()
        self._fill_snapshots()
        telling = re.compile(r"[0-9a-fA-F]{8}|[A-Z0-9]{16}")
        self.secrets = {value for value in self.values.values() if telling.search(value)} - {IMAGE}
        self.secrets.add(self.account_id)

    def _fill_iam(self) -> None:
        iam = self._iam
        user = iam.create_user(UserName="alice", Tags=[{"Key": "secret", "Value": "red"}])["User"]
        iam.create_group(GroupName="team")
        iam.add_user_to_group(GroupName="team", UserName="alice")
        role = iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
        profile = iam.create_instance_profile(InstanceProfileName="worker")["InstanceProfile"]
        iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
        policy = iam.create_policy(PolicyName="look", PolicyDocument=POLICY)["Policy"]
        iam.attach_user_policy(UserName="alice", PolicyArn=policy["Arn"])
        iam.put_user_policy(UserName="alice", PolicyName="own", PolicyDocument=POLICY)
        key = iam.create_access_key(UserName="alice")["AccessKey"]
        device = iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
        provider = iam.create_open_id_connect_provider(Url="https://example.com", ClientIDList=["a"])
        iam.create_login_profile(UserName="alice", Password="Correct-horse-1")
        iam.update_account_password_policy(MinimumPasswordLength=12)
        iam.create_account_alias(AccountAlias="owners-own")
        iam.generate_credential_report()
        report = iam.generate_service_last_accessed_details(Arn=user["Arn"])
        own_role = iam.create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com")["Role"]
        deletion = iam.delete_service_linked_role(RoleName=own_role["RoleName"])
        self.values |= {
            "AssumeRolePolicyDocument": json.dumps(TRUST),
            "AuthenticationCode1": "123456",
            "AuthenticationCode2": "654321",
            "DeletionTaskId": deletion["DeletionTaskId"],
            "JobId": report["JobId"],
            "PolicyDocument": POLICY,
            "Url": "https://example.com",
            "VersionId": "v1",
            "AccessKeyId": key["AccessKeyId"],
            "Arn": user["Arn"],
            "GroupName": "team",
            "InstanceProfileName": "worker",
            "OpenIDConnectProviderArn": provider["OpenIDConnectProviderArn"],
            "PolicyArn": policy["Arn"],
            "PolicyName": "own",
            "PolicySourceArn": user["Arn"],
            "RoleArn": role["Arn"],
            "RoleName": "worker",
            "SerialNumber": device["SerialNumber"],
            "UserName": "alice",
            "profile": profile["InstanceProfileId"],
            "user": user["UserId"],
            "role": role["RoleId"],
        }

    def _fill_ec2(self) -> None:
        ec2 = self._ec2
        key = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
        shown = ec2.describe_key_pairs(KeyNames=["mine"], IncludePublicKey=True)["KeyPairs"][0]
        self._public_key: str = shown["PublicKey"]
        (instance,) = ec2.run_instances(
            ImageId=IMAGE,
            InstanceType="t3.nano",
            MinCount=1,
            MaxCount=1,
            KeyName="mine",
            IamInstanceProfile={"Name": "worker"},
        )["Instances"]
        instance_id = instance["InstanceId"]
        (interface,) = instance["NetworkInterfaces"]
        (volume,) = ec2.describe_volumes()["Volumes"]
        address = ec2.allocate_address()
        ec2.modify_ebs_default_kms_key_id(KmsKeyId=f"arn:aws:kms:us-east-1:{self.account_id}:key/{uuid.uuid4()}")
        template = ec2.create_launch_template(
            LaunchTemplateName="mine", LaunchTemplateData={"InstanceType": "t3.nano"}
        )["LaunchTemplate"]
        group_id = interface["Groups"][0]["GroupId"]
        rule = ec2.describe_security_group_rules()["SecurityGroupRules"][0]
        profiles = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
        self.values |= {
            "AllocationId": address["AllocationId"],
            "AssociationId": profiles[0]["AssociationId"],
            "GroupId": group_id,
            "GroupIds": group_id,
            "ImageId": IMAGE,
            "InstanceId": instance_id,
            "InstanceIds": instance_id,
            "KeyName": "mine",
            "KeyPairId": key["KeyPairId"],
            "LaunchTemplateId": template["LaunchTemplateId"],
            "LaunchTemplateIds": template["LaunchTemplateId"],
            "NetworkInterfaceId": interface["NetworkInterfaceId"],
            "NetworkInterfaceIds": interface["NetworkInterfaceId"],
            "PublicIp": address["PublicIp"],
            "PublicIps": address["PublicIp"],
            "AllocationIds": address["AllocationId"],
            "ResourceId": instance_id,
            "Resources": instance_id,
            "SecurityGroupRuleId": rule["SecurityGroupRuleId"],
            "SecurityGroupRuleIds": rule["SecurityGroupRuleId"],
            "SubnetId": instance["SubnetId"],
            "SubnetIds": instance["SubnetId"],
            "VolumeId": volume["VolumeId"],
            "VolumeIds": volume["VolumeId"],
            "VpcId": instance["VpcId"],
            "VpcIds": instance["VpcId"],
        }

    def _fill_kms(self) -> None:
        kms = self._kms
        key = kms.create_key(Tags=[{"TagKey": "secret", "TagValue": "red"}])["KeyMetadata"]
        kms.create_alias(AliasName="alias/mine", TargetKeyId=key["KeyId"])
        operations = ["Encrypt"]
        grant = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=self.values["Arn"], Operations=operations)
        sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"secret")["CiphertextBlob"]
        self.ciphertext = sealed
        self.values |= {
            "AliasName": "alias/mine",
            "DestinationKeyId": key["Arn"],
            "GrantId": grant["GrantId"],
            "GrantToken": grant["GrantToken"],
            "KeyId": key["Arn"],
            "TargetKeyId": key["Arn"],
        }

    def _fill_cloudtrail(self) -> None:
        with self.api.store.write() as tx:
            tx.insert(Bucket("logs", self.account_id, "us-east-1", tx.now))
        cloudtrail = self.api.client("cloudtrail", keys=self.keys)
        trail = cloudtrail.create_trail(Name="mine", S3BucketName="logs", TagsList=[{"Key": "secret", "Value": "red"}])
        cloudtrail.start_logging(Name="mine")
        arn = trail["TrailARN"]
        names = ("Name", "ResourceId", "ResourceIdList", "TrailName", "trailNameList")
        self.own["cloudtrail"] = {"S3BucketName": "logs", **dict.fromkeys(names, arn)}

    def _fill_capacity(self) -> None:
        """What is there around instances, and quotas."""
        ec2, instance_id, zone = self._ec2, self.values["InstanceId"], "us-east-1a"
        host_reports(self.api.store, instance_id, "running")
        group = ec2.create_placement_group(GroupName="mine", Strategy="spread")["PlacementGroup"]
        launch = {"InstanceType": "t3.nano", "AvailabilityZone": zone}
        reservation = ec2.create_capacity_reservation(**launch, InstancePlatform="Linux/UNIX", InstanceCount=1)
        ec2.modify_instance_metadata_defaults(HttpTokens="required")
        ec2.enable_serial_console_access()
        ec2.modify_default_credit_specification(InstanceFamily="t3", CpuCredits="standard")
        task = ec2.create_replace_root_volume_task(InstanceId=instance_id)["ReplaceRootVolumeTask"]
        ec2.report_instance_status(Instances=[instance_id], ReasonCodes=["other"], Status="impaired")
        connect = self.api.client("ec2-instance-connect", keys=self.keys)
        connect.send_ssh_public_key(InstanceId=instance_id, InstanceOSUser="root", SSHPublicKey=self._public_key)
        spot = ec2.request_spot_instances(LaunchSpecification={"ImageId": IMAGE, "InstanceType": "t3.nano"})
        (requested,) = spot["SpotInstanceRequests"]
        template = ec2.create_launch_template(LaunchTemplateName="fleet", LaunchTemplateData={"ImageId": IMAGE})
        specification = {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"], "Version": "1"}
        fleet = ec2.create_fleet(
            Type="instant",
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": specification, "Overrides": [{"InstanceType": "t3.nano"}]}
            ],
        )
        window = ec2.create_instance_event_window(CronExpression="* 0-4 * * SUN")["InstanceEventWindow"]
        target = {"InstanceIds": [instance_id]}
        window_id = window["InstanceEventWindowId"]
        ec2.associate_instance_event_window(InstanceEventWindowId=window_id, AssociationTarget=target)
        quotas = self.api.client("service-quotas", keys=self.keys)
        of = {"ServiceCode": "ec2", "QuotaCode": ELASTIC_IPS}
        increase = quotas.request_service_quota_increase(**of, DesiredValue=100_000)["RequestedQuota"]
        with self.api.store.write() as tx:
            event_id, when = "instance-event-0123456789abcdef0", tx.now + dt.timedelta(days=1)
            what = (InstanceId(instance_id), "system-maintenance", "maintenance", when, when, when, tx.now, 0)
            tx.insert(
                InstanceEvent(event_id, self.account_id, "us-east-1", *what),
                AppliedQuota(self.account_id, "us-east-1", SECURITY_GROUPS, 9),
            )
        self.values |= {
            "CapacityReservationId": reservation["CapacityReservation"]["CapacityReservationId"],
            "CapacityReservationIds": reservation["CapacityReservation"]["CapacityReservationId"],
            "FleetId": fleet["FleetId"],
            "FleetIds": fleet["FleetId"],
            "InstanceEventId": event_id,
            "InstanceEventWindowId": window_id,
            "InstanceEventWindowIds": window_id,
            "ReplaceRootVolumeTaskIds": task["ReplaceRootVolumeTaskId"],
            "SpotInstanceRequestIds": requested["SpotInstanceRequestId"],
        }
        self.own["service-quotas"] = {**of, "RequestId": increase["Id"]}
        self.own["ec2-instance-connect"] = {"InstanceOSUser": "root", "SSHPublicKey": self._public_key}
        self.group_id = group["GroupId"]

    def _fill_snapshots(self) -> None:
        ec2, store = self._ec2, self.api.store
        with store.write() as tx:
            (volume, *_) = tx.select(Volume, account_id=self.account_id)
            snapshot = Snapshot(
                id=SnapshotId(new_id("snap")),
                account_id=self.account_id,
                region="us-east-1",
                zone=volume.zone,
                volume_id=volume.id,
                host_id=volume.host_id or HostId("host-1"),
                instant="instant-1",
                size_gib=volume.size_gib,
                description="secret red",
                state="pending",
                started_at=tx.now,
                encrypted=False,
                kms_key_id=None,
            )
            tx.insert(snapshot)
        host_took(store, snapshot.id)
        ec2.modify_snapshot_attribute(
            SnapshotId=snapshot.id, Attribute="createVolumePermission", OperationType="add", UserIds=["999999999999"]
        )
        ec2.lock_snapshot(SnapshotId=snapshot.id, LockMode="governance", LockDuration=1)
        ec2.enable_fast_snapshot_restores(AvailabilityZones=[volume.zone], SourceSnapshotIds=[snapshot.id])
        ec2.enable_snapshot_block_public_access(State="block-all-sharing")
        names = ("SnapshotId", "SnapshotIds", "SourceSnapshotId", "SourceSnapshotIds")
        self.values |= dict.fromkeys(names, snapshot.id)
        with store.write() as tx:
            tx.insert(WrittenBlock(snapshot.id, 0, self.account_id, "sum"))
        ec2.modify_volume(VolumeId=volume.id, Size=volume.size_gib + 1)
        bin_ = self.api.client("rbin", keys=self.keys)
        period = {"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"}
        rule = bin_.create_rule(
            ResourceType="EBS_SNAPSHOT",
            RetentionPeriod=period,
            ResourceTags=[{"ResourceTagKey": "secret", "ResourceTagValue": "red"}],
        )
        self.own["rbin"] = {"Identifier": rule["Identifier"], "ResourceArn": rule["RuleArn"]}
        root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot.id}}
        past = ec2.register_image(Name="past", RootDeviceName="/dev/xvda", BlockDeviceMappings=[root])["ImageId"]
        ec2.deregister_image(ImageId=past)
        image = ec2.register_image(Name="mine", RootDeviceName="/dev/xvda", BlockDeviceMappings=[root])["ImageId"]
        imported = ec2.import_image(DiskContainers=[{"SnapshotId": snapshot.id}])["ImportTaskId"]
        self.values |= dict.fromkeys(("ImportTaskId", "ImportTaskIds"), imported)
        ec2.disable_image_block_public_access()
        ec2.enable_allowed_images_settings(AllowedImagesSettingsState="audit-mode")
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": "999999999999"}]})
        self.values |= dict.fromkeys(("ImageId", "ImageIds", "SourceImageId"), image)
        mark = ec2.attach_image_watermark(ImageId=image, WatermarkName="mine")
        self.values["WatermarkKey"] = mark["WatermarkKey"]

    def rows(self) -> dict[str, list[str]]:
        """All rows of the account, but for what is written of calls."""
        with self.api.store.read() as tx:
            return {
                table.name: sorted(
                    repr(tuple(row))
                    for row in tx.connection.execute(table.select().where(table.c.account_id == self.account_id))
                )
                for table in TABLES.values()
                if "account_id" in table.c and not table.name.startswith(("audit", "changes", "access_key_uses"))
            }

    def asked(self, service: str, shape: Shape, depth: int = 0) -> Any:
        """An input of the shape that names all that it can of what the account has."""
        found: dict[str, Any] = least(shape, depth)
        assert isinstance(shape, StructureShape)
        values = self.values | self.own.get(service, {})
        for name, member in shape.members.items():
            if name in NOT_WITH_OTHERS.get(service, ()):
                continue
            match member:
                case StringShape() if name in values:
                    found[name] = values[name]
                case ListShape() if isinstance(member.member, StringShape) and name in values:
                    found[name] = [values[name]]
                case StructureShape() if depth < 2 and name in shape.required_members:
                    found[name] = self.asked(service, member, depth + 1)
                case _ if name in ("CiphertextBlob",):
                    found[name] = self.ciphertext
        return found


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    with api_server(tmp_path_factory.mktemp("cloud")) as api:
        add_host(api.store)
        add_images(api.store)
        yield Owner(api)


def shown(answer: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """What an answer says that was not said to it."""
    text = repr({name: value for name, value in answer.items() if name != "ResponseMetadata"})
    for value in re.findall(r"'([^']{6,})'", repr(params)):
        text = text.replace(value, "")
    return text


def call(client: Any, name: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer, or the error that is one."""
    try:
        answer: Mapping[str, Any] = getattr(client, xform_name(name))(**params)
    except ClientError as error:
        return {"Error": error.response["Error"]}
    return answer


def asked(owner: Owner, service: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation of the service that takes an input, with one."""
    for operation in BUILT.operations.values():
        shape = operation.model.input_shape
        if operation.service == service and isinstance(shape, StructureShape) and operation.name not in TELLS:
            params = owner.asked(service, shape)
            yield operation.name, NAMED.get(f"{service}.{operation.name}", {}) | params


@pytest.mark.parametrize("service", BUILT.models)
@pytest.mark.parametrize("caller", ["root", "administrator"])
def test_another_accounts_things_do_not_exist(owner: Owner, service: str, caller: str) -> None:
    api = owner.api
    keys = api.root if caller == "root" else Grants(api).user(f"administrator-{service}", allow("*"))
    client = api.client(service, keys=keys, parameter_validation=False)
    before = owner.rows()
    for name, params in asked(owner, service):
        answer = call(client, name, params)
        said = shown(answer, params)
        assert [secret for secret in owner.secrets if secret in said] == [], (name, params, answer)
        assert owner.rows() == before, (name, params)
    # (What needs no signature is sent without one.)
    called = {name for name, _ in asked(owner, service)}
    wanted = {name for name in called if BUILT.operations[service, name].model.auth_type != "none"}
    for _ in range(20):
        records = [one for one in written(api.store) if one["userIdentity"].get("accessKeyId") == keys.access_key_id]
        if wanted <= {record["eventName"] for record in records}:
            break
        time.sleep(0.5)
    assert wanted - {record["eventName"] for record in records} == set()


def test_there_is_something_of_each_kind(owner: Owner) -> None:
    """A new kind of thing is to be added to what the owner has."""
    assert {table for table, rows in owner.rows().items() if not rows} == NOT_MADE


def test_the_owner_sees_them(owner: Owner) -> None:
    """Otherwise the test above would show nothing."""
    for service, at_least in (("ec2", 10), ("iam", 10), ("kms", 4), ("cloudtrail", 4)):
        client = owner.api.client(service, keys=owner.keys, parameter_validation=False)
        seen = [
            name
            for name, params in asked(owner, service)
            if name.startswith(("Describe", "Get", "List"))
            and (answer := call(client, name, params)).keys() != {"Error"}
            and any(secret in shown(answer, {}) for secret in owner.secrets)
        ]
        assert len(seen) >= at_least, seen
