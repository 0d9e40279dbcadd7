"""JSON bodies (``json``, ``rest-json``): one compiled parser and one compiled writer per shape.

A member's JSON name is its locationName; timestamps are seconds since 1970 unless the model says otherwise; blobs are
base64. https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#shape-serialization
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from botocore.model import ListShape, MapShape, Shape, StructureShape

from freehold.front.errors import InputError, Malformed, MissingMember, UnknownMember, WrongType, echo
from freehold.front.protocols.constraints import check_of
from freehold.front.protocols.values import (
    format_blob,
    format_float,
    format_iso8601,
    format_rfc822,
    from_unix,
    integer_parser,
    parse_blob,
    parse_timestamp,
    text,
    timestamp_format,
    to_unix,
)

Convert = Callable[[Any], Any]


def decode(body: bytes) -> Any:
    """A JSON document. Raises Malformed."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(problem="The request body is not valid JSON") from None
    except RecursionError:
        raise Malformed(problem="The request body is nested too deeply") from None


def _type_error(value: Any, expected: str) -> WrongType:
    return WrongType(value=echo(value) if isinstance(value, str) else "…", expected=expected)


class JsonParser:
    """Compiles the input shapes of one service model."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], Convert] = {}

    def structure(self, shape: StructureShape, names: frozenset[str] | None = None) -> Convert:
        """The parser of a structure; of the members `names` only, if given."""
        return self.parser(shape) if names is None else self._structure(shape, names)

    def parser(self, shape: Shape) -> Convert:
        key = (shape.name, repr(sorted(shape.serialization.items())))
        found = self._compiled.get(key)
        if found is None:
            compiled: list[Convert] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[key] = lambda value: compiled[0](value)  # noqa: PLW0108
            match shape:
                case StructureShape():
                    compiled.append(_document if shape.is_document_type else self._structure(shape, None))
                case ListShape():
                    compiled.append(self._list(shape))
                case MapShape():
                    compiled.append(self._map(shape))
                case _:
                    compiled.append(_checked(_scalar_parser(shape), shape))
            found = self._compiled[key] = compiled[0]
        return found

    def _structure(self, shape: StructureShape, names: frozenset[str] | None) -> Convert:
        members = {
            str(member.serialization.get("name", name)): (name, self.parser(member))
            for name, member in shape.members.items()
            if names is None or name in names
        }
        wire_names = {name: wire for wire, (name, _) in members.items()}
        required = [name for name in shape.members if name in shape.required_members and name in wire_names]

        def parse_structure(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise _type_error(value, "a structure")
            result: dict[str, Any] = {}
            for wire, item in value.items():
                member = members.get(wire)
                if member is None:
                    if wire == "__type":  # the type discriminator that some SDKs add
                        continue
                    raise UnknownMember().under(echo(wire))
                if item is None:
                    continue
                try:
                    result[member[0]] = member[1](item)
                except InputError as error:
                    error.under(wire)
                    raise
            for name in required:
                if name not in result:
                    raise MissingMember().under(wire_names[name])
            return result

        return parse_structure

    def _list(self, shape: ListShape) -> Convert:
        parse = self.parser(shape.member)

        def parse_list(value: Any) -> list[Any]:
            if not isinstance(value, list):
                raise _type_error(value, "a list")
            result = []
            for index, item in enumerate(value, 1):
                try:
                    result.append(parse(item))
                except InputError as error:
                    error.under(str(index), "member")
                    raise
            return result

        return _checked(parse_list, shape)

    def _map(self, shape: MapShape) -> Convert:
        parse_key, parse_value = self.parser(shape.key), self.parser(shape.value)

        def parse_map(value: Any) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise _type_error(value, "a map")
            result = {}
            for key, item in value.items():
                try:
                    result[parse_key(key)] = parse_value(item)
                except InputError as error:
                    error.under(echo(key), "member")
                    raise
            return result

        return _checked(parse_map, shape)


def _document(value: Any) -> Any:
    return value


def _checked(parse: Convert, shape: Shape) -> Convert:
    check = check_of(shape)
    if check is None:
        return parse

    def parse_checked(value: Any) -> Any:
        result = parse(value)
        check(result)
        return result

    return parse_checked


def _scalar_parser(shape: Shape) -> Convert:
    match shape.type_name:
        case "string" | "character":

            def parse_string(value: Any) -> str:
                if not isinstance(value, str):
                    raise _type_error(value, "a string")
                return text(value)

            return parse_string
        case "boolean":

            def parse_boolean(value: Any) -> bool:
                if not isinstance(value, bool):
                    raise _type_error(value, "a boolean")
                return value

            return parse_boolean
        case "integer" | "long" | "short" | "byte" | "bigInteger":
            in_range = integer_parser(shape)

            def parse_integer(value: Any) -> int:
                if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
                    value = int(value)
                if isinstance(value, bool) or not isinstance(value, int):
                    raise _type_error(value, "an integer")
                return in_range(str(value)) if abs(value) < 2**64 else in_range("")

            return parse_integer
        case "float" | "double":

            def parse_float(value: Any) -> float:
                if value in ("NaN", "Infinity", "-Infinity"):
                    return float(value)
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise _type_error(value, "a number")
                try:
                    return float(value)
                except OverflowError:
                    raise _type_error(value, "a number that fits 64 bits") from None

            return parse_float
        case "timestamp":

            def parse_time(value: Any) -> Any:
                if isinstance(value, str):
                    return parse_timestamp(value)
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise _type_error(value, "a timestamp")
                return from_unix(value)

            return parse_time
        case "blob":

            def parse_bytes(value: Any) -> bytes:
                if not isinstance(value, str):
                    raise _type_error(value, "base64")
                return parse_blob(value)

            return parse_bytes
    raise TypeError(f"{shape.name} ({shape.type_name}) can not be read from JSON")


class JsonWriter:
    """Compiles the output shapes of one service model into conversions to what JSON can carry."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], Convert] = {}

    def structure(self, shape: StructureShape, names: frozenset[str] | None = None) -> Convert:
        """The conversion of a structure; of the members `names` only, if given."""
        return self.writer(shape) if names is None else self._structure(shape, names)

    def writer(self, shape: Shape) -> Convert:
        key = (shape.name, repr(sorted(shape.serialization.items())))
        found = self._compiled.get(key)
        if found is None:
            compiled: list[Convert] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[key] = lambda value: compiled[0](value)  # noqa: PLW0108
            match shape:
                case StructureShape():
                    compiled.append(_document if shape.is_document_type else self._structure(shape, None))
                case ListShape():
                    compiled.append(self._list(shape))
                case MapShape():
                    compiled.append(self._map(shape))
                case _:
                    compiled.append(_scalar_writer(shape))
            found = self._compiled[key] = compiled[0]
        return found

    def _structure(self, shape: StructureShape, names: frozenset[str] | None) -> Convert:
        members = {
            name: (str(member.serialization.get("name", name)), self.writer(member))
            for name, member in shape.members.items()
            if names is None or name in names
        }

        def write_structure(value: Any) -> dict[str, Any]:
            result = {}
            for name, item in value.items():
                if item is not None:
                    wire, write = members[name]  # KeyError: the operation gave what its output shape does not have
                    result[wire] = write(item)
            return result

        return write_structure

    def _list(self, shape: ListShape) -> Convert:
        write = self.writer(shape.member)
        return list if write is _as_it_is else lambda value: [write(item) for item in value]

    def _map(self, shape: MapShape) -> Convert:
        write = self.writer(shape.value)
        return lambda value: {key: write(item) for key, item in value.items()}


def _as_it_is(value: Any) -> Any:
    return value


def _json_float(value: float) -> Any:
    return value if value - value == 0 else format_float(float(value))  # NaN and the infinities have only names


_TIMESTAMPS: dict[str, Convert] = {"unixtimestamp": to_unix, "iso8601": format_iso8601, "rfc822": format_rfc822}


def _scalar_writer(shape: Shape) -> Convert:
    match shape.type_name:
        case "timestamp":
            return _TIMESTAMPS[timestamp_format(shape, "unixtimestamp")]
        case "blob":
            return format_blob
        case "float" | "double":
            return _json_float
    return _as_it_is
