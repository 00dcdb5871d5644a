"""Python files and questions about their syntax trees."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """Where a rule is broken.

    Attributes:
        path: relative to the plugin's folder, with forward slashes.
        line: from 1 on; 0 for the whole file.
        detail: which of several things it is, such as a parameter's name.
    """

    path: str
    line: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Source:
    """A Python file, parsed once.

    Attributes:
        name: its path relative to the plugin's folder, with forward slashes.
        comments: by line.
    """

    name: str
    tree: ast.Module
    comments: dict[int, str]

    @classmethod
    def read(cls, path: Path, root: Path) -> Self:
        """Parse a file.

        Raises:
            SyntaxError: it is not Python.
        """
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = {each.start[0]: each.string for each in tokens if each.type == tokenize.COMMENT}
        return cls(path.relative_to(root).as_posix(), tree, comments)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """All functions and methods, nested ones among them."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        """All classes, nested ones among them."""
        return [node for node in self.nodes if isinstance(node, ast.ClassDef)]

    @cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """All calls, each with what is called as text."""
        return calls(self.tree)

    @cached_property
    def imports(self) -> list[tuple[str, int]]:
        """Modules and names imported from elsewhere, dotted, with their lines."""
        found: list[tuple[str, int]] = []
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    found += [(alias.name, node.lineno) for alias in names]
                case ast.ImportFrom(module=str(module), level=0, names=names):
                    found += [(f"{module}.{alias.name}", node.lineno) for alias in names]
        return found

    @cached_property
    def loose_strings(self) -> list[tuple[int, str]]:
        """First lines of strings that stand alone, as comments."""
        return [
            (node.lineno, f"# {text.strip().partition(chr(10))[0]}")
            for node in self.nodes
            if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(text := node.value.value, str)
        ]

    def at(self, node: ast.stmt | ast.expr | ast.arg | ast.ExceptHandler | int) -> Place:
        """The place of a node or a line."""
        return Place(self.name, node if isinstance(node, int) else node.lineno)

    def is_in(self, folder: str) -> bool:
        """Whether the file is in a folder of this name, at any depth."""
        return folder in self.name.split("/")[:-1]


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """All calls in a tree, each with what is called as text."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def methods(node: ast.ClassDef) -> dict[str, Function]:
    """A class's own methods by name."""
    return {each.name: each for each in node.body if isinstance(each, Function)}


def arguments(function: Function) -> dict[str, ast.arg]:
    """A function's named parameters, in order."""
    given = function.args
    return {each.arg: each for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


def defaults(function: Function) -> dict[str, ast.expr | None]:
    """A method's parameters but self, in order, each with its default or None."""
    given = function.args
    positional = (given.posonlyargs + given.args)[1:]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    pairs = zip(positional, bare + list(given.defaults), strict=True)
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return {argument.arg: default for argument, default in (*pairs, *keywords)}


def names(expression: ast.AST | None) -> set[str]:
    """Plain names in an expression."""
    return {node.id for node in ast.walk(expression or ast.Pass()) if isinstance(node, ast.Name)}


def annotations(function: Function) -> Iterator[ast.expr]:
    """The annotations of a function's parameters and of what it returns."""
    for node in ast.walk(function.args):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.annotation
    if function.returns is not None:
        yield function.returns


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """What a function does itself, without the functions defined in it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def last_name(expression: ast.expr) -> str:
    """The last part of a dotted name: `Realtime` of `realtime.Realtime`; without its subscript."""
    return re.sub(r"\[.*", "", ast.unparse(expression), flags=re.DOTALL).rpartition(".")[2]
