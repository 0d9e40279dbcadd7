"""Which names an operation reads: text constants in all functions of the services that it can reach.

Those that only name what it writes are left out: keys of dictionaries, targets of assignments, docstrings.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from freehold.services.operation import Operation

_OURS = "freehold.services."


def names_read(operation: Operation) -> frozenset[str]:
    """The text constants in the operation's functions, in what they call or refer to, and so on, whatever way a request
    takes."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [operation.function, operation.receive, operation.prepare, operation.prove]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        match value:
            case str():
                found.add(value)
            case list() | tuple() | set() | frozenset():
                waiting.extend(value)
            case dict():
                waiting.extend(value.values())
            case property():
                waiting.append(value.fget)
            case types.FunctionType() if value.__module__.startswith(_OURS):
                waiting.extend(_read(value.__code__))
                waiting.extend(_referred_to(value.__code__, value.__globals__))
                waiting.extend(cell.cell_contents for cell in value.__closure__ or ())
            case type() if value.__module__.startswith(_OURS):
                waiting.extend(vars(value).values())
            case _ if type(value).__module__.startswith(_OURS):
                waiting.append(type(value))
    return frozenset(found)


@functools.cache
def _read(code: types.CodeType) -> Sequence[str]:
    found = []
    for node in _functions(code.co_filename).get(code.co_firstlineno, ()):
        written: set[ast.AST] = set()
        for part in ast.walk(node):
            match part:
                case ast.Dict():
                    written.update(key for key in part.keys if key is not None)
                case ast.Subscript(ctx=ast.Store()):
                    written.add(part.slice)
                case ast.Expr(value=ast.Constant()):
                    written.add(part.value)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and part not in written:
                found.append(part.value)
    return found


@functools.cache
def _functions(path: str) -> Mapping[int, Sequence[ast.AST]]:
    """The functions of a source file by their first lines; none for what a library made up (``<string>``)."""
    found: dict[int, list[ast.AST]] = {}
    for node in ast.walk(ast.parse(Path(path).read_text())) if path.endswith(".py") else ():
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            decorators = getattr(node, "decorator_list", [])
            found.setdefault(min(part.lineno for part in (node, *decorators)), []).append(node)
    return found


def _referred_to(code: types.CodeType, names: Mapping[str, Any]) -> Iterator[Any]:
    """What the names in the code stand for: globals, and members of modules among them."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _referred_to(constant, names)
    for name in code.co_names:
        value = names.get(name)
        if isinstance(value, types.ModuleType) and value.__name__.startswith(_OURS):
            yield from (vars(value)[member] for member in code.co_names if member in vars(value))
        else:
            yield value
