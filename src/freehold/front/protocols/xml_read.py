"""XML request bodies (``rest-xml``), one compiled parser per shape.

Documents come from strangers: no entities, no document types, no network, bounded depth and size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from lxml import etree

from freehold.front.errors import InputError, Malformed, MissingElement, UnknownMember, WrongType, echo
from freehold.front.protocols.constraints import check_of
from freehold.front.protocols.values import text_parser

Element = Any  # lxml's elements have no useful type
Parse = Callable[[Element], Any]


def document(body: bytes) -> Element:
    """The root element. Raises Malformed."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise Malformed(problem=echo(str(error.msg))) from None
    if root.getroottree().docinfo.doctype:
        raise Malformed(problem="a document type is not allowed")
    return root


def _name(element: Element) -> str:
    tag = element.tag
    if not isinstance(tag, str):
        raise Malformed(problem="only elements and text are allowed")
    return tag.rpartition("}")[2]


class XmlParser:
    """Compiles the input shapes of one service model."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], Parse] = {}

    def parser(self, shape: Shape) -> Parse:
        """A parser of one element of `shape`; of a flattened list or map, it takes the list of its elements."""
        key = (shape.name, repr(sorted(shape.serialization.items())))
        found = self._compiled.get(key)
        if found is None:
            compiled: list[Parse] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[key] = lambda element: compiled[0](element)  # noqa: PLW0108
            match shape:
                case StructureShape():
                    compiled.append(self.structure(shape))
                case ListShape():
                    compiled.append(self._list(shape))
                case MapShape():
                    compiled.append(self._map(shape))
                case _:
                    compiled.append(_scalar(shape))
            found = self._compiled[key] = compiled[0]
        return found

    def structure(self, shape: StructureShape, names: frozenset[str] | None = None) -> Parse:
        """The parser of a structure's element; of the members `names` only, if given."""
        members: dict[str, tuple[str, Parse, bool]] = {}
        attributes: dict[str, tuple[str, Callable[[str], Any]]] = {}
        for name, member in shape.members.items():
            if names is not None and name not in names:
                continue
            wire = str(member.serialization.get("name", name))
            if member.serialization.get("xmlAttribute"):
                attributes[wire.rpartition(":")[2]] = (name, text_parser(member))
            else:
                members[wire] = (name, self.parser(member), bool(member.serialization.get("flattened")))
        required = [name for name in shape.required_members if names is None or name in names]
        wire_names = {name: wire for wire, (name, *_) in {**members, **attributes}.items()}

        def parse_structure(element: Element) -> dict[str, Any]:
            result: dict[str, Any] = {}
            repeated: dict[str, list[Element]] = {}
            for attribute, value in element.attrib.items():
                known = attributes.get(attribute.rpartition("}")[2])
                if known:
                    result[known[0]] = known[1](value)
            for child in element:
                wire = _name(child)
                member = members.get(wire)
                if member is None:
                    raise UnknownMember().under(echo(wire))
                name, parse, flattened = member
                if flattened:
                    repeated.setdefault(wire, []).append(child)
                    continue
                if name in result:
                    raise WrongType(value="…", expected="given once").under(wire)
                try:
                    result[name] = parse(child)
                except InputError as error:
                    error.under(wire)
                    raise
            for wire, children in repeated.items():
                name, parse, _ = members[wire]
                try:
                    result[name] = parse(children)
                except InputError as error:
                    error.under(wire)
                    raise
            for name in required:
                if name not in result:
                    raise MissingElement().under(wire_names[name])
            return result

        return parse_structure

    def _list(self, shape: ListShape) -> Parse:
        parse = self.parser(shape.member)
        check = check_of(shape)
        flattened = shape.serialization.get("flattened")
        tag = str(shape.member.serialization.get("name", "member"))

        def parse_list(element: Element) -> list[Any]:
            result = []
            for index, child in enumerate(element, 1):
                try:
                    if not flattened and _name(child) != tag:
                        raise UnknownMember().under(echo(_name(child)))
                    result.append(parse(child))
                except InputError as error:
                    error.under(str(index))
                    raise
            if check:
                check(result)
            return result

        return parse_list

    def _map(self, shape: MapShape) -> Parse:
        parse_key, parse_value = self.parser(shape.key), self.parser(shape.value)
        key_name = str(shape.key.serialization.get("name", "key"))
        value_name = str(shape.value.serialization.get("name", "value"))
        check = check_of(shape)

        def parse_map(element: Element) -> dict[str, Any]:
            result: dict[str, Any] = {}
            for entry in element:
                parts = {_name(part): part for part in entry}
                if parts.keys() != {key_name, value_name}:
                    raise WrongType(value="…", expected=f"a pair of {key_name} and {value_name}")
                result[parse_key(parts[key_name])] = parse_value(parts[value_name])
            if check:
                check(result)
            return result

        return parse_map


def _scalar(shape: Shape) -> Parse:
    parse = text_parser(shape)
    check = check_of(shape)

    def parse_scalar(element: Element) -> Any:
        for child in element:
            raise UnknownMember().under(echo(_name(child)))
        value = parse(element.text or "")
        if check:
            check(value)
        return value

    return parse_scalar
