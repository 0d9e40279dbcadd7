"""Instance types: what is known, what is offered where, and how one is chosen by what it has."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

from freehold.config import Config, InstanceType
from freehold.instance_types import BUILT_IN, is_bare_metal
from tests.ec2.calls import CATALOG, Caller, refused
from tests.ec2.launching import add_host, add_images, launch, launch_one, run_one, shown, stop

_FAMILIES = ("t3", "t3a", "m5", "c5", "r5", "m6i", "c6i", "r6i", "c7i", "m7i")


def filters(**values: str) -> list[dict[str, Any]]:
    """``filters(bare_metal="true")``: underscores stand for the dashes of filters' names, two for a dot."""
    return [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in values.items()]


def names(answer: Any) -> list[str]:
    return [info["InstanceType"] for info in answer["InstanceTypes"]]


def test_the_table_has_the_families_whole() -> None:
    sizes = {family: {n.partition(".")[2] for n in BUILT_IN if n.startswith(f"{family}.")} for family in _FAMILIES}
    burstable = {"nano", "micro", "small", "medium", "large", "xlarge", "2xlarge"}
    assert sizes["t3"] == sizes["t3a"] == burstable
    fifth = {"large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "metal"}
    assert sizes["m5"] == sizes["r5"] == fifth
    assert sizes["c5"] == fifth - {"8xlarge", "16xlarge"} | {"9xlarge", "18xlarge"}
    assert sizes["m6i"] == sizes["c6i"] == sizes["r6i"] == fifth | {"32xlarge"}
    assert sizes["c7i"] == sizes["m7i"] == fifth - {"metal"} | {"48xlarge", "metal-24xl", "metal-48xl"}
    for name, vcpus, gib, price in (
        ("t3.micro", 2, 1, "0.0104"),
        ("t3a.2xlarge", 8, 32, "0.3008"),
        ("c5.9xlarge", 36, 72, "1.53"),
        ("r6i.32xlarge", 128, 1024, "8.064"),
        ("c7i.48xlarge", 192, 384, "8.568"),
        ("m7i.large", 2, 8, "0.1008"),
    ):
        kind = BUILT_IN[name]
        assert (kind.vcpus, kind.memory_mib, kind.price_per_hour) == (vcpus, gib * 1024, Decimal(price)), name
    for name, kind in BUILT_IN.items():
        assert kind.network_gbps <= kind.network_burst_gbps, name
        assert (kind.ebs_mbps, kind.ebs_iops) <= (kind.ebs_burst_mbps, kind.ebs_burst_iops), name
        assert bool(kind.credits_per_hour) == name.startswith("t3"), name


def test_types_are_described_and_filtered(ready: Caller) -> None:
    every = ready.describe_instance_types()["InstanceTypes"]
    listed = [info["InstanceType"] for info in every]
    assert listed == sorted(listed)
    (micro,) = ready.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
    assert micro in every
    assert micro["NetworkInfo"]["NetworkPerformance"] == "Up to 5 Gigabit"
    assert micro["PlacementGroupInfo"]["SupportedStrategies"] == ["partition", "spread"]
    assert micro["EbsInfo"]["EbsOptimizedInfo"]["BaselineThroughputInMBps"] == 10.875
    for given, among in (
        (filters(instance_type="t3.m*"), True),
        (filters(memory_info__size_in_mib="1024"), True),
        (filters(current_generation="true", bare_metal="false"), True),
        (filters(burstable_performance_supported="true"), True),
        (filters(burstable_performance_supported="false"), False),
        (filters(ebs_info__ebs_optimized_info__baseline_bandwidth_in_mbps="87"), True),
        (filters(ebs_info__ebs_optimized_info__baseline_throughput_in_mbps="10.875"), True),
        (filters(ebs_info__ebs_optimized_info__maximum_iops="11801"), False),
        (filters(network_info__efa_info__maximum_efa_interfaces="1"), False),
        (filters(processor_info__supported_architecture="x86_64"), True),
        (filters(processor_info__supported_architecture="arm64"), False),
        (filters(hypervisor="xen"), False),
    ):
        found = ready.describe_instance_types(Filters=given)["InstanceTypes"]
        assert (micro in found) == among, given
    with refused("InvalidInstanceType") as caught:
        ready.describe_instance_types(InstanceTypes=["fh1.nano", "t9.huge", "x"])
    assert caught.value.message == "The following supplied instance types do not exist: [t9.huge, x]"
    pages, token = [], {}
    while True:
        answer = ready.describe_instance_types(MaxResults=5, **token)
        pages += answer["InstanceTypes"]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert pages == every


def test_every_filter_of_the_reference_is_honoured(ready: Caller) -> None:
    model = CATALOG.operations["ec2", "DescribeInstanceTypes"].model
    documented = set(re.findall(r"<code>([a-z0-9.-]+)</code> - ", model.input_shape.members["Filters"].documentation))
    assert len(documented) > 50
    for name in documented:
        ready.describe_instance_types(Filters=[{"Name": name, "Values": ["*"]}])


def test_a_type_of_the_configuration_is_offered(ready: Caller) -> None:
    small, huge = InstanceType(8, 4096, Decimal("0.5"), credits_per_hour=30), InstanceType(8, 2**20, Decimal("9"))
    lab = Caller(ready.store, config=Config(instance_types={"lab.small": small, "lab.huge": huge}))
    assert {"lab.small", "lab.huge"} & set(names(lab.describe_instance_types())) == {"lab.small"}
    described = {info["InstanceType"]: info for info in lab.describe_instance_types(
        InstanceTypes=["lab.small", "lab.huge"])["InstanceTypes"]}  # fmt: skip
    assert described["lab.small"]["VCpuInfo"]["DefaultVCpus"] == 8
    assert described["lab.small"]["BurstablePerformanceSupported"]
    assert (described["lab.small"]["SupportedInRegion"], described["lab.huge"]["SupportedInRegion"]) == (True, False)
    with refused("InvalidInstanceType"):
        ready.describe_instance_types(InstanceTypes=["lab.small"])
    instance_id = launch_one(lab, InstanceType="lab.small")["InstanceId"]
    credits = lab.describe_instance_credit_specifications(InstanceIds=[instance_id])
    assert credits["InstanceCreditSpecifications"][0]["CpuCredits"] == "unlimited"


def offerings(caller: Caller, location_type: str, **given: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    answer = caller.describe_instance_type_offerings(LocationType=location_type, Filters=filters(**given))
    for offering in answer["InstanceTypeOfferings"]:
        assert offering["LocationType"] == location_type
        found.setdefault(offering["InstanceType"], []).append(offering["Location"])
    return found


def test_a_type_is_offered_where_a_host_can_hold_it(caller: Caller) -> None:
    assert names(caller.describe_instance_types()) == []
    assert offerings(caller, "region") == {}
    add_images(caller.store)
    add_host(caller.store, "small", "us-east-1a", memory_mib=8192)
    add_host(caller.store, "large", "us-east-1c", memory_mib=65536)
    region = offerings(caller, "region")
    assert list(region) == names(caller.describe_instance_types())
    assert set(map(tuple, region.values())) == {("us-east-1",)}
    assert {"m5.large", "m5.4xlarge"} <= region.keys()
    assert not {"m5.8xlarge", "c5.24xlarge", "m5.metal"} & region.keys()  # too much memory, too many vCPUs
    assert offerings(caller, "availability-zone", instance_type="m5.large") == {
        "m5.large": ["us-east-1a", "us-east-1c"]
    }
    assert offerings(caller, "availability-zone-id", instance_type="m5.4*") == {"m5.4xlarge": ["use1-az3"]}
    assert offerings(caller, "availability-zone", location="us-east-1b") == {}
    assert offerings(caller, "outpost") == {}
    everything = names(caller.describe_instance_types(IncludeUnsupportedInRegion=True, MaxResults=100))
    assert len(everything) == 100
    for kind, zone, code in (
        ("m5.metal", "us-east-1a", "Unsupported"),
        ("m7i.metal-24xl", "us-east-1c", "Unsupported"),
        ("m5.8xlarge", "us-east-1a", "Unsupported"),
        ("m5.4xlarge", "us-east-1a", "Unsupported"),
        ("m9.large", "us-east-1a", "InvalidParameterValue"),
    ):
        with refused(code) as caught:
            launch(caller, InstanceType=kind, Placement={"AvailabilityZone": zone})
        if kind == "m5.4xlarge":
            assert caught.value.message.endswith("or choosing us-east-1c.")
    assert launch_one(caller, InstanceType="m5.4xlarge")["Placement"]["AvailabilityZone"] == "us-east-1c"
    with refused("InsufficientInstanceCapacity"):
        launch(caller, InstanceType="m5.4xlarge", Placement={"AvailabilityZone": "us-east-1c"})


def test_an_instance_becomes_only_what_its_host_can_hold(ready: Caller) -> None:
    instance_id = run_one(ready)
    stop(ready, instance_id)
    for kind in ("m5.xlarge", "m5.metal"):
        with refused("Unsupported"):
            ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": kind})
    ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "m5.large"})
    assert shown(ready, instance_id)["InstanceType"] == "m5.large"


