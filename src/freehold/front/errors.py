"""The front door's own errors: AWS names the same refusal differently in each family of services.

A family is a protocol with its habits: ``ec2``, ``query`` (IAM, STS, RDS …), ``json`` (KMS, Logs …), ``rest-json`` and
``rest-xml`` (S3). Sources: the "Common Errors" page of each service's API reference,
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from freehold.services.errors import AwsError

Family = Literal["ec2", "query", "json", "rest-json", "rest-xml"]
Answers = Mapping[str, tuple[int, str, str]]  # by family: HTTP status, code, message

_ECHO_LIMIT = 200  # characters of a caller's own text that an error repeats


def echo(text: str) -> str:
    """The caller's own text, cut to what an error message repeats of it."""
    return text if len(text) <= _ECHO_LIMIT else text[:_ECHO_LIMIT] + "…"


class FamilyError(AwsError):
    """An error whose code, status and wording depend on the family. `answers` gives (status, code, message); a family
    that it lacks speaks as ``query`` does, ``rest-json`` as ``json``. Messages are filled from `details`."""

    answers: ClassVar[Answers]

    def __init__(self, **details: str) -> None:
        self.details = details
        _, code, message = self.answers["query"]
        super().__init__(f"{code}: {message.format(**details)}")

    def answer(self, family: Family) -> tuple[int, str, str]:
        found = self.answers.get(family)
        if found is None and family == "rest-json":
            found = self.answers.get("json")
        status, code, message = found or self.answers["query"]
        return status, code, message.format(**self.details)


# Who may do it, and what is asked for


class AccessDenied(FamilyError):
    """The policy says no; `explanation` names principal, action and resource."""

    answers: ClassVar[Answers] = {
        "ec2": (403, "UnauthorizedOperation", "You are not authorized to perform this operation. {explanation}"),
        "query": (403, "AccessDenied", "{explanation}"),
        "json": (400, "AccessDeniedException", "{explanation}"),
        "rest-json": (403, "AccessDeniedException", "{explanation}"),
        "rest-xml": (403, "AccessDenied", "{explanation}"),
    }


class UnknownOperation(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "InvalidAction", "The action {operation} is not valid for this web service."),
        "json": (400, "UnknownOperationException", "The operation {operation} is unknown to this service."),
        "rest-json": (404, "UnknownOperationException", "No operation answers {operation}."),
        "rest-xml": (405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
    }


class WrongVersion(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "NoSuchVersion", "The requested version ({version}) of service {service} does not exist")
    }


class MissingAction(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "MissingAction", "The request must contain the parameter Action"),
        "json": (400, "UnknownOperationException", "The request must contain the header X-Amz-Target"),
    }


class NotBuilt(FamilyError):
    """The operation or service exists in AWS and is not built here; `what` names it."""

    answers: ClassVar[Answers] = {
        "query": (400, "UnsupportedOperation", "{what} is not supported by this cloud."),
        "rest-xml": (501, "NotImplemented", "{what} is not supported by this cloud."),
    }


# The input


class InputError(FamilyError):
    """A member of the input is wrong. The path of the member is put together while the parsers unwind."""

    def __init__(self, **details: str) -> None:
        super().__init__(path="", **details)

    def under(self, *names: str) -> Self:
        """Put `names` before the path: this happened inside of them."""
        path = self.details["path"]
        self.details["path"] = ".".join((*names, path) if path else names)
        return self


class MissingMember(InputError):
    answers: ClassVar[Answers] = {
        "ec2": (400, "MissingParameter", "The request must contain the parameter {path}"),
        "query": (
            400,
            "ValidationError",
            "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null",
        ),
        "json": (
            400,
            "ValidationException",
            "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null",
        ),
        "rest-xml": (400, "InvalidRequest", "The request must contain {path}"),
    }


class MissingElement(MissingMember):
    """The same of a member in an XML body."""

    answers: ClassVar[Answers] = {
        **MissingMember.answers,
        "rest-xml": (
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema: "
            "{path} is missing",
        ),
    }


class UnknownMember(InputError):
    """Named in the request, not in the service model. AWS's JSON services pass over such members; here nothing that a
    caller asks for is dropped in silence."""

    answers: ClassVar[Answers] = {
        "ec2": (400, "UnknownParameter", "The parameter {path} is not recognized"),
        "query": (400, "ValidationError", "The parameter {path} is not recognized"),
        "json": (400, "ValidationException", "The member {path} is not recognized"),
        "rest-xml": (
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema: "
            "{path} is not recognized",
        ),
    }


class ConstraintViolated(InputError):
    """A value of the right type that the model does not allow; `value` is the caller's, `constraint` completes
    "Member must …"."""

    answers: ClassVar[Answers] = {
        "ec2": (400, "InvalidParameterValue", "Value ({value}) for parameter {path} is invalid. It must {constraint}"),
        "query": (
            400,
            "ValidationError",
            "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: "
            "Member must {constraint}",
        ),
        "json": (
            400,
            "ValidationException",
            "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: "
            "Member must {constraint}",
        ),
        "rest-xml": (400, "InvalidArgument", "Value '{value}' at '{path}' is invalid: it must {constraint}"),
    }


class WrongType(InputError):
    """A value that is not of the member's type; `expected` is ``an integer``, ``a timestamp`` …"""

    answers: ClassVar[Answers] = {
        "ec2": (400, "InvalidParameterValue", "Value ({value}) for parameter {path} is invalid. Expected {expected}"),
        "query": (400, "MalformedInput", "Value '{value}' at '{path}' is not {expected}"),
        "json": (400, "SerializationException", "Value at '{path}' is not {expected}"),
        "rest-xml": (
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema: "
            "'{path}' is not {expected}",
        ),
    }


class Malformed(FamilyError):
    """The request can not be read at all; `problem` is a sentence without its full stop."""

    answers: ClassVar[Answers] = {
        "query": (400, "MalformedQueryString", "{problem}"),
        "json": (400, "SerializationException", "{problem}"),
        "rest-xml": (400, "MalformedXML", "The XML you provided was not well-formed: {problem}"),
    }


class InvalidUri(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "MalformedQueryString", "The request's path or query string is not valid UTF-8"),
        "json": (400, "SerializationException", "The request's path or query string is not valid UTF-8"),
        "rest-xml": (400, "InvalidURI", "Couldn't parse the specified URI."),
    }


class TooLarge(FamilyError):
    """`limit` names what is too large and how large it may be."""

    answers: ClassVar[Answers] = {
        "query": (413, "RequestEntityTooLarge", "The request is too large: {limit}"),
        "json": (413, "RequestEntityTooLargeException", "The request is too large: {limit}"),
        "rest-xml": (400, "MaxMessageLengthExceeded", "Your request was too large: {limit}"),
    }


class HeadTooLarge(TooLarge):
    answers: ClassVar[Answers] = {
        **TooLarge.answers,
        "rest-xml": (
            400,
            "RequestHeaderSectionTooLarge",
            "Your request header and query parameters exceed the maximum allowed size: {limit}",
        ),
    }


class TooSlow(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (408, "RequestTimeout", "The request was not received in time"),
        "json": (408, "RequestTimeoutException", "The request was not received in time"),
        "rest-xml": (
            400,
            "RequestTimeout",
            "Your socket connection to the server was not read from or written to within the timeout period.",
        ),
    }


class IncompleteBody(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (
            400,
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        )
    }
