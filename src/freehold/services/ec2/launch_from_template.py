"""RunInstances from a launch template: what the request then asks for, and what policies may say of it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/launch-instances-from-launch-template.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from freehold.services.ec2.condition_keys import written
from freehold.services.ec2.launch_templates import load_template, load_version
from freehold.services.ec2.resources import LAUNCH_TEMPLATE
from freehold.services.operation import Call, Needed, Value

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import RunInstancesRequestTypeDef

# The names that RunInstances has for the same.
_RENAMED = {"ElasticGpuSpecifications": "ElasticGpuSpecification", "RamDiskId": "RamdiskId"}

_NOT_OF_THE_INSTANCE = {"ClientToken", "DryRun", "LaunchTemplate", "MaxCount", "MinCount"}
_INTERFACE = {"NetworkInterfaces", "PrivateIpAddress", "SecurityGroupIds", "SecurityGroups", "SubnetId"}
_MEMBERS = {
    "capacity-reservation": {"CapacityReservationSpecification"},
    "image": {"ImageId"},
    "key-pair": {"KeyName"},
    "network-interface": _INTERFACE,
    "placement-group": {"Placement"},
    "security-group": {"NetworkInterfaces", "SecurityGroupIds", "SecurityGroups"},
    "subnet": {"NetworkInterfaces", "Placement", "SubnetId"},
    "volume": {"BlockDeviceMappings"},
}
"""By resource type, the parameters that say what it is; of an instance all do."""


@dataclass(frozen=True, slots=True)
class FromTemplate:
    """A launch as it is meant: `request` with what the template adds. `template_id` "" = there is no template."""

    request: RunInstancesRequestTypeDef
    template_id: str = ""
    version: int = 0

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which EC2 says where an instance comes from."""
        if not self.template_id:
            return {}
        return {"aws:ec2launchtemplate:id": self.template_id, "aws:ec2launchtemplate:version": str(self.version)}


def resolved(call: Call, request: RunInstancesRequestTypeDef) -> FromTemplate:
    """Each parameter of the request takes the place of the template's, lists and structures whole; tags are added to
    the template's for the same type of resource, and have precedence.

    Raises the codes of `load_template` and `load_version`.
    """
    specification = request.get("LaunchTemplate")
    if not specification:
        return FromTemplate(request)
    template = load_template(call, specification)
    version = load_version(call, template, specification.get("Version") or "$Default")
    merged: dict[str, Any] = {_RENAMED.get(name, name): value for name, value in version.data.items()}
    own = {name: value for name, value in request.items() if value not in ("", [], {}, None)}
    del own["LaunchTemplate"]
    if "TagSpecifications" in merged and "TagSpecifications" in own:
        own["TagSpecifications"] = _tags(merged["TagSpecifications"], request["TagSpecifications"])
    return FromTemplate(cast("RunInstancesRequestTypeDef", {**merged, **own}), template.id, version.number)


def _tags(of_template: Iterable[Mapping[str, Any]], of_request: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Specifications of the request, with the template's tags that they do not have; wrong ones stay as they are."""
    rest = {specification.get("ResourceType", ""): specification for specification in of_template}
    result = []
    for specification in of_request:
        earlier = rest.pop(specification.get("ResourceType", ""), {}).get("Tags", ())
        tags = list(specification.get("Tags", ()))
        keys = {tag.get("Key", "") for tag in tags}
        result.append({**specification, "Tags": [*(tag for tag in earlier if tag.get("Key", "") not in keys), *tags]})
    return [*result, *map(dict, rest.values())]


def under_template(
    call: Call, request: RunInstancesRequestTypeDef, launch: FromTemplate, needs: Iterable[Needed]
) -> Iterator[Needed]:
    """What the launch needs, with the condition keys that say whether it is by the template: ec2:LaunchTemplate, and
    ec2:IsLaunchTemplateResource, which is true of what the request does not say itself.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html#iam-example-runinstances-launch-template
    """
    if launch.template_id:
        keys = _of_template(call, launch, overridden=False)
        yield LAUNCH_TEMPLATE.needed(call, launch.template_id, keys=keys)
    said = {name for name, value in request.items() if value not in ("", [], {}, None)} - _NOT_OF_THE_INSTANCE
    for needed in needs:
        resource_type = needed.arn.rpartition(":")[2].partition("/")[0]
        if needed.action in ("", "ec2:CreateTags"):
            mine = said & _MEMBERS.get(resource_type, said)
            yield replace(needed, keys=_with(needed, _of_template(call, launch, overridden=bool(mine))))
        else:
            yield needed


def _of_template(call: Call, launch: FromTemplate, *, overridden: bool) -> Mapping[str, Value]:
    if not launch.template_id:
        return {"ec2:IsLaunchTemplateResource": written(False)}
    return {
        "ec2:IsLaunchTemplateResource": written(not overridden),
        "ec2:LaunchTemplate": LAUNCH_TEMPLATE.arn(call, launch.template_id),
    }


def _with(needed: Needed, keys: Mapping[str, Value]) -> Any:
    return lambda: {**needed.keys(), **keys}
