"""Versions of launch templates: CreateLaunchTemplateVersion, DescribeLaunchTemplateVersions,
DeleteLaunchTemplateVersions.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/manage-launch-template-versions.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from freehold.quotas import LAUNCH_TEMPLATE_VERSIONS
from freehold.records.feed import take_turn
from freehold.records.launch_templates import (
    LaunchTemplate,
    LaunchTemplateVersion,
    launch_template_versions,
    launch_templates,
)
from freehold.services.ec2 import launch_template_data
from freehold.services.ec2.errors import InvalidParameterValue, MissingParameter
from freehold.services.ec2.filters import Condition, absent, conditions, flag, moment, text
from freehold.services.ec2.idempotency import claim
from freehold.services.ec2.launch_template_errors import ResourceLimitExceeded
from freehold.services.ec2.launch_templates import (
    TOKEN_LENGTH_MAX,
    check_page,
    load_template,
    load_version,
    named_template,
    new_version,
    version_description,
    version_number,
)
from freehold.services.ec2.paging import page
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import LAUNCH_TEMPLATE
from freehold.services.operation import Call, Response, operation
from freehold.services.quotas import limit_and_count

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CreateLaunchTemplateVersionRequestTypeDef,
        DeleteLaunchTemplateVersionsRequestTypeDef,
        DescribeLaunchTemplateVersionsRequestTypeDef,
    )

_VERSIONS_MAX = 200
_NAMED = {"LaunchTemplateId", "LaunchTemplateName"}

# What ResolveAlias would resolve, parameters of Systems Manager as image ids, no image here has.
_DEFAULTS = {"IncludeManagedResources": False, "ResolveAlias": False}


class _Member(sa.sql.functions.FunctionElement[str]):
    """A member of a version's data as text, by its path: ``MetadataOptions``, ``HttpTokens``."""

    type = sa.Text()
    inherit_cache = False

    def __init__(self, *path: str) -> None:
        super().__init__(launch_template_versions.c.data)
        self.path = path


@compiles(_Member)
def _member(element: _Member, compiler: Any, **options: Any) -> str:
    column = compiler.process(next(iter(element.clauses)), **options)
    return f"(CAST({column} AS json) #>> '{{{','.join(element.path)}}}')"


@compiles(_Member, "sqlite")
def _member_sqlite(element: _Member, compiler: Any, **options: Any) -> str:
    column = compiler.process(next(iter(element.clauses)), **options)
    return f"json_extract({column}, '$.{'.'.join(element.path)}')"


