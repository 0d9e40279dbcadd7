"""Requests of the ``ec2`` and ``query`` protocols: dotted parameter names to nested values.

https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html, …/aws-query-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from freehold.front.errors import InputError, Malformed, MissingMember, TooLarge, UnknownMember, WrongType, echo
from freehold.front.protocols.constraints import check_of
from freehold.front.protocols.values import text_parser

Node = Any  # str, or dict of Node by the next part of the name
Parse = Callable[[Node], Any]

DEPTH_MAX = 32


def tree(pairs: list[tuple[str, str]]) -> dict[str, Node]:
    """Parameters by the parts of their names: ``Filter.1.Name=x`` becomes ``{"Filter": {"1": {"Name": "x"}}}``."""
    root: dict[str, Node] = {}
    for name, value in pairs:
        node = root
        if "." in name:
            *parents, leaf = name.split(".")
            if len(parents) > DEPTH_MAX:
                raise TooLarge(limit=f"parameter names of at most {DEPTH_MAX} parts")
            for part in parents:
                child = node.get(part)
                if child is None:
                    child = node[part] = {}
                elif child == "":
                    child = node[part] = {}  # an empty list or structure announced before its members
                elif isinstance(child, str):
                    raise Malformed(problem=f"The parameter {echo(name)} is given both a value and members")
                node = child
        else:
            leaf = name
        if leaf in node:
            if value == "" and isinstance(node[leaf], dict):
                continue
            raise Malformed(problem=f"The parameter {echo(name)} is given more than once")
        node[leaf] = value
    return root


class FormParser:
    """Compiles the shapes of one service model. `ec2` selects that protocol's names and lists."""

    def __init__(self, *, ec2: bool) -> None:
        self._ec2 = ec2
        self._compiled: dict[tuple[str, str | None], Parse] = {}

    def structure(self, shape: StructureShape) -> Parse:
        return self._parser(shape)

    def _parser(self, shape: Shape) -> Parse:
        # A flattened list and a wrapped one may share a shape's name, but not its serialization.
        key = (shape.name, repr(sorted(shape.serialization.items())) if shape.serialization else None)
        found = self._compiled.get(key)
        if found is None:
            compiled: list[Parse] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[key] = lambda node: compiled[0](node)  # noqa: PLW0108
            match shape:
                case StructureShape():
                    compiled.append(self._structure(shape))
                case ListShape():
                    compiled.append(self._list(shape))
                case MapShape():
                    compiled.append(self._map(shape))
                case _:
                    compiled.append(self._scalar(shape))
            found = self._compiled[key] = compiled[0]
        return found

    def _scalar(self, shape: Shape) -> Parse:
        parse = text_parser(shape)
        check = check_of(shape)

        def parse_scalar(node: Node) -> Any:
            if not isinstance(node, str):
                raise _not_a_value(node)
            value = parse(node)
            if check:
                check(value)
            return value

        return parse_scalar

    def _wire_name(self, name: str, member: Shape) -> str:
        serialization = member.serialization
        if self._ec2:
            if "queryName" in serialization:
                return str(serialization["queryName"])
            given = serialization.get("name")
            return given[0].upper() + given[1:] if given else name
        if isinstance(member, ListShape) and serialization.get("flattened"):
            inner = member.member.serialization.get("name")
            if inner:
                return str(inner)
        return str(serialization.get("name", name))

    def _structure(self, shape: StructureShape) -> Parse:
        members: dict[str, tuple[str, Parse, bool, bool]] = {}
        required = frozenset(shape.required_members)
        wire_names = {}
        for name, member in shape.members.items():
            wire = wire_names[name] = self._wire_name(name, member)
            # Text may be empty (`Description=` clears it); an empty number or structure is none. An empty list is
            # written `Name=` in query, and not at all in ec2.
            keeps_empty = member.type_name in ("string", "character", "blob") or (
                member.type_name == "list" and not self._ec2
            )
            members[wire] = (name, self._parser(member), keeps_empty, "idempotencyToken" in member.metadata)
        required_in_order = [name for name in shape.members if name in required]

        def parse_structure(node: Node) -> dict[str, Any]:
            if isinstance(node, str):
                raise WrongType(value=echo(node), expected="a structure")
            result: dict[str, Any] = {}
            for wire, child in node.items():
                member = members.get(wire)
                if member is None:
                    raise UnknownMember().under(echo(wire), *_first_path(child))
                name, parse, keeps_empty, _ = member
                if child == "" and not keeps_empty:
                    continue
                try:
                    result[name] = parse(child)
                except InputError as error:
                    error.under(wire)
                    raise
            for name in required_in_order:
                if name not in result:
                    raise MissingMember().under(wire_names[name])
            return result

        return parse_structure

    def _list(self, shape: ListShape) -> Parse:
        parse = self._parser(shape.member)
        check = check_of(shape)
        wrapper = (
            None
            if self._ec2 or shape.serialization.get("flattened")
            else str(shape.member.serialization.get("name", "member"))
        )

        def parse_list(node: Node) -> list[Any]:
            result = []
            for index, child in _numbered(node, wrapper):
                try:
                    result.append(parse(child))
                except InputError as error:
                    error.under(*((wrapper, index) if wrapper else (index,)))
                    raise
            if check:
                check(result)
            return result

        return parse_list

    def _map(self, shape: MapShape) -> Parse:
        wrapper = None if shape.serialization.get("flattened") else "entry"
        key_name = str(shape.key.serialization.get("name", "key"))
        value_name = str(shape.value.serialization.get("name", "value"))
        parse_key, parse_value = self._parser(shape.key), self._parser(shape.value)
        check = check_of(shape)

        def parse_map(node: Node) -> dict[str, Any]:
            result: dict[str, Any] = {}
            for index, child in _numbered(node, wrapper):
                try:
                    if isinstance(child, str) or child.keys() != {key_name, value_name}:
                        raise WrongType(value="…", expected=f"a pair of {key_name} and {value_name}")
                    result[parse_key(child[key_name])] = parse_value(child[value_name])
                except InputError as error:
                    error.under(*((wrapper, index) if wrapper else (index,)))
                    raise
            if check:
                check(result)
            return result

        return parse_map


def _numbered(node: Node, wrapper: str | None) -> list[tuple[str, Node]]:
    """The numbered children of a list or map in the order of their numbers; "" is an empty one."""
    if node == "":
        return []
    if wrapper is not None and isinstance(node, dict):
        unknown = next((name for name in node if name != wrapper), None)
        if unknown is not None:
            raise UnknownMember().under(echo(unknown), *_first_path(node[unknown]))
        node = node[wrapper]
    if isinstance(node, str):
        raise WrongType(value=echo(node), expected="a list (numbered members)")
    for index in node:
        if not (index.isascii() and index.isdigit() and len(index) <= 6 and (index[0] != "0" or index == "0")):
            raise UnknownMember().under(echo(index), *_first_path(node[index]))
    return sorted(node.items(), key=lambda item: int(item[0]))


def _first_path(node: Node) -> list[str]:
    """The rest of the first parameter's name under a node, for an error that names what the caller wrote."""
    path = []
    while isinstance(node, dict) and node:
        part, node = next(iter(node.items()))
        path.append(echo(part))
    return path


def _not_a_value(node: Node) -> InputError:
    return UnknownMember().under(*_first_path(node))
