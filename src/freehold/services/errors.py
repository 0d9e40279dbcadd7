"""Errors that leave as AWS errors.

One class per AWS error code; its fields are typed and its message is built in the class, so that every message names
the parameter or resource and what would be right. Services keep their own codes in their own ``errors`` module.
Codes common to all services: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and the
"Common Errors" page of each service's API reference.
"""

from __future__ import annotations

from typing import ClassVar


class AwsError(Exception):
    """Base of every error that a caller sees. `code` is AWS's code, `status` the HTTP status."""

    code: ClassVar[str]
    status: ClassVar[int] = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PartlyDone(Exception):
    """The caller is answered `error`, and yet what the operation did before stands: where AWS documents it so."""

    def __init__(self, error: AwsError) -> None:
        super().__init__(error.message)
        self.error = error


class InternalError(AwsError):
    """Something broke here; the cause is in the log under the request id, never in the answer."""

    code = "InternalError"
    status = 500

    def __init__(self, request_id: str) -> None:
        super().__init__(f"An internal error has occurred. Its cause is in the log under request id {request_id}.")


class UnsupportedOperation(AwsError):
    """The operation or parameter exists in AWS and is not built here."""

    code = "UnsupportedOperation"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not supported by this cloud.")


class DryRunOperation(AwsError):
    """DryRun was asked for and the request would have succeeded."""

    code = "DryRunOperation"
    status = 412

    def __init__(self) -> None:
        super().__init__("Request would have succeeded, but DryRun flag is set.")
