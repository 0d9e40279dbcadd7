"""Values that fit a botocore shape, for hypothesis: adversarial where the model leaves room."""

from __future__ import annotations

import datetime as dt
import string
from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from hypothesis import strategies as st

DEPTH_MAX = 4

_ADVERSARIAL = (
    "",
    "a",
    "ü✓🐧",
    "<&>\"']]>",
    " a  b ",
    "a\nb\tc\r\nd",
    "%2F+%20",
    'a,b"c',
    "..",
    "\u2028",
    "0",
    "true",
    "x" * 300,
)
_HEADER_SAFE = ("a", "a,b", 'q"q', "x y", "%2F", "<&>", "0")
# For the patterns of the models: the first that fits is taken.
_PATTERN_CANDIDATES = (
    "a",
    "1",
    "ab",
    "abc",
    "a1",
    "abcd",
    "A",
    "abcdefgh",
    "0" * 12,
    "a" * 20,
    "A" * 20,
    "a" * 32,
    "0" * 32,
    "a" * 64,
    "1" * 17,
    "arn:aws:iam::123456789012:role/r",
    "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "arn:aws:logs:us-east-1:123456789012:log-group:g",
    "arn:aws:ec2:us-east-1:123456789012:instance/i-1",
    "alias/a",
    "1234abcd-12ab-34cd-56ef-1234567890ab",
    "2026-11-25",
    "2026-11-25T00:00:00Z",
    "us-east-1",
    "a@b.cc",
    "/",
    "/a/",
    "1.0",
    "key-12345678",
    "i-12345678",
    "vpc-12345678",
    "sg-12345678",
    "subnet-12345678",
    "a.b",
    "ab-12345678",
    "0123456789abcdef0",
    "https://a.b/c",
    "arn:aws:s3:::b",
    "123456",
    "10.0.0.0/8",
    "XKS_ABC",
    "ABCDEFGHIJKLMNOPQRST",
    "acct",
    "cks-1234567890abcdef0",
    "{}",
    "aws:a",
    "AWS:a/b",
    "rate(1 minute)",
    "1:2",
    "a:b:c",
    "fcap-0123456789abcdef0",
    "fcapassoc-0123456789abcdef0",
    "v1",
    "o-0123456789/r-01234/",
    "default",
    "arn:aws:cloudwatch:us-east-1:123456789012:dataset/default",
    "db.t3.micro",
    "arn:aws:rds:us-east-1:123456789012:db:a",
    "a.amazonaws.com",
    "arn:aws:lambda:us-east-1:123456789012:function:f",
    "arn:aws:lambda:us-east-1:123456789012:layer:l:1",
    "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdef0",
    "csc-0123456789abcdef0",
    "arn:aws:lambda:us-east-1:123456789012:function:f:1/durable-execution/a/b",
    "arn:aws:lambda:us-east-1:123456789012:capacity-provider:c",
    "lambda:GetLayerVersion",
)


class Values:
    """Strategies for the shapes of one service. `fits` tells whether a string is allowed by its shape."""

    def __init__(self, fits: Callable[[Shape, str], bool]) -> None:
        self._fits = fits

    def of(self, shape: Shape, depth: int = 0) -> st.SearchStrategy[Any] | None:
        """None when no value of this shape is known (a pattern that no candidate fits) or it nests too deeply."""
        location = shape.serialization.get("location")
        match shape:
            case StructureShape():
                return self._structure(shape, depth)
            case ListShape():
                inner = self.of(shape.member, depth + 1)
                low = shape.metadata.get("min", 0) or 0
                if location in ("header", "querystring"):
                    low = max(low, 1)
                if inner is None or depth >= DEPTH_MAX:
                    return st.just([]) if low == 0 else None
                if low > 5:
                    return None
                return st.lists(inner, min_size=low, max_size=max(low, min(2, shape.metadata.get("max") or 2)))
            case MapShape():
                keys = self._strings(shape.key, location)
                value = self.of(shape.value, depth + 1)
                low = max(shape.metadata.get("min", 0) or 0, 1 if location else 0)
                if location:
                    keys = st.sampled_from(["mine", "a-b"])
                if keys is None or value is None or depth >= DEPTH_MAX:
                    return st.just({}) if low == 0 else None
                return st.dictionaries(
                    keys, value, min_size=low, max_size=max(low, min(2, shape.metadata.get("max") or 2))
                )
            case StringShape():
                return self._strings(shape, location)
        if location == "statusCode":
            return st.integers(200, 299)
        return self._scalar(shape)

    def _structure(self, shape: StructureShape, depth: int) -> st.SearchStrategy[Any] | None:
        if shape.is_document_type:
            return st.sampled_from([{"a": [1, "x", None, {"b": True}]}, {}])
        if shape.is_tagged_union:
            for name, member in shape.members.items():
                value = self.of(member, depth + 1)
                if value is not None and depth < DEPTH_MAX + 2:
                    return st.fixed_dictionaries({name: value})
            return None
        required: dict[str, Any] = {}
        optional: dict[str, Any] = {}
        for name, member in shape.members.items():
            needed = name in shape.required_members
            if depth >= DEPTH_MAX + (4 if needed else 0):
                if needed:
                    return None
                continue
            value = self.of(member, depth + 1)
            if value is None:
                if needed:
                    return None
            elif needed:
                required[name] = value
            else:
                optional[name] = value
        return st.fixed_dictionaries(required, optional=optional)

    def _strings(self, shape: Shape, location: str | None) -> st.SearchStrategy[str] | None:
        if not isinstance(shape, StringShape):
            return None
        if shape.enum:
            return st.sampled_from(list(shape.enum))
        if shape.serialization.get("hostLabel"):
            return st.just("a")
        if location == "uri":
            pool: tuple[str, ...] = ("ü/<&>+%", "a b", "key/../x", *_PATTERN_CANDIDATES)
        elif location in ("header", "headers"):
            pool = _HEADER_SAFE + _PATTERN_CANDIDATES
        else:
            pool = _ADVERSARIAL + _PATTERN_CANDIDATES
        low = shape.metadata.get("min") or 0
        if 300 < low < 5000:
            pool = (*pool, "x" * low)
        fitting = [text for text in pool if self._fits(shape, text)]
        return st.sampled_from(fitting) if fitting else None

    def _scalar(self, shape: Shape) -> st.SearchStrategy[Any]:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        match shape.type_name:
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(
                    int(low if low is not None else -(2**31)), int(high if high is not None else 2**31 - 1)
                )
            case "long" | "bigInteger":
                return st.integers(
                    int(low if low is not None else -(2**63)), int(high if high is not None else 2**63 - 1)
                )
            case "float" | "double":
                edge = st.sampled_from([0.0, -1.5, 1e300, 1e-7, 0.1])
                return edge if low is None and high is None else st.just(float(low if low is not None else high))
            case "timestamp":
                # Whole seconds: what botocore's own serialisers keep in every format.
                moments = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))
                return moments.map(lambda moment: moment.replace(microsecond=0))
            case "blob":
                size = int(low or 0)
                return st.sampled_from(
                    [
                        bytes(size),
                        b"\x00\xff" * size + b"\x01" if high is None or high > 2 * size else bytes(size),
                        string.printable.encode()[: int(high or 100)] if size <= 100 else bytes(size),
                    ]
                )
        raise TypeError(shape.type_name)
