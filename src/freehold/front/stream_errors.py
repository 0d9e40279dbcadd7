"""What the front door says of a body that streams, in S3's words: only S3's bodies do.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from typing import ClassVar

from freehold.front.errors import Answers, FamilyError


class MissingContentLength(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    }


class EntityTooLarge(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size")
    }


class InvalidDecodedLength(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (400, "InvalidArgument", "x-amz-decoded-content-length must be a number of bytes, given '{value}'")
    }


class BodyTerminated(FamilyError):
    """The chunks do not make up the body that the head announced."""

    answers: ClassVar[Answers] = {"query": (400, "IncompleteBody", "The request body terminated unexpectedly")}


class InvalidChunkSize(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (
            403,
            "InvalidChunkSizeError",
            "Only the last chunk is allowed to have a size less than 8192 bytes",
        )
    }


class MalformedTrailer(FamilyError):
    answers: ClassVar[Answers] = {
        "query": (
            400,
            "MalformedTrailerError",
            "The request contained trailing data that was not well-formed or did not conform to our published schema.",
        )
    }


class SlowDown(FamilyError):
    answers: ClassVar[Answers] = {"query": (503, "SlowDown", "Please reduce your request rate.")}
