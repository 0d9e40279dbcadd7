"""Disks that are imported from a bucket, or exported to one: ImportSnapshot, ExportImage and their tasks.

There are no buckets yet. What names one is refused as AWS refuses an object that is not there or that the caller may
not read (`check_no_bucket`: where it will be looked up), so that no task is ever begun: the lists of tasks are empty.
``freehold image`` and ``freehold snapshot`` take and give files.

https://docs.aws.amazon.com/vm-import/latest/userguide/vmimport-import-snapshot.html and
https://docs.aws.amazon.com/vm-import/latest/userguide/vmexport_image.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from freehold.records.ids import is_ec2_id
from freehold.records.import_tasks import import_tasks
from freehold.services.ec2.errors import InvalidNextToken, Malformed, MissingParameter, NotFound
from freehold.services.ec2.filters import absent, conditions
from freehold.services.ec2.image_creation import checked_description
from freehold.services.ec2.import_errors import (
    InvalidConversionTaskIdMalformed,
    InvalidConversionTaskIdNotFound,
    InvalidExportTaskIDMalformed,
    InvalidExportTaskIDNotFound,
    NoSuchObject,
)
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import IMAGE, SNAPSHOT, made, made_as
from freehold.services.ec2.tags import specified
from freehold.services.operation import Call, Needed, Response, operation

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        CancelExportTaskRequestTypeDef,
        DescribeExportImageTasksRequestTypeDef,
        DescribeImportSnapshotTasksRequestTypeDef,
        ExportImageRequestTypeDef,
        ImportSnapshotRequestTypeDef,
    )

_IMPORT, _EXPORT = "import-snapshot-task", "export-image-task"


def check_no_bucket(container: Mapping[str, Any]) -> None:
    """Raise NoSuchObject for a disk whose container says that it is in a bucket."""
    if container.get("Url"):
        raise NoSuchObject(str(container["Url"]).removeprefix("s3://"))
    if bucket := container.get("UserBucket"):
        raise NoSuchObject(f"{bucket.get('S3Bucket', '')}/{bucket.get('S3Key', '')}")


def _needed_to_import(call: Call, request: ImportSnapshotRequestTypeDef) -> Iterator[Needed]:
    yield from _task(call, request, _IMPORT)
    yield from made(call, request, SNAPSHOT)


@operation(resources=_needed_to_import)
def import_snapshot(call: Call, request: ImportSnapshotRequestTypeDef) -> Response:
    """Its disk can only be in a bucket. Raises InvalidParameter. What it would be (Format, Encrypted, KmsKeyId), under
    which ClientToken and RoleName, and ClientData (Comment, UploadStart, UploadEnd, UploadSize) make no difference."""
    specified(request.get("TagSpecifications"), _IMPORT)
    checked_description(request.get("Description") or "")
    container = request.get("DiskContainer") or {}
    check_no_bucket(container)
    raise MissingParameter("DiskContainer")


def _needed_to_export(call: Call, request: ExportImageRequestTypeDef) -> Iterator[Needed]:
    yield from _task(call, request, _EXPORT)
    yield IMAGE.needed(call, request["ImageId"])


@operation(resources=_needed_to_export)
def export_image(call: Call, request: ExportImageRequestTypeDef) -> Response:
    """It can only go to a bucket. Raises InvalidAMIID.NotFound, AuthFailure for another's, InvalidParameter: what it
    would be there (DiskImageFormat), under which ClientToken and RoleName, makes no difference."""
    specified(request.get("TagSpecifications"), _EXPORT)
    checked_description(request.get("Description") or "")
    IMAGE.own(call, request["ImageId"])
    location = request["S3ExportLocation"]
    raise NoSuchObject(f"{location['S3Bucket']}/{location.get('S3Prefix', '')}")


@operation()
def describe_import_snapshot_tasks(call: Call, request: DescribeImportSnapshotTasksRequestTypeDef) -> Response:
    """None: there are no buckets that a disk could come from."""
    refuse_others(request, {"Filters", "ImportTaskIds", "MaxResults", "NextToken"})
    for task_id in request.get("ImportTaskIds") or ():
        _missing("import-snap", task_id, InvalidConversionTaskIdMalformed, InvalidConversionTaskIdNotFound)
    _check(call, request)
    return {"ImportSnapshotTasks": []}


@operation()
def describe_export_image_tasks(call: Call, request: DescribeExportImageTasksRequestTypeDef) -> Response:
    """None: there are no buckets that an image could go to."""
    refuse_others(request, {"ExportImageTaskIds", "Filters", "MaxResults", "NextToken"})
    for task_id in request.get("ExportImageTaskIds") or ():
        _missing("export-ami", task_id, InvalidExportTaskIDMalformed, InvalidExportTaskIDNotFound)
    _check(call, request)
    return {"ExportImageTasks": []}


def _named(call: Call, request: CancelExportTaskRequestTypeDef) -> list[Needed]:
    task_id = request["ExportTaskId"]
    kind = _EXPORT if task_id.startswith("export-ami-") else "export-instance-task"
    return [Needed(call.arn(f"{kind}/{task_id}"))]


@operation(resources=_named)
def cancel_export_task(_call: Call, request: CancelExportTaskRequestTypeDef) -> Response:
    """There is none. Raises InvalidExportTaskID.NotFound."""
    task_id = request["ExportTaskId"]
    prefix = "export-i" if task_id.startswith("export-i-") else "export-ami"
    _missing(prefix, task_id, InvalidExportTaskIDMalformed, InvalidExportTaskIDNotFound)
    return {}


def _task(call: Call, request: Any, kind: str) -> Iterator[Needed]:
    """The task that the request would begin, and its tags."""
    return made_as(call, request, call.arn(f"{kind}/*"), kind)


def _missing(prefix: str, task_id: str, malformed: type[Malformed], not_found: type[NotFound]) -> None:
    """Raises for an id, which can not be that of a task."""
    if not is_ec2_id(prefix, task_id):
        raise malformed(prefix, task_id)
    raise not_found(task_id)


def _check(call: Call, request: Mapping[str, Any]) -> None:
    """Raises InvalidParameterValue for a filter that there is not, InvalidNextToken: no list of none has one."""
    conditions(call, request.get("Filters", ()), {"task-state": absent}, import_tasks.c.id)
    if request.get("NextToken"):
        raise InvalidNextToken
