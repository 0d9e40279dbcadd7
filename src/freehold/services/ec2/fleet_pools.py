"""The pools of a fleet: each a launch template with one override and one instance type.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-configuration-strategies.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, cast

from freehold.config import InstanceType
from freehold.instance_types import find
from freehold.services.ec2 import instance_requirements, launch_from_template, launch_interface
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.launch_from_template import FromTemplate
from freehold.services.operation import Call

Lifecycle = Literal["on-demand", "spot"]

_POOLS_MAX = 300
_CONFIGS_MAX = 50
_PRICE_PROTECTION = {"on-demand": 20, "spot": 100}
"""By how many percent of the lowest price of a C, M or R type a type may be dearer, where the request does not say."""

# The members of an override that RunInstances has by the same name.
_SAME = ("BlockDeviceMappings", "IamInstanceProfile", "ImageId", "KeyName", "MetadataOptions")


@dataclass(frozen=True, slots=True)
class Pool:
    """`asked`: RunInstances as template and override have it, which say what `launch` comes to. `weight` is in units of
    the target, `price` that of an instance for an hour; `override` is as answers show it."""

    template: Mapping[str, Any]
    override: Mapping[str, Any]
    asked: Any
    launch: FromTemplate
    type_name: str
    instance_type: InstanceType
    weight: float
    requirements: Mapping[str, Any] | None

    @property
    def price(self) -> Decimal:
        return self.instance_type.price_per_hour

    @property
    def unit_price(self) -> Decimal:
        return self.price / Decimal(self.weight)

    @property
    def priority(self) -> float:
        """The lowest number is the highest priority; none comes last."""
        return float(self.override.get("Priority", float("inf")))

    def zones(self, call: Call) -> list[str]:
        """Where its instances may be. Raises the codes of a wrong subnet or zone."""
        wanted = launch_interface.asked_for(call, self.launch.request)
        return [subnet.zone for subnet in launch_interface.possible_subnets(call, wanted)]

    def within(self, zone: str) -> Pool:
        """The same, in this zone."""
        placement = {**self.launch.request.get("Placement", {}), "AvailabilityZone": zone}
        return self._asking(Placement=placement)

    def for_count(self, count: int, **members: Any) -> FromTemplate:
        """The launch of one to `count` instances."""
        return self._asking(MinCount=1, MaxCount=count, **members).launch

    def _asking(self, **members: Any) -> Pool:
        request = cast("Any", {**self.launch.request, **members})
        return replace(self, launch=replace(self.launch, request=request))


def of(call: Call, request: Mapping[str, Any]) -> list[Pool]:
    """The pools of a fleet in the order that the request has them.

    Raises MissingParameter, InvalidParameterCombination, InvalidParameterValue, and what is wrong with a template.
    """
    configs = request["LaunchTemplateConfigs"]
    if len(configs) > _CONFIGS_MAX:
        raise InvalidParameterValue(f"At most {_CONFIGS_MAX} launch template configurations may be given.")
    pools: list[Pool] = []
    for config in configs:
        template = config.get("LaunchTemplateSpecification") or {}
        if not template.get("Version"):
            raise MissingParameter("LaunchTemplateConfigs.LaunchTemplateSpecification.Version")
        overrides: Sequence[Mapping[str, Any]] = config.get("Overrides") or ({},)
        for override in overrides:
            pools += _pools(call, request, template, override)
            if len(pools) > _POOLS_MAX:
                raise InvalidParameterValue(f"A fleet may have at most {_POOLS_MAX} instance pools.")
    if not pools:
        raise InvalidParameterValue("No instance type that this cloud offers meets the requirements of the fleet.")
    return pools


def protected(pools: Sequence[Pool], lifecycle: Lifecycle) -> list[Pool]:
    """The pools that are not far dearer than the cheapest C, M or R type with the same requirements, or the cheapest of
    all where none is. What is named by its type is never too dear."""
    result = []
    for pool in pools:
        if pool.requirements is not None:
            alike = [other for other in pools if other.requirements is pool.requirements]
            common = [other for other in alike if other.type_name[0] in "cmr"]
            cheapest = min(other.unit_price for other in common or alike)
            if pool.unit_price > cheapest * (100 + _percent(pool.requirements, lifecycle)) / 100:
                continue
        result.append(pool)
    return result


def _percent(requirements: Mapping[str, Any], lifecycle: Lifecycle) -> int:
    name = "OnDemandMaxPrice" if lifecycle == "on-demand" else "SpotMaxPrice"
    return int(requirements.get(f"{name}PercentageOverLowestPrice", _PRICE_PROTECTION[lifecycle]))


def _pools(
    call: Call, request: Mapping[str, Any], template: Mapping[str, Any], override: Mapping[str, Any]
) -> Iterator[Pool]:
    members = ("LaunchTemplateId", "LaunchTemplateName", "Version")
    named = {name: template[name] for name in members if template.get(name)}
    asked: dict[str, Any] = {"LaunchTemplate": named, "MinCount": 1, "MaxCount": 1}
    asked |= {name: override[name] for name in _SAME if override.get(name)}
    if data := template.get("LaunchTemplateSpecificationUserData"):
        asked["UserData"] = data
    tags = [each for each in request.get("TagSpecifications") or () if each.get("ResourceType") != "fleet"]
    if tags:
        asked["TagSpecifications"] = tags
    launch = launch_from_template.resolved(call, cast("Any", asked))
    launch = replace(launch, request=cast("Any", _placed(launch.request, override)))
    if "InstanceMarketOptions" in launch.request:
        raise InvalidParameterValue("The launch template of a fleet may not have InstanceMarketOptions.")
    template = {"LaunchTemplateId": launch.template_id, "Version": str(launch.version)}
    requirements = override.get("InstanceRequirements")
    if requirements is not None and override.get("InstanceType"):
        raise InvalidParameterCombination("Only one of InstanceType and InstanceRequirements may be given.")
    if requirements is None and not override.get("InstanceType"):
        requirements = cast("Any", launch.request).get("InstanceRequirements")
    rest = {name: value for name, value in launch.request.items() if name != "InstanceRequirements"}
    for type_name in _types(call, requirements, override.get("InstanceType") or rest.get("InstanceType")):
        kind = find(call.config, type_name)
        if kind is None:
            raise InvalidParameterValue(f"Invalid value '{type_name}' for InstanceType.")
        yield Pool(
            template=template,
            override={**override, "InstanceType": type_name},
            asked={**asked, "InstanceType": type_name},
            launch=replace(launch, request=cast("Any", {**rest, "InstanceType": type_name})),
            type_name=type_name,
            instance_type=kind,
            weight=_weight(request["TargetCapacitySpecification"], override, kind, requirements),
            requirements=requirements,
        )


def _types(call: Call, requirements: Mapping[str, Any] | None, type_name: Any) -> list[str]:
    if requirements is not None:
        return instance_requirements.matching(call, requirements)
    if not type_name:
        raise MissingParameter("InstanceType")
    return [str(type_name)]


def _placed(request: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """The request where the override says: its subnet is that of the network interface, if the template has one."""
    result = dict(request)
    if subnet_id := override.get("SubnetId"):
        if "," in subnet_id:
            raise InvalidParameterValue("A fleet of type instant can have only one subnet in an override.")
        interfaces = result.get("NetworkInterfaces")
        if interfaces:
            result["NetworkInterfaces"] = [{**interfaces[0], "SubnetId": subnet_id}, *interfaces[1:]]
        else:
            result["SubnetId"] = subnet_id
    placement = {**result.get("Placement", {}), **(override.get("Placement") or {})}
    placement |= {name: override[name] for name in ("AvailabilityZone", "AvailabilityZoneId") if override.get(name)}
    return {**result, "Placement": placement} if placement else result


def _weight(
    target: Mapping[str, Any], override: Mapping[str, Any], kind: InstanceType, requirements: Mapping[str, Any] | None
) -> float:
    unit = target.get("TargetCapacityUnitType") or "units"
    if unit != "units":
        if requirements is None:
            raise InvalidParameterCombination("TargetCapacityUnitType needs InstanceRequirements.")
        return float(kind.vcpus if unit == "vcpu" else kind.memory_mib)
    weight = float(override.get("WeightedCapacity", 1))
    if not 0 < weight <= 999:
        raise InvalidParameterValue(f"Value ({weight:g}) for parameter WeightedCapacity is invalid.")
    return weight
