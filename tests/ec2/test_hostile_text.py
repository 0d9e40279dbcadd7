"""Text that was written to break something, wherever a tenant may write: kept as it is, or refused; and none of it in
a path, a command line, an OVN row or a log."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore import xform_name
from botocore.model import ListShape, OperationModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator
from structlog.testing import capture_logs

from freehold.control.networks import vpc_view
from freehold.control.specs import guest_specs
from freehold.fabric.rows import rows
from freehold.host.hypervisor.disks import Disk, Layer, OpenDisk
from freehold.host.hypervisor.qemu import Descriptors, DirectKernel, InheritedDisk, command_line
from freehold.host.layout import GuestPaths, check_ids, metadata_link, process_name, tap_name
from freehold.services.errors import AwsError
from tests.cloudapi import api_server
from tests.ec2.calls import CATALOG, Caller, refused
from tests.ec2.launching import host_reports, launch_one, record, shown
from tests.fabric.views import PUBLIC

MARK = "Zq7"
"""In every hostile text, so that it can be looked for."""
HOSTILE = (
    f'{MARK}"; drop table instances; --',
    f"{MARK}' || true",
    f"{MARK}$(reboot)`reboot`${{IFS}}",
    f"{MARK}%s%n{{0}}{{}}",
    f"{MARK},file=/etc/shadow,readonly=off",
    f"{MARK}\nimport os\r\nX-Injected: 1",
    f"../../../{MARK}/etc/passwd",
    f"{MARK}<script>&amp;]]>",
    f"{MARK}\u202eevil\u2066",
    f"{MARK}" + "\U0001f600" * 200,
)


def texts(shape: Shape | None, depth: int = 0) -> Iterator[dict[str, Any]]:
    """For each member of a structure that takes text, the least value that has a NUL there."""
    for name, member in shape.members.items() if isinstance(shape, StructureShape) else ():
        inner = member.member if isinstance(member, ListShape) else member
        values: list[Any] = ["a\0b"] if isinstance(inner, StringShape) and not inner.enum else []
        if isinstance(inner, StructureShape) and depth < 3:
            values = list(texts(inner, depth + 1))
        for value in values:
            yield {name: [value] if isinstance(member, ListShape) else value}


def requests_with_a_nul(model: OperationModel) -> Iterator[dict[str, Any]]:
    shape = model.input_shape
    for request in texts(shape):
        for name in shape.required_members:
            request.setdefault(
                name, {"list": ["x"], "structure": {}, "integer": 1}.get(shape.members[name].type_name, "x")
            )
        if not ParamValidator().validate(request, shape).has_errors():
            yield request


def test_a_nul_in_any_parameter_is_an_error_of_the_caller_or_found_nowhere(ready: Caller) -> None:
    """PostgreSQL keeps no NUL in a text, and refuses one in a parameter."""
    tried = set()
    for operation in CATALOG.operations.values():
        for request in requests_with_a_nul(operation.model) if operation.service == "ec2" else ():
            tried.add(operation.name)
            with suppress(AwsError):
                getattr(ready, xform_name(operation.name))(**request)
    assert len(tried) > 40


def launch_hostile(caller: Caller) -> str:
    """An instance with hostile text wherever its owner may write; its id."""
    key_name = f'{MARK}" ;$(reboot) `x` %s ,file=/etc/shadow'
    caller.create_key_pair(KeyName=key_name, KeyType="ed25519")
    group_id = caller.create_security_group(GroupName=f"{MARK} ;!$*{{}}()/", Description=f"{MARK} ;[@]=&+#_")["GroupId"]
    caller.authorize_security_group_ingress(
        GroupId=group_id,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 22,
                "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": f"{MARK} ;!$*"}],
            }
        ],
    )
    tags = [{"Key": text[:100], "Value": text} for text in HOSTILE]
    instance_id: str = launch_one(
        caller,
        KeyName=key_name,
        SecurityGroupIds=[group_id],
        ClientToken=f"{MARK}';--"[:64],
        UserData=base64.b64encode("\n".join(HOSTILE).encode() + b"\0\xff").decode(),
        TagSpecifications=[
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
    )["InstanceId"]
    return instance_id


def test_a_launched_instance_takes_none_of_it_to_the_host_and_the_network(ready: Caller) -> None:
    with capture_logs() as logged:
        instance_id = launch_hostile(ready)
        host_reports(ready.store, instance_id, "running")
    assert {tag["Key"]: tag["Value"] for tag in shown(ready, instance_id)["Tags"]} == {t[:100]: t for t in HOSTILE}
    instance = record(ready.store, instance_id)
    with ready.store.read() as tx:
        (spec,) = guest_specs(tx, ready.config, [instance])
        view = vpc_view(tx, instance.vpc_id)
    # The metadata service hands it to the guest, whose owner wrote it: that, and the names of its groups. The rest of
    # the spec is Freehold's own.
    interfaces = tuple(msgspec.structs.replace(each, security_groups=()) for each in spec.interfaces)
    assert MARK in repr(spec.metadata)
    assert MARK not in repr(msgspec.structs.replace(spec, metadata=None, interfaces=interfaces))
    check_ids(spec)
    layers = {each: (Layer(each, Path("/volumes"), None),) for each in (volume.volume_id for volume in spec.volumes)}
    disks = tuple(InheritedDisk(OpenDisk(Disk(each, layers[each]), ((20, 21),))) for each in layers)
    argv = command_line(
        spec, "fh00000000", "tcg", Descriptors(DirectKernel(10, 11, "console=ttyS0"), 12, 13, 14, 15, disks, (30,))
    )
    paths = GuestPaths(Path("/guests") / spec.instance_id)
    (interface,) = spec.interfaces
    names = (
        process_name("fh00000000", spec.instance_id), tap_name(interface.interface_id),
        metadata_link(interface.vpc_id), str(paths.spec), str(paths.console),
    )  # fmt: skip
    assert view is not None
    northbound = rows(view, PUBLIC)
    for what in (argv, names, northbound, logged):
        assert MARK not in repr(what)
    assert all(re.fullmatch(r"[!-~ ]*", argument) for argument in argv)
    assert any("tcp.dst == 22" in str(row.columns.get("match")) for row in northbound.values())


def test_hostile_text_over_http_is_returned_as_it_is_and_not_logged(tmp_path: Path) -> None:
    with capture_logs() as logged, api_server(tmp_path) as api:
        ec2 = api.client("ec2")
        vpc_id = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        for text in HOSTILE:
            ec2.create_tags(Resources=[vpc_id], Tags=[{"Key": text[:100], "Value": text}])
            for request in (
                lambda text=text: ec2.describe_vpcs(VpcIds=[text]),
                lambda text=text: ec2.describe_vpcs(Filters=[{"Name": text, "Values": [text]}]),
                lambda text=text: ec2.create_security_group(GroupName=text, Description=text + "<"),
                lambda text=text: ec2.run_instances(ImageId=text, MinCount=1, MaxCount=1),
            ):
                with pytest.raises(ec2.exceptions.ClientError) as caught:
                    request()
                assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400, text
        (vpc,) = ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"]
        kept = {tag["Key"]: tag["Value"] for tag in vpc["Tags"]}
    assert kept == {text[:100]: text for text in HOSTILE}
    assert MARK not in json.dumps(logged, default=repr)


def test_user_data_and_what_is_refused(ready: Caller) -> None:
    for data, code in (
        (base64.b64encode(b"x" * (16 * 1024 + 1)).decode(), "InvalidParameterValue"),
        ("x" * 100_000, "InvalidParameterValue"),
        ("not base64!", "InvalidUserData.Malformed"),
        ("\0", "InvalidUserData.Malformed"),
        ("\u202e", "InvalidUserData.Malformed"),
    ):
        with refused(code):
            launch_one(ready, UserData=data)
    largest = base64.b64encode(bytes(range(256)) * 64).decode()
    instance_id = launch_one(ready, UserData=largest)["InstanceId"]
    found = ready.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    assert found["UserData"] == {"Value": largest}
    for given in (
        {"KeyName": HOSTILE[5]}, {"KeyName": "a\0b"}, {"ImageId": HOSTILE[0]}, {"InstanceType": HOSTILE[4]},
        {"SubnetId": HOSTILE[6]}, {"SecurityGroups": [HOSTILE[1]]}, {"ClientToken": "x" * 65},
        {"Placement": {"AvailabilityZone": HOSTILE[3]}},
    ):  # fmt: skip
        with pytest.raises(AwsError, check=lambda error: 400 <= error.status < 500):
            launch_one(ready, **given)
    assert len(ready.describe_instances()["Reservations"]) == 1
