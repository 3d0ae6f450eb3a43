# SPDX-License-Identifier: GPL-3.0-or-later
"""Which texts a program can print, read from its source: an expression becomes all strings that it can be.

What only a run knows, such as a name or a number, is C(…). Alternatives are all followed: C(if) and C(or),
what a variable is set to, the values of a dictionary, what a function returns, and what callers hand over.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["UNKNOWN", "Call", "calls"]

UNKNOWN = "…"
#: From one expression to another; nothing that is meant to be found is further away.
_STEPS = 8

_Function = ast.FunctionDef | None


@dataclass(frozen=True)
class Call:
    """One call in the source.

    :ivar texts: by position or name of the argument, all that it can be.
    """

    place: str
    texts: dict[int | str, frozenset[str]]


def calls(paths: Sequence[Path], *names: str) -> list[Call]:
    """All calls of these functions in the files."""
    modules = [_Module(path) for path in paths]
    found = []
    for module in modules:
        module.others = [one for one in modules if one is not module]
        for function, call in module.calls(*names):
            texts: dict[int | str, frozenset[str]] = {
                number: module.texts(one, function) for number, one in enumerate(call.args)
            }
            texts |= {one.arg: module.texts(one.value, function) for one in call.keywords if one.arg}
            found.append(Call(f"{module.name}:{call.lineno}", texts))
    return found


class _Module:
    others: list[_Module]

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions = {one.name: one for one in ast.walk(self.tree) if isinstance(one, ast.FunctionDef)}
        self.within = {node: function for function in self.functions.values() for node in ast.walk(function)}
        self.others = []

    def calls(self, *names: str) -> Iterator[tuple[_Function, ast.Call]]:
        """Calls by the function's or method's name, each with the function that it is in."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in names:
                    yield self.within.get(node), node

    def texts(self, node: ast.expr, function: _Function, steps: int = _STEPS) -> frozenset[str]:
        """All strings that an expression in that function can be."""
        if isinstance(node, ast.Constant):
            return frozenset([node.value] if isinstance(node.value, str) else [])
        if steps and isinstance(node, ast.JoinedStr):
            parts = [one.value if isinstance(one, ast.FormattedValue) else one for one in node.values]
            return self._joined(parts, function, steps - 1)
        if steps and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([node.left, node.right], function, steps - 1)
        others = [module.texts(one, where, steps - 1) for module, where, one in self._others(node, function)]
        return frozenset().union(*others) if steps and others else frozenset([UNKNOWN])

    def _joined(self, nodes: Iterable[ast.expr], function: _Function, steps: int) -> frozenset[str]:
        parts = [self.texts(one, function, steps) or [UNKNOWN] for one in nodes]
        joined = ("".join(text) for text in itertools.product(*parts))
        return frozenset(re.sub(f"{UNKNOWN}+", UNKNOWN, text) for text in joined)

    def _others(self, node: ast.expr, function: _Function) -> Iterator[tuple[_Module, _Function, ast.expr]]:
        """What the expression may stand for, each with the function in which that is written."""
        if isinstance(node, ast.IfExp):
            yield from ((self, function, one) for one in (node.body, node.orelse))
        elif isinstance(node, ast.BoolOp):
            yield from ((self, function, one) for one in node.values)
        elif isinstance(node, ast.Name):
            yield from self._values(node.id, function)
        elif isinstance(node, ast.Subscript):
            yield from self._entries(node.value, function)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = self.functions.get(node.func.id)
            for one in ast.walk(called) if called else ():
                if isinstance(one, ast.Return) and one.value:
                    yield self, called, one.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            entries = list(self._entries(node.func.value, function))
            yield from entries
            yield from ((self, function, one) for one in node.args[1:] if entries)

    def _values(self, name: str, function: _Function) -> Iterator[tuple[_Module, _Function, ast.expr]]:
        """What a variable is set to, or what a parameter is given; else what the module says."""
        if function and (set_here := list(_assigned(name, function))):
            yield from ((self, function, one) for one in set_here)
        elif function and name in [one.arg for one in _parameters(function)]:
            yield from self._given(name, function)
        else:
            yield from ((self, None, one) for one in _assigned(name, self.tree) if one not in self.within)

    def _given(self, name: str, function: ast.FunctionDef) -> Iterator[tuple[_Module, _Function, ast.expr]]:
        names = [one.arg for one in _parameters(function)]
        position = names.index(name) - (names[0] == "self")
        for module in [self, *([] if function.name.startswith("_") else self.others)]:
            for caller, call in module.calls(function.name):
                named = {one.arg: one.value for one in call.keywords}
                if name in named:
                    yield module, caller, named[name]
                elif 0 <= position < len(call.args):
                    yield module, caller, call.args[position]

    def _entries(self, node: ast.expr, function: _Function) -> Iterator[tuple[_Module, _Function, ast.expr]]:
        """The values of a dictionary that has a name."""
        for module, where, one in self._values(node.id, function) if isinstance(node, ast.Name) else ():
            if isinstance(one, ast.Dict):
                yield from ((module, where, value) for value in one.values)


def _parameters(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.args, *function.args.kwonlyargs]


def _assigned(name: str, top: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(top):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == name for one in targets):
                yield node.value