def _of_template(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """A column of the version's template."""
    found = sa.select(column).where(launch_templates.c.id == launch_template_versions.c.template_id)
    return found.scalar_subquery()


def _is_true(member: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.case((sa.cast(member, sa.Text).in_(["1", "true"]), sa.true()), else_=sa.false())


_DEFAULT = launch_template_versions.c.number == _of_template(launch_templates.c.default_version)
_LATEST = launch_template_versions.c.number == _of_template(launch_templates.c.latest_version)

_FILTERS: dict[str, Condition] = {
    "create-time": moment(launch_template_versions.c.created_at),
    "ebs-optimized": flag(_is_true(_Member("EbsOptimized"))),
    "host-resource-group-arn": text(_Member("Placement", "HostResourceGroupArn")),
    "http-endpoint": text(_Member("MetadataOptions", "HttpEndpoint")),
    "http-protocol-ipv4": absent,
    "http-tokens": text(_Member("MetadataOptions", "HttpTokens")),
    "iam-instance-profile": text(_Member("IamInstanceProfile", "Arn")),
    "image-id": text(_Member("ImageId")),
    "instance-type": text(_Member("InstanceType")),
    "is-default-version": flag(sa.case((_DEFAULT, sa.true()), else_=sa.false())),
    "kernel-id": text(_Member("KernelId")),
    "ram-disk-id": text(_Member("RamDiskId")),
}


@operation(resources=named_template)
def create_launch_template_version(call: Call, request: CreateLaunchTemplateVersionRequestTypeDef) -> Response:
    """The next version; with SourceVersion, what that one has and the request does not."""
    honoured = {"ClientToken", "LaunchTemplateData", "SourceVersion", "VersionDescription", *_NAMED}
    refuse_others(request, honoured, _DEFAULTS)
    data = launch_template_data.given(request["LaunchTemplateData"])
    description = version_description(request)
    take_turn(call.tx)
    template = load_template(call, request)
    if request.get("SourceVersion"):
        source = load_version(call, template, request["SourceVersion"])
        data = launch_template_data.based_on(source.data, data)
    number = template.versions_made + 1
    made_before = claim(call, request, f"{template.id}:{number}", longest=TOKEN_LENGTH_MAX)
    if made_before is not None:
        earlier = load_version(call, template, made_before.partition(":")[2])
        return {"LaunchTemplateVersion": _described(template, earlier)}
    most, held = limit_and_count(call, LAUNCH_TEMPLATE_VERSIONS, LaunchTemplateVersion, template_id=template.id)
    if held >= most:
        raise ResourceLimitExceeded(f"The maximum number of versions of a launch template ({most}) has been reached.")
    template = call.tx.update(template, latest_version=number, versions_made=number)
    version = new_version(call, template, number, description, data)
    call.tx.insert(version)
    return {"LaunchTemplateVersion": _described(template, version)}


@operation()
def describe_launch_template_versions(call: Call, request: DescribeLaunchTemplateVersionsRequestTypeDef) -> Response:
    """Those of one template, or the latest or default ones of all; in ascending order of number.

    Raises InvalidLaunchTemplateId.VersionNotFound for a version that is named and is not there.
    """
    refuse_others(
        request,
        {"Filters", "MaxResults", "MaxVersion", "MinVersion", "NextToken", "Versions", *_NAMED},
        _DEFAULTS,
    )
    check_page(request)
    wanted = request.get("Versions") or ()
    if len(wanted) > _VERSIONS_MAX:
        raise InvalidParameterValue(f"At most {_VERSIONS_MAX} versions may be given in a request.")
    equal: dict[str, Any] = LAUNCH_TEMPLATE.owner(call)
    if any(request.get(name) for name in _NAMED):
        template = load_template(call, request)
        equal["template_id"] = template.id
        where = _of_one(call, template, request, wanted)
    else:
        where = [_of_all(request, wanted)]
    where += conditions(call, request.get("Filters", ()), _FILTERS)
    found = page(call, LaunchTemplateVersion, request, *where, key=("template_id", "number"), smallest=1, **equal)
    ids = sorted({version.template_id for version in found.rows})
    templates = {template.id: template for template in LAUNCH_TEMPLATE.load_all(call, ids)} if ids else {}
    shown = [_described(templates[version.template_id], version) for version in found.rows]
    return {"LaunchTemplateVersions": shown, **found.token}


def _of_one(
    call: Call, template: LaunchTemplate, request: Mapping[str, Any], wanted: Sequence[str]
) -> list[sa.ColumnElement[bool]]:
    number = launch_template_versions.c.number
    where: list[sa.ColumnElement[bool]] = []
    if wanted:
        where.append(number.in_({load_version(call, template, version).number for version in wanted}))
    for name, compare in (("MinVersion", number.__ge__), ("MaxVersion", number.__le__)):
        if bound := request.get(name):
            limit = version_number(template, bound)
            if limit is None:
                raise InvalidParameterValue(f"Value ({bound}) for parameter {name} is invalid. It must be a number.")
            where.append(compare(limit))
    return where


def _of_all(request: Mapping[str, Any], wanted: Sequence[str]) -> sa.ColumnElement[bool]:
    if not wanted or request.get("MinVersion") or request.get("MaxVersion"):
        raise MissingParameter("LaunchTemplateId or LaunchTemplateName")
    by_name = {"$Default": _DEFAULT, "$Latest": _LATEST}
    if wrong := [version for version in wanted if version not in by_name]:
        raise InvalidParameterValue(
            f"Value ({wrong[0]}) for parameter versions is invalid. Without a launch template only $Latest and "
            "$Default may be given."
        )
    return sa.or_(*(by_name[version] for version in set(wanted)))


@operation(resources=named_template)
def delete_launch_template_versions(call: Call, request: DeleteLaunchTemplateVersionsRequestTypeDef) -> Response:
    """Each for itself: the answer says which are gone, and why others are not. The default one stays."""
    wanted = list(dict.fromkeys(request["Versions"]))
    if not wanted or len(wanted) > _VERSIONS_MAX:
        raise InvalidParameterValue(f"From 1 to {_VERSIONS_MAX} versions may be given in a request.")
    take_turn(call.tx)
    template = load_template(call, request)
    numbers = [_number(template, version) for version in wanted]
    deleted, kept = [], []
    for number in numbers:
        item = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "VersionNumber": number}
        version = call.tx.get(LaunchTemplateVersion, template.id, number)
        if version is None:
            code, message = "launchTemplateVersionDoesNotExist", f"The version {number} does not exist."
            kept.append({**item, "ResponseError": {"Code": code, "Message": message}})
        elif number == template.default_version:
            message = "The default version of a launch template cannot be deleted."
            kept.append({**item, "ResponseError": {"Code": "unexpectedError", "Message": message}})
        else:
            call.tx.delete(version)
            deleted.append(item)
    (latest,) = call.tx.select(
        LaunchTemplateVersion,
        template_id=template.id,
        order_by=(launch_template_versions.c.number.desc(),),
        limit=1,
    )
    if latest.number != template.latest_version:
        call.tx.update(template, latest_version=latest.number)
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": deleted,
        "UnsuccessfullyDeletedLaunchTemplateVersions": kept,
    }


def _number(template: LaunchTemplate, version: str) -> int:
    number = version_number(template, version)
    if number is None:
        raise InvalidParameterValue(f"Value ({version}) for parameter versions is invalid. It must be a number.")
    return number


def _described(template: LaunchTemplate, version: LaunchTemplateVersion) -> dict[str, Any]:
    description = {} if version.description is None else {"VersionDescription": version.description}
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "VersionNumber": version.number,
        **description,
        "CreateTime": version.created_at,
        "CreatedBy": version.created_by,
        "DefaultVersion": version.number == template.default_version,
        "LaunchTemplateData": launch_template_data.shown(version.data),
        "Operator": {"Managed": False},
    }
