"""Responses in XML (``ec2``, ``query``, ``rest-xml``), one compiled writer per shape.

A writer gives the text of a value. Members that the operation did not give are left out; empty lists, false and 0 are
written, because clients tell absent from empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from freehold.front.protocols.values import text_formatter
from freehold.services.operation import Shared

Write = Callable[[Any], str]

_SPECIAL = re.compile('[&<>"\r\n\t\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_TEXT = frozenset({"string", "character"})


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
            self._compiled[key] = lambda value: compiled[0](value)  # noqa: PLW0108
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
        return _Members(
            {
                name: self._member(member, _tag(name, member))
                for name, member in shape.members.items()
                if (names is None or name in names) and not member.serialization.get("xmlAttribute")
            }
        )

    def _member(self, shape: Shape, tag: str) -> tuple[str, Write | None]:
        """What `_Members` needs: a template with a place for what the writer gives; no writer = the value is text."""
        if isinstance(shape, StructureShape | ListShape | MapShape):
            return "%s", self.element(shape, tag)
        template = f"<{tag}{_namespace(shape)}>%s</{tag}>"
        return template, None if shape.type_name in _TEXT else text_formatter(shape, "iso8601")

    def _structure(self, shape: StructureShape, tag: str) -> Write:
        attributes = {
            name: (str(member.serialization["name"]), text_formatter(member, "iso8601"))
            for name, member in shape.members.items()
            if member.serialization.get("xmlAttribute")
        }
        head, close = f"<{tag}{_namespace(shape)}", f"</{tag}>"
        opening = head + ">"
        write_members = self.members(shape)

        def write_structure(value: Any) -> str:
            if type(value) is not Shared:
                return opening + write_members(value) + close
            text = value.written.get(write_structure)
            if text is None:
                text = value.written[write_structure] = opening + write_members(value) + close
            return text

        if not attributes:
            return write_structure

        def write_with_attributes(value: Any) -> str:
            given = [
                f' {attribute}="{escape(form(value[name]))}"'
                for name, (attribute, form) in attributes.items()
                if value.get(name) is not None
            ]
            members = write_members({name: item for name, item in value.items() if name not in attributes})
            return f"{head}{''.join(given)}>{members}{close}"

        return write_with_attributes

    def _list(self, shape: ListShape, tag: str) -> Write:
        if shape.serialization.get("flattened"):
            write_item = self.element(shape.member, str(shape.member.serialization.get("name", tag)))
            return lambda value: "".join([write_item(item) for item in value])

        write_member = self.element(shape.member, str(shape.member.serialization.get("name", "member")))
        opening, close, empty = f"<{tag}{_namespace(shape)}>", f"</{tag}>", f"<{tag}{_namespace(shape)}/>"

        def write_list(value: Any) -> str:
            return "".join([opening, *[write_member(item) for item in value], close]) if value else empty

        return write_list

    def _map(self, shape: MapShape, tag: str) -> Write:
        flattened = bool(shape.serialization.get("flattened"))
        entry = tag if flattened else "entry"
        write_key = self.element(shape.key, str(shape.key.serialization.get("name", "key")))
        write_value = self.element(shape.value, str(shape.value.serialization.get("name", "value")))
        opening, close = ("", "") if flattened else (f"<{tag}{_namespace(shape)}>", f"</{tag}>")

        def write_map(value: Any) -> str:
            entries = [f"<{entry}>{write_key(key)}{write_value(item)}</{entry}>" for key, item in value.items()]
            return opening + "".join(entries) + close

        return write_map

    def _scalar(self, shape: Shape, tag: str) -> Write:
        opening, close = f"<{tag}{_namespace(shape)}>", f"</{tag}>"
        form = escape if shape.type_name in _TEXT else text_formatter(shape, "iso8601")
        return lambda value: opening + form(value) + close


class _Members:
    """Writes the members that a structure has: one template for each choice of them, filled in at once."""

    _TEMPLATES_MAX = 1000

    def __init__(self, members: dict[str, tuple[str, Write | None]]) -> None:
        self._members = members
        self._templates: dict[tuple[str, ...], tuple[str, list[Write | None]]] = {}

    def __call__(self, value: Any) -> str:
        if None in value.values():
            value = {name: item for name, item in value.items() if item is not None}
        names = tuple(value)
        template, writers = self._templates.get(names) or self._template(names)
        special = _SPECIAL.search
        return template % tuple(
            [
                write(item) if write is not None else item if special(item) is None else escape(item)
                for write, item in zip(writers, value.values(), strict=True)
            ]
        )

    def _template(self, names: tuple[str, ...]) -> tuple[str, list[Write | None]]:
        chosen = [self._members[name] for name in names]  # KeyError: what the operation gave is not in its output shape
        made = "".join(template for template, _ in chosen), [write for _, write in chosen]
        if len(self._templates) >= self._TEMPLATES_MAX:
            self._templates.clear()
        self._templates[names] = made
        return made


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
