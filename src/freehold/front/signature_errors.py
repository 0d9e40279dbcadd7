"""What the front door says of a signature, as each family of services words it (see `errors`).

Sources: the "Common Errors" page of each service's API reference and
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from typing import ClassVar

from freehold.front.errors import Answers, FamilyError


class MissingSignature(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (403, "MissingAuthenticationToken", "Request is missing Authentication Token"),
        "json": (400, "MissingAuthenticationTokenException", "Request is missing Authentication Token"),
        "rest-json": (403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
        "rest-xml": (403, "AccessDenied", "Access Denied"),
    }


class TwoSignatures(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (
            400,
            "IncompleteSignature",
            "Sign a request in its Authorization header or its query string, not both",
        ),
        "json": (
            400,
            "IncompleteSignatureException",
            "Sign a request in its Authorization header or its query string, not both",
        ),
        "rest-xml": (
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified",
        ),
    }


class UnsupportedSignature(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "IncompleteSignature", "Unsupported signing algorithm '{algorithm}'; use AWS4-HMAC-SHA256."),
        "json": (
            400,
            "IncompleteSignatureException",
            "Unsupported signing algorithm '{algorithm}'; use AWS4-HMAC-SHA256.",
        ),
        "rest-xml": (
            400,
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
    }


class IncompleteSignature(FamilyError):
    """The signature can not be read; `problem` is a sentence."""

    answers: ClassVar[Answers] = {
        "query": (400, "IncompleteSignature", "{problem}"),
        "json": (400, "IncompleteSignatureException", "{problem}"),
        "rest-json": (403, "IncompleteSignatureException", "{problem}"),
        "rest-xml": (400, "AuthorizationHeaderMalformed", "{problem}"),
    }


class IncompleteQuerySignature(IncompleteSignature):
    """The same of a presigned request."""

    answers: ClassVar[Answers] = {
        **IncompleteSignature.answers,
        "rest-xml": (400, "AuthorizationQueryParametersError", "{problem}"),
    }


class UnknownKey(FamilyError):
    answers: ClassVar[Answers] = {
        "ec2": (401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
        "query": (403, "InvalidClientTokenId", "The security token included in the request is invalid."),
        "json": (400, "UnrecognizedClientException", "The security token included in the request is invalid."),
        "rest-json": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
        "rest-xml": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
    }


class WrongToken(FamilyError):
    """The session token is missing or not the one that belongs to the key."""

    answers: ClassVar[Answers] = {
        **UnknownKey.answers,
        "rest-xml": (400, "InvalidToken", "The provided token is malformed or otherwise invalid."),
    }


class ExpiredToken(FamilyError):
    answers: ClassVar[Answers] = {
        "ec2": (400, "RequestExpired", "Request has expired."),
        "query": (403, "ExpiredToken", "The security token included in the request is expired"),
        "json": (400, "ExpiredTokenException", "The security token included in the request is expired"),
        "rest-json": (403, "ExpiredTokenException", "The security token included in the request is expired"),
        "rest-xml": (400, "ExpiredToken", "The provided token has expired."),
    }


_DOES_NOT_MATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


class SignatureDoesNotMatch(FamilyError):
    answers: ClassVar[Answers] = {
        "ec2": (401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
        "query": (403, "SignatureDoesNotMatch", _DOES_NOT_MATCH),
        "json": (400, "InvalidSignatureException", _DOES_NOT_MATCH),
        "rest-json": (403, "InvalidSignatureException", _DOES_NOT_MATCH),
        "rest-xml": (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and "
            "signing method.",
        ),
    }


class ClockSkew(FamilyError):
    """Signed too long ago or in the future; `problem` says so with both times."""

    answers: ClassVar[Answers] = {
        "ec2": (400, "RequestExpired", "Request has expired."),
        "query": (403, "SignatureDoesNotMatch", "{problem}"),
        "json": (400, "InvalidSignatureException", "{problem}"),
        "rest-json": (403, "InvalidSignatureException", "{problem}"),
        "rest-xml": (
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
    }


class PresignedTooEarly(ClockSkew):
    answers: ClassVar[Answers] = {**ClockSkew.answers, "rest-xml": (403, "AccessDenied", "Request is not yet valid")}


class PresignedExpired(FamilyError):
    answers: ClassVar[Answers] = {
        "ec2": (400, "RequestExpired", "Request has expired."),
        "query": (403, "SignatureDoesNotMatch", "{problem}"),
        "json": (400, "InvalidSignatureException", "{problem}"),
        "rest-json": (403, "InvalidSignatureException", "{problem}"),
        "rest-xml": (403, "AccessDenied", "Request has expired"),
    }


class WrongScope(FamilyError):
    """The signature's scope names a region that this cloud does not serve, or another service."""

    answers: ClassVar[Answers] = {
        "ec2": (401, "AuthFailure", "{problem}"),
        "query": (403, "SignatureDoesNotMatch", "{problem}"),
        "json": (400, "InvalidSignatureException", "{problem}"),
        "rest-json": (403, "InvalidSignatureException", "{problem}"),
        "rest-xml": (400, "AuthorizationHeaderMalformed", "{problem}"),
    }


class UnsignedHeaders(FamilyError):
    answers: ClassVar[Answers] = {
        **SignatureDoesNotMatch.answers,
        "query": (403, "SignatureDoesNotMatch", "The header {header} of the request must be signed."),
        "rest-xml": (403, "AccessDenied", "There were headers present in the request which were not signed: {header}"),
    }


class PayloadHashMismatch(FamilyError):
    answers: ClassVar[Answers] = {
        **SignatureDoesNotMatch.answers,
        "rest-xml": (
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        ),
    }


class MissingPayloadHash(FamilyError):
    """Only S3 needs it."""

    answers: ClassVar[Answers] = {
        **SignatureDoesNotMatch.answers,
        "rest-xml": (400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"),
    }


class InvalidPayloadHash(FamilyError):
    answers: ClassVar[Answers] = {
        **SignatureDoesNotMatch.answers,
        "rest-xml": (
            400,
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        ),
    }
