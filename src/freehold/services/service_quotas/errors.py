"""Service Quotas' error codes, one class each, in alphabetical order of code.

https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/CommonErrors.html and the pages of the operations.
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class IllegalArgument(AwsError):
    code = "IllegalArgumentException"


class InvalidPaginationToken(AwsError):
    code = "InvalidPaginationTokenException"

    def __init__(self) -> None:
        super().__init__("The token is not one that this operation gave for the same parameters.")


class NoSuchResource(AwsError):
    code = "NoSuchResourceException"


class ResourceAlreadyExists(AwsError):
    code = "ResourceAlreadyExistsException"


class TooManyTags(AwsError):
    code = "TooManyTagsException"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You've exceeded the number of tags allowed for a resource ({limit}).")
