"""Responses in XML (``ec2``, ``query``, ``rest-xml``), one compiled writer per shape.

A writer appends pieces of text to a list. Members that the operation did not give are left out; empty lists, false
and 0 are written, because clients tell absent from empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from freehold.front.protocols.values import text_formatter

Append = Callable[[str], None]
Write = Callable[[Append, Any], None]

_SPECIAL = re.compile('[&<>"\r\n\t\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


def escape(text: str) -> str:
    """`text` for an element or a quoted attribute. What XML 1.0 can not carry at all becomes U+FFFD."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], "\ufffd"), text)


class XmlWriter:
    """Compiles the shapes of one service model."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[Any, ...], Write] = {}

    def element(self, shape: Shape, tag: str) -> Write:
        """A writer of the whole element `tag` for values of `shape`."""
        key = (tag, shape.name, repr(sorted(shape.serialization.items())))
        found = self._compiled.get(key)
        if found is None:
            compiled: list[Write] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[key] = lambda append, value: compiled[0](append, value)  # noqa: PLW0108
            match shape:
                case StructureShape():
                    compiled.append(self._structure(shape, tag))
                case ListShape():
                    compiled.append(self._list(shape, tag))
                case MapShape():
                    compiled.append(self._map(shape, tag))
                case _:
                    compiled.append(self._scalar(shape, tag))
            found = self._compiled[key] = compiled[0]
        return found

    def members(self, shape: StructureShape, names: frozenset[str] | None = None) -> Write:
        """A writer of the members of a structure without an element around them; of `names` only, if given."""
        writers = {
            name: self.element(member, _tag(name, member))
            for name, member in shape.members.items()
            if (names is None or name in names) and not member.serialization.get("xmlAttribute")
        }

        def write_members(append: Append, value: Any) -> None:
            for name, item in value.items():
                if item is not None:
                    writers[name](append, item)  # KeyError: the operation gave what its output shape does not have

        return write_members

    def _structure(self, shape: StructureShape, tag: str) -> Write:
        attributes = {
            name: (str(member.serialization["name"]), text_formatter(member, "iso8601"))
            for name, member in shape.members.items()
            if member.serialization.get("xmlAttribute")
        }
        head, close = f"<{tag}{_namespace(shape)}", f"</{tag}>"
        opening = head + ">"
        write_members = self.members(shape)

        def write_structure(append: Append, value: Any) -> None:
            append(opening)
            write_members(append, value)
            append(close)

        if not attributes:
            return write_structure

        def write_with_attributes(append: Append, value: Any) -> None:
            append(head)
            for name, (attribute, form) in attributes.items():
                if value.get(name) is not None:
                    append(f' {attribute}="{escape(form(value[name]))}"')
            append(">")
            write_members(append, {name: item for name, item in value.items() if name not in attributes})
            append(close)

        return write_with_attributes

    def _list(self, shape: ListShape, tag: str) -> Write:
        if shape.serialization.get("flattened"):
            write_item = self.element(shape.member, str(shape.member.serialization.get("name", tag)))

            def write_flat(append: Append, value: Any) -> None:
                for item in value:
                    write_item(append, item)

            return write_flat

        write_member = self.element(shape.member, str(shape.member.serialization.get("name", "member")))
        opening, close, empty = f"<{tag}{_namespace(shape)}>", f"</{tag}>", f"<{tag}{_namespace(shape)}/>"

        def write_list(append: Append, value: Any) -> None:
            if not value:
                append(empty)
                return
            append(opening)
            for item in value:
                write_member(append, item)
            append(close)

        return write_list

    def _map(self, shape: MapShape, tag: str) -> Write:
        flattened = bool(shape.serialization.get("flattened"))
        entry = tag if flattened else "entry"
        write_key = self.element(shape.key, str(shape.key.serialization.get("name", "key")))
        write_value = self.element(shape.value, str(shape.value.serialization.get("name", "value")))
        opening, close = ("", "") if flattened else (f"<{tag}{_namespace(shape)}>", f"</{tag}>")

        def write_map(append: Append, value: Any) -> None:
            append(opening)
            for key, item in value.items():
                append(f"<{entry}>")
                write_key(append, key)
                write_value(append, item)
                append(f"</{entry}>")
            append(close)

        return write_map

    def _scalar(self, shape: Shape, tag: str) -> Write:
        opening, close = f"<{tag}{_namespace(shape)}>", f"</{tag}>"
        if shape.type_name in ("string", "character"):

            def write_text(append: Append, value: Any) -> None:
                append(opening + (value if _SPECIAL.search(value) is None else escape(value)) + close)

            return write_text
        form = text_formatter(shape, "iso8601")

        def write_scalar(append: Append, value: Any) -> None:
            append(opening + form(value) + close)

        return write_scalar


def _tag(name: str, member: Shape) -> str:
    if isinstance(member, ListShape) and member.serialization.get("flattened"):
        # botocore reads a flattened list by its member's name when that has one.
        return str(member.member.serialization.get("name", member.serialization.get("name", name)))
    return str(member.serialization.get("name", name))


def _namespace(shape: Shape) -> str:
    namespace = shape.serialization.get("xmlNamespace")
    if not namespace:
        return ""
    if isinstance(namespace, str):
        return f' xmlns="{namespace}"'
    prefix = namespace.get("prefix")
    return f' xmlns{":" + prefix if prefix else ""}="{namespace["uri"]}"'
