"""CloudTrail's error codes, one class each, in alphabetical order of code.

https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/CommonErrors.html and the pages of the operations.
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class ArnInvalid(AwsError):
    code = "CloudTrailARNInvalidException"

    def __init__(self, arn: str) -> None:
        super().__init__(f"Trail ARN is not valid: {arn}")


class InsightNotEnabled(AwsError):
    code = "InsightNotEnabledException"

    def __init__(self, arn: str) -> None:
        super().__init__(f"Insights are not enabled on the trail {arn}.")


class InsufficientS3BucketPolicy(AwsError):
    code = "InsufficientS3BucketPolicyException"

    def __init__(self, bucket: str) -> None:
        super().__init__(f"Incorrect S3 bucket policy is detected for bucket: {bucket}")


class InvalidEventSelectors(AwsError):
    code = "InvalidEventSelectorsException"


class InvalidHomeRegion(AwsError):
    code = "InvalidHomeRegionException"

    def __init__(self, arn: str, region: str) -> None:
        super().__init__(f"The trail {arn} can only be changed from its home region {region}.")


class InvalidLookupAttributes(AwsError):
    code = "InvalidLookupAttributesException"

    def __init__(self) -> None:
        super().__init__("You can specify only one lookup attribute.")


class InvalidNextToken(AwsError):
    code = "InvalidNextTokenException"

    def __init__(self) -> None:
        super().__init__("The token is not one that this operation gave for the same parameters.")


class InvalidParameterCombination(AwsError):
    code = "InvalidParameterCombinationException"


class InvalidS3Prefix(AwsError):
    code = "InvalidS3PrefixException"

    def __init__(self) -> None:
        super().__init__("The S3 prefix must be at most 200 characters of those that are safe in an object key.")


class InvalidTagParameter(AwsError):
    code = "InvalidTagParameterException"


class InvalidTimeRange(AwsError):
    code = "InvalidTimeRangeException"

    def __init__(self) -> None:
        super().__init__("The start time is after the end time.")


class InvalidToken(AwsError):
    code = "InvalidTokenException"

    def __init__(self) -> None:
        super().__init__("The token is not one that this operation gave.")


class InvalidTrailName(AwsError):
    code = "InvalidTrailNameException"

    def __init__(self, problem: str) -> None:
        super().__init__(f"Trail name {problem}.")


class MaximumNumberOfTrailsExceeded(AwsError):
    code = "MaximumNumberOfTrailsExceededException"

    def __init__(self, account_id: str, most: int) -> None:
        super().__init__(f"User: {account_id} already has {most} trails in this region.")


class ResourceNotFound(AwsError):
    code = "ResourceNotFoundException"

    def __init__(self, arn: str) -> None:
        super().__init__(f"Resource not found: {arn}")


class S3BucketDoesNotExist(AwsError):
    code = "S3BucketDoesNotExistException"

    def __init__(self, bucket: str) -> None:
        super().__init__(f"S3 bucket {bucket} does not exist!")


class TagsLimitExceeded(AwsError):
    code = "TagsLimitExceededException"

    def __init__(self, most: int) -> None:
        super().__init__(f"A trail can have at most {most} tags.")


class TrailAlreadyExists(AwsError):
    code = "TrailAlreadyExistsException"

    def __init__(self, name: str, account_id: str) -> None:
        super().__init__(f"Trail {name} already exists for customer: {account_id}")


class TrailNotFound(AwsError):
    code = "TrailNotFoundException"

    def __init__(self, name: str, account_id: str) -> None:
        super().__init__(f"Unknown trail: {name} for the user: {account_id}")


class Unsupported(AwsError):
    code = "UnsupportedOperationException"
