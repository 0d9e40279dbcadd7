"""Hiding secrets from the audit trail."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

MASKED = "HIDDEN_DUE_TO_SECURITY_REASONS"  # CloudTrail's own words
_STREAM = "(stream)"

_SECRET_NAMES = re.compile(r"password|secret|userdata|keymaterial|privatekey|token$", re.IGNORECASE)
# Secret by their name only: public keys, tokens that page or deduplicate.
_NOT_SECRET = frozenset({"PublicKeyMaterial", "NextToken", "ClientToken", "ClientRequestToken", "Token", "SecretId"})

Mask = Callable[[Any], Any]


def _apply(mask: Mask | None, value: Any) -> Any:
    return value if mask is None else mask(value)


class Masks:
    """Compiles the shapes of one service model into functions that copy a value without its secrets."""

    def __init__(self) -> None:
        self._compiled: dict[str, Mask | None] = {}

    def of(self, shape: Shape | None) -> Mask | None:
        """None when the shape has nothing to hide."""
        if shape is None:
            return None
        if shape.name not in self._compiled:
            compiled: list[Mask | None] = []
            # A shape may contain itself: until it is compiled, its place is held by a look at what it became.
            self._compiled[shape.name] = lambda value: _apply(compiled[0], value)
            compiled.append(self._compile(shape))
            self._compiled[shape.name] = compiled[0]
        return self._compiled[shape.name]

    def _compile(self, shape: Shape) -> Mask | None:
        if shape.metadata.get("sensitive"):
            return lambda _value: MASKED
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                of_member = self.of(shape.member)
                return of_member and (lambda value: [_apply(of_member, item) for item in value])
            case MapShape():
                of_value = self.of(shape.value)
                return of_value and (lambda value: {key: _apply(of_value, item) for key, item in value.items()})
        return None

    def _structure(self, shape: StructureShape) -> Mask | None:
        payload = shape.serialization.get("payload")
        masks: dict[str, Mask] = {}
        for name, member in shape.members.items():
            if name == payload and member.type_name in ("blob", "string"):
                masks[name] = lambda _value: _STREAM
            elif (_SECRET_NAMES.search(name) and name not in _NOT_SECRET) or member.metadata.get("sensitive"):
                masks[name] = lambda _value: MASKED
            elif (mask := self.of(member)) is not None:
                masks[name] = mask
        if not masks:
            return None
        return lambda value: {
            name: masks[name](item) if item is not None and name in masks else item for name, item in value.items()
        }
