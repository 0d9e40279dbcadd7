"""Error codes of the operations on imports and exports, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import InvalidParameter, Malformed, NotFound


class InvalidConversionTaskIdMalformed(Malformed):
    code = "InvalidConversionTaskId.Malformed"


class InvalidConversionTaskIdNotFound(NotFound):
    code = "InvalidConversionTaskId"
    noun = "conversion task ID"


class InvalidExportTaskIDMalformed(Malformed):
    code = "InvalidExportTaskID.Malformed"


class InvalidExportTaskIDNotFound(NotFound):
    code = "InvalidExportTaskID.NotFound"
    noun = "export task ID"


class NoSuchObject(InvalidParameter):
    """A bucket or an object that is not there, in the words that AWS has also for that."""

    def __init__(self, location: str) -> None:
        super().__init__(f"User does not have access to the S3 object ({location}).")
