"""Options of instances: vCPUs, maintenance, host names, and what an account prefers of the metadata service."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.config import Config
from freehold.control.specs import guest_specs
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import launch_one, record, run_one, shown, stop, terminate


def vcpus_of(caller: Caller, instance_id: str) -> int:
    """What its host is told."""
    with caller.store.read() as tx:
        (spec,) = guest_specs(tx, Config(), [record(caller.store, instance_id)])
    return spec.vcpus


def test_a_guest_has_as_many_vcpus_as_it_is_given(ready: Caller) -> None:
    made = launch_one(ready, InstanceType="t3.micro", CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1})
    assert made["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    assert vcpus_of(ready, made["InstanceId"]) == 1
    instance_id = run_one(ready, InstanceType="t3.micro")
    assert vcpus_of(ready, instance_id) == 2
    with refused("IncorrectInstanceState"):
        ready.modify_instance_cpu_options(InstanceId=instance_id, CoreCount=1)
    stop(ready, instance_id)
    answer = ready.modify_instance_cpu_options(InstanceId=instance_id, CoreCount=1, ThreadsPerCore=1)
    assert (answer["CoreCount"], answer["ThreadsPerCore"]) == (1, 1)
    assert vcpus_of(ready, instance_id) == shown(ready, instance_id)["CpuOptions"]["CoreCount"] == 1
    assert record(ready.store, instance_id).vcpus == 2
    for code, options in (
        ("InvalidParameterValue", {"CoreCount": 3}),
        ("InvalidParameterValue", {"CoreCount": 0}),
        ("UnsupportedOperation", {"CoreCount": 1, "ThreadsPerCore": 2}),
        ("UnsupportedOperation", {"NestedVirtualization": "enabled"}),
        ("InvalidParameterCombination", {}),
    ):
        with refused(code):
            ready.modify_instance_cpu_options(InstanceId=instance_id, **options)
    ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.small"})
    assert vcpus_of(ready, instance_id) == 2
    with refused("InvalidParameterValue"):
        launch_one(ready, CpuOptions={"CoreCount": 2, "ThreadsPerCore": 1})


def test_maintenance_options_are_kept(ready: Caller) -> None:
    instance_id = launch_one(ready, MaintenanceOptions={"AutoRecovery": "disabled"})["InstanceId"]
    options = {"AutoRecovery": "disabled", "RebootMigration": "default"}
    assert shown(ready, instance_id)["MaintenanceOptions"] == options
    for change in ({"RebootMigration": "disabled"}, {"AutoRecovery": "default"}):
        options |= change
        answer = ready.modify_instance_maintenance_options(InstanceId=instance_id, **change)
        assert answer == {"InstanceId": instance_id, **options}
        assert shown(ready, instance_id)["MaintenanceOptions"] == options
    with refused("InvalidParameterCombination"):
        ready.modify_instance_maintenance_options(InstanceId=instance_id)
    terminate(ready, instance_id)
    with refused("IncorrectInstanceState"):
        ready.modify_instance_maintenance_options(InstanceId=instance_id, AutoRecovery="disabled")


def test_what_is_only_as_by_default_is_not_changed(ready: Caller) -> None:
    instance_id = run_one(ready)
    ready.modify_private_dns_name_options(
        InstanceId=instance_id, PrivateDnsHostnameType="ip-name", EnableResourceNameDnsARecord=False
    )
    ready.modify_instance_network_performance_options(InstanceId=instance_id, BandwidthWeighting="default")
    for change in ({"PrivateDnsHostnameType": "resource-name"}, {"EnableResourceNameDnsARecord": True}):
        with refused("UnsupportedOperation"):
            ready.modify_private_dns_name_options(InstanceId=instance_id, **change)
    with refused("UnsupportedOperation"):
        ready.modify_instance_network_performance_options(InstanceId=instance_id, BandwidthWeighting="vpc-1")


def options_of(caller: Caller, **request: Any) -> dict[str, Any]:
    found = launch_one(caller, **request)["MetadataOptions"]
    return {name: found[name] for name in ("HttpTokens", "HttpPutResponseHopLimit", "InstanceMetadataTags")}


def test_an_account_prefers_metadata_options(ready: Caller, stranger: Caller) -> None:
    built_in = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "disabled"}
    assert ready.get_instance_metadata_defaults() == {"AccountLevel": {"ManagedBy": "account"}}
    assert options_of(ready) == built_in
    preferred = {"HttpTokens": "optional", "HttpPutResponseHopLimit": 5, "InstanceMetadataTags": "enabled"}
    assert ready.modify_instance_metadata_defaults(**preferred) == {"Return": True}
    assert ready.get_instance_metadata_defaults()["AccountLevel"] == {**preferred, "ManagedBy": "account"}
    assert options_of(ready) == preferred
    said = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert options_of(ready, MetadataOptions=said) == preferred | said
    assert stranger.get_instance_metadata_defaults()["AccountLevel"] == {"ManagedBy": "account"}
    ready.modify_instance_metadata_defaults(HttpTokens="no-preference", HttpPutResponseHopLimit=-1)
    assert options_of(ready) == built_in | {"InstanceMetadataTags": "enabled"}
    with refused("InvalidParameterCombination"):
        ready.modify_instance_metadata_defaults()
    for hop_limit in (0, 65):
        with refused("InvalidParameterValue"):
            ready.modify_instance_metadata_defaults(HttpPutResponseHopLimit=hop_limit)


def test_an_account_forbids_metadata_without_tokens(ready: Caller) -> None:
    older = run_one(ready, MetadataOptions={"HttpTokens": "optional"})
    instance_id = run_one(ready)
    ready.modify_instance_metadata_defaults(HttpTokensEnforced="enabled")
    with refused("UnsupportedOperation"):
        launch_one(ready, MetadataOptions={"HttpTokens": "optional"})
    with refused("UnsupportedOperation"):
        ready.modify_instance_metadata_options(InstanceId=instance_id, HttpTokens="optional")
    ready.modify_instance_metadata_options(InstanceId=older, HttpPutResponseHopLimit=3)  # stays as it is
    assert shown(ready, older)["MetadataOptions"]["HttpTokens"] == "optional"
    launch_one(ready)
    ready.modify_instance_metadata_defaults(HttpTokensEnforced="no-preference")
    launch_one(ready, MetadataOptions={"HttpTokens": "optional"})


def test_the_check_of_source_and_destination_is_reset(ready: Caller) -> None:
    instance_id = run_one(ready)
    ready.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": False})
    ready.reset_instance_attribute(InstanceId=instance_id, Attribute="sourceDestCheck")
    assert shown(ready, instance_id)["SourceDestCheck"]
    for attribute, code in (("kernel", "IncorrectInstanceState"), ("userData", "InvalidParameterValue")):
        with refused(code):
            ready.reset_instance_attribute(InstanceId=instance_id, Attribute=attribute)
    stop(ready, instance_id)
    for attribute in ("kernel", "ramdisk"):
        ready.reset_instance_attribute(InstanceId=instance_id, Attribute=attribute)


@pytest.mark.parametrize("tenancy", ["dedicated", "host"])
def test_dedicated_hardware_is_refused(ready: Caller, tenancy: str) -> None:
    with refused("UnsupportedOperation"):
        launch_one(ready, Placement={"Tenancy": tenancy})