def chosen(caller: Caller, **requirements: Any) -> list[str]:
    given = {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}} | requirements
    return names(
        caller.get_instance_types_from_instance_requirements(
            ArchitectureTypes=["x86_64"], VirtualizationTypes=["hvm"], InstanceRequirements=given
        )
    )


def test_types_are_chosen_by_what_they_have(ready: Caller) -> None:
    small = {"VCpuCount": {"Min": 2, "Max": 2}, "MemoryMiB": {"Min": 4096, "Max": 8192}}
    assert chosen(ready, **small) == [
        "c5.large", "c6i.large", "c7i.large", "m5.large", "m5a.large", "m6i.large", "m7i.large"
    ]  # fmt: skip
    for requirements, found in (
        ({"BurstablePerformance": "required"}, ["t3.large", "t3.medium", "t3a.large", "t3a.medium"]),
        ({"CpuManufacturers": ["amd"]}, ["m5a.large"]),
        ({"CpuManufacturers": ["amd"], "BurstablePerformance": "included"}, ["m5a.large", "t3a.large", "t3a.medium"]),
        ({"AllowedInstanceTypes": ["m*"], "MemoryGiBPerVCpu": {"Max": 3}}, []),
        ({"AllowedInstanceTypes": ["m5.*"]}, ["m5.large"]),
        ({"ExcludedInstanceTypes": ["m*", "*7*"]}, ["c5.large", "c6i.large"]),
        ({"MemoryGiBPerVCpu": {"Max": 2}, "NetworkBandwidthGbps": {"Max": 0.76}}, ["c5.large"]),
        ({"AcceleratorCount": {"Max": 0}, "AllowedInstanceTypes": ["c5*"]}, ["c5.large"]),
        ({"AcceleratorCount": {"Min": 1}}, []),
        ({"AcceleratorTypes": ["gpu"]}, []),
        ({"LocalStorage": "required"}, []),
        ({"BareMetal": "required"}, []),
        ({"InstanceGenerations": ["previous"]}, []),
    ):
        assert chosen(ready, **small, **requirements) == found, requirements
    for code, requirements in (
        ("InvalidParameterValue", {"MemoryMiB": {"Min": 2, "Max": 1}}),
        ("InvalidParameterCombination", {"AllowedInstanceTypes": ["m*"], "ExcludedInstanceTypes": ["c*"]}),
        ("UnsupportedOperation", {"OnDemandMaxPricePercentageOverLowestPrice": 10}),
    ):
        with refused(code):
            chosen(ready, **requirements)


@pytest.mark.parametrize("name", ["m5.metal", "c7i.metal-48xl"])
def test_bare_metal_is_known(ready: Caller, name: str) -> None:
    assert is_bare_metal(name)
    (info,) = ready.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
    assert (info["BareMetal"], info["SupportedInRegion"]) == (True, False)
