"""KMS's error codes, one class each, in alphabetical order of code.

https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html and the pages of the operations. Messages are in
AWS's own words where clients are known to show or match them; some of its errors have none.
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class AccessDenied(AwsError):
    """Of a key that the caller did not name: it says neither which key it is nor whether there is one."""

    code = "AccessDeniedException"

    def __init__(self) -> None:
        super().__init__(
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you "
            "are not allowed to access."
        )


class AlreadyExists(AwsError):
    code = "AlreadyExistsException"

    def __init__(self, alias_arn: str) -> None:
        super().__init__(f"An alias with the name {alias_arn} already exists")


class Conflict(AwsError):
    code = "ConflictException"


class Disabled(AwsError):
    code = "DisabledException"

    def __init__(self, arn: str) -> None:
        super().__init__(f"{arn} is disabled.")


class DryRun(AwsError):
    """DryRun was asked for, and the request would have succeeded."""

    code = "DryRunOperationException"

    def __init__(self) -> None:
        super().__init__("The request would have succeeded, but the DryRun option is set.")


class ExpiredImportToken(AwsError):
    code = "ExpiredImportTokenException"

    def __init__(self) -> None:
        super().__init__("The import token has expired: get new parameters for import.")


class IncorrectKey(AwsError):
    code = "IncorrectKeyException"

    def __init__(self) -> None:
        super().__init__("The key ID in the request does not identify a CMK that can perform this operation.")


class IncorrectKeyMaterial(AwsError):
    code = "IncorrectKeyMaterialException"


class InvalidAliasName(AwsError):
    code = "InvalidAliasNameException"


class InvalidArn(AwsError):
    code = "InvalidArnException"


class InvalidCiphertext(AwsError):
    """It says no more, so that nobody learns how the ciphertext is wrong."""

    code = "InvalidCiphertextException"

    def __init__(self) -> None:
        super().__init__("")


class InvalidGrantId(AwsError):
    code = "InvalidGrantIdException"


class InvalidGrantToken(AwsError):
    code = "InvalidGrantTokenException"

    def __init__(self) -> None:
        super().__init__("The grant token is not valid.")


class InvalidImportToken(AwsError):
    code = "InvalidImportTokenException"

    def __init__(self) -> None:
        super().__init__("The import token is not valid or belongs to another KMS key.")


class InvalidKeyUsage(AwsError):
    code = "InvalidKeyUsageException"


class WrongUsage(InvalidKeyUsage):
    def __init__(self, arn: str, usage: str, operation: str) -> None:
        super().__init__(f"{arn} key usage is {usage} which is not valid for {operation}.")


class WrongAlgorithm(InvalidKeyUsage):
    def __init__(self, algorithm: str, spec: str) -> None:
        super().__init__(f"Algorithm {algorithm} is incompatible with key spec {spec}.")


class InvalidMac(AwsError):
    code = "KMSInvalidMacException"

    def __init__(self) -> None:
        super().__init__("")


class InvalidMarker(AwsError):
    code = "InvalidMarkerException"

    def __init__(self) -> None:
        super().__init__("The marker is not one that this operation returned for the same request.")


class InvalidSignature(AwsError):
    code = "KMSInvalidSignatureException"

    def __init__(self) -> None:
        super().__init__("")


class InvalidState(AwsError):
    """`problem` completes the key's ARN: ``is pending deletion``."""

    code = "KMSInvalidStateException"

    def __init__(self, arn: str, problem: str) -> None:
        super().__init__(f"{arn} {problem}.")


class LimitExceeded(AwsError):
    code = "LimitExceededException"


class MalformedPolicyDocument(AwsError):
    code = "MalformedPolicyDocumentException"


class NotAuthorized(AwsError):
    """Names and keys that are AWS's own."""

    code = "NotAuthorizedException"

    def __init__(self) -> None:
        super().__init__("")


class NotFound(AwsError):
    code = "NotFoundException"


class TagError(AwsError):
    code = "TagException"


class UnsupportedOperationException(AwsError):
    """KMS's own: what the key is does not allow the operation."""

    code = "UnsupportedOperationException"


class WrongOrigin(UnsupportedOperationException):
    def __init__(self, arn: str, origin: str) -> None:
        super().__init__(f"{arn} origin is {origin} which is not valid for this operation.")


class Validation(AwsError):
    code = "ValidationException"
