"""Launch templates: CreateLaunchTemplate, DescribeLaunchTemplates, ModifyLaunchTemplate, DeleteLaunchTemplate.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-launch-templates.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.quotas import LAUNCH_TEMPLATES
from freehold.records.feed import take_turn
from freehold.records.ids import new_id
from freehold.records.launch_templates import LaunchTemplate, LaunchTemplateVersion, launch_templates
from freehold.records.tags import Tag, delete_tags_of, put_tags, tags_of
from freehold.services.ec2 import launch_template_data
from freehold.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import Condition, moment, text
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.launch_template_errors import (
    InvalidLaunchTemplateIdVersionNotFound,
    InvalidLaunchTemplateNameAlreadyExists,
    InvalidLaunchTemplateNameMalformed,
    InvalidLaunchTemplateNameNotFound,
    ResourceLimitExceeded,
)
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import LAUNCH_TEMPLATE, MAX_IDS, created
from freehold.services.ec2.tags import UNPRINTABLE, specified, tag_list
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.quotas import limit_and_count

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreateLaunchTemplateRequestTypeDef,
        DeleteLaunchTemplateRequestTypeDef,
        DescribeLaunchTemplatesRequestTypeDef,
        ModifyLaunchTemplateRequestTypeDef,
    )

LARGEST_PAGE = 200
TOKEN_LENGTH_MAX = 128

_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_FILTERS: dict[str, Condition] = {
    "create-time": moment(launch_templates.c.created_at),
    "launch-template-name": text(launch_templates.c.name),
}


@operation(resources=created(LAUNCH_TEMPLATE))
def create_launch_template(call: Call, request: CreateLaunchTemplateRequestTypeDef) -> Response:
    """A template with its version 1. Raises InvalidLaunchTemplateName.AlreadyExistsException."""
    refuse_others(
        request,
        {"ClientToken", "LaunchTemplateData", "LaunchTemplateName", "TagSpecifications", "VersionDescription"},
    )
    name = request["LaunchTemplateName"]
    if not _NAME.fullmatch(name):
        raise InvalidLaunchTemplateNameMalformed
    tags = specified(request.get("TagSpecifications"), LAUNCH_TEMPLATE.resource_type)[LAUNCH_TEMPLATE.resource_type]
    data = launch_template_data.given(request["LaunchTemplateData"])
    description = version_description(request)
    template_id = new_id(LAUNCH_TEMPLATE.prefix)
    made_before = claim(call, request, template_id, longest=TOKEN_LENGTH_MAX)
    if made_before is not None:
        return _answer(call, LAUNCH_TEMPLATE.load(call, made_before))
    take_turn(call.tx)
    if _find_named(call, name) is not None:
        raise InvalidLaunchTemplateNameAlreadyExists
    most, held = limit_and_count(call, LAUNCH_TEMPLATES, LaunchTemplate, **LAUNCH_TEMPLATE.owner(call))
    if held >= most:
        raise ResourceLimitExceeded(f"The maximum number of launch templates ({most}) has been reached.")
    template = LaunchTemplate(
        id=template_id,
        account_id=call.account_id,
        region=call.region,
        name=name,
        created_at=call.now,
        created_by=call.principal.arn,
        default_version=1,
        latest_version=1,
        versions_made=1,
    )
    call.tx.insert(template)
    call.tx.insert(new_version(call, template, 1, description, data))
    put_tags(call.tx, call.account_id, call.region, LAUNCH_TEMPLATE.resource_type, template_id, tags)
    return _answer(call, template)


@operation()
def describe_launch_templates(call: Call, request: DescribeLaunchTemplatesRequestTypeDef) -> Response:
    """By ids or names, in the order of their ids."""
    refuse_others(
        request,
        {"Filters", "LaunchTemplateIds", "LaunchTemplateNames", "MaxResults", "NextToken"},
        {"IncludeManagedResources": False},
    )
    check_page(request)
    where: list[sa.ColumnElement[bool]] = []
    if names := request.get("LaunchTemplateNames"):
        _check_all_named(call, names)
        where.append(launch_templates.c.name.in_(names))
    found = described(call, LAUNCH_TEMPLATE, request, "LaunchTemplateIds", _FILTERS, *where, smallest=1)
    tags = tags_of(call.tx, [template.id for template in found.rows])
    return {"LaunchTemplates": [_described(template, tags[template.id]) for template in found.rows], **found.token}


def named_template(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    """For `operation(resources=…)`: the template that the request names. What is wrong with it the operation says."""
    try:
        return [LAUNCH_TEMPLATE.needed(call, load_template(call, request).id)]
    except AwsError:
        return [LAUNCH_TEMPLATE.needed(call, request.get("LaunchTemplateId") or "*")]


@operation(resources=named_template)
def modify_launch_template(call: Call, request: ModifyLaunchTemplateRequestTypeDef) -> Response:
    """Another version becomes the default."""
    take_turn(call.tx)
    template = load_template(call, request)
    if not request.get("DefaultVersion"):
        raise MissingParameter("SetDefaultVersion")
    version = load_version(call, template, request["DefaultVersion"])
    if claim(call, request, template.id, longest=TOKEN_LENGTH_MAX) is None:
        template = call.tx.update(template, default_version=version.number)
    return _answer(call, template)


@operation(resources=named_template)
def delete_launch_template(call: Call, request: DeleteLaunchTemplateRequestTypeDef) -> Response:
    """With all its versions. Instances that were launched from it stay as they are."""
    take_turn(call.tx)
    template = load_template(call, request)
    answer = _answer(call, template)
    call.tx.delete_where(LaunchTemplateVersion, template_id=template.id)
    delete_tags_of(call.tx, template.id)
    call.tx.delete(template)
    return answer


def load_template(call: Call, request: Mapping[str, Any]) -> LaunchTemplate:
    """The template that LaunchTemplateId or LaunchTemplateName of the request names.

    Raises MissingParameter for neither, InvalidParameterCombination for both, InvalidLaunchTemplateId.Malformed,
    InvalidLaunchTemplateId.NotFound, InvalidLaunchTemplateName.NotFoundException.
    """
    template_id, name = request.get("LaunchTemplateId"), request.get("LaunchTemplateName")
    if template_id and name:
        raise InvalidParameterCombination("Only one of LaunchTemplateId and LaunchTemplateName may be given.")
    if template_id:
        return LAUNCH_TEMPLATE.load(call, template_id)
    if not name:
        raise MissingParameter("LaunchTemplateId or LaunchTemplateName")
    found = _find_named(call, name)
    if found is None:
        raise InvalidLaunchTemplateNameNotFound(name)
    return found


def version_number(template: LaunchTemplate, version: str) -> int | None:
    """The number that ``$Latest``, ``$Default`` or digits stand for, whether there is that version or not."""
    if version in ("$Latest", "$Default"):
        return template.latest_version if version == "$Latest" else template.default_version
    return int(version) if _NUMBER.fullmatch(version) else None


def load_version(call: Call, template: LaunchTemplate, version: str) -> LaunchTemplateVersion:
    """A version by number, ``$Latest`` or ``$Default``. Raises InvalidLaunchTemplateId.VersionNotFound."""
    number = version_number(template, version)
    found = None if number is None else call.tx.get(LaunchTemplateVersion, template.id, number)
    if found is None:
        raise InvalidLaunchTemplateIdVersionNotFound(template.id, version)
    return found


def new_version(
    call: Call, template: LaunchTemplate, number: int, description: str | None, data: dict[str, Any]
) -> LaunchTemplateVersion:
    return LaunchTemplateVersion(
        template_id=template.id,
        number=number,
        account_id=call.account_id,
        region=call.region,
        description=description,
        created_at=call.now,
        created_by=call.principal.arn,
        data=data,
    )


def version_description(request: Mapping[str, Any]) -> str | None:
    """Raises InvalidParameterValue for more than 255 characters, or one that no answer could return."""
    description: str | None = request.get("VersionDescription") or None
    if description is not None and (len(description) > 255 or UNPRINTABLE.search(description)):
        raise InvalidParameterValue("The parameter VersionDescription may have at most 255 printable characters.")
    return description


def check_page(request: Mapping[str, Any]) -> None:
    if request.get("MaxResults", LARGEST_PAGE) > LARGEST_PAGE:
        raise InvalidParameterValue(
            f"Value ( {request['MaxResults']} ) for parameter maxResults is invalid. Expecting 1 to {LARGEST_PAGE}."
        )


def _find_named(call: Call, name: str) -> LaunchTemplate | None:
    if not _NAME.fullmatch(name):  # not even a query may be made of it
        return None
    return call.tx.find(LaunchTemplate, **LAUNCH_TEMPLATE.owner(call), name=name)


def _check_all_named(call: Call, names: Sequence[str]) -> None:
    """Raises InvalidLaunchTemplateName.NotFoundException with those that are missing."""
    if len(names) > MAX_IDS:
        raise InvalidParameterValue(f"At most {MAX_IDS} names may be given in a request.")
    possible = [name for name in names if _NAME.fullmatch(name)]
    present = (
        {template.name for template in call.tx.select(LaunchTemplate, **LAUNCH_TEMPLATE.owner(call), name=possible)}
        if possible
        else set()
    )
    if missing := [name for name in dict.fromkeys(names) if name not in present]:
        raise InvalidLaunchTemplateNameNotFound(*missing)


def _answer(call: Call, template: LaunchTemplate) -> Response:
    return {"LaunchTemplate": _described(template, tags_of(call.tx, [template.id])[template.id])}


def _described(template: LaunchTemplate, tags: Sequence[Tag]) -> dict[str, Any]:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": template.created_at,
        "CreatedBy": template.created_by,
        "DefaultVersionNumber": template.default_version,
        "LatestVersionNumber": template.latest_version,
        "Operator": {"Managed": False},
        "Tags": tag_list(tags),
    }
