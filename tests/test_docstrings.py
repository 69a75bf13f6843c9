"""Everything public says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "opensapiens"
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def is_public(path: Path) -> bool:
    """Whether no part of a module's path starts with an underscore (a package's __init__ does not count as one)."""
    return not any(part.startswith("_") and part != "__init__.py" for part in path.parts)


def is_setter_or_overload(node: ast.AST) -> bool:
    """Whether the docstring of a function stands at another definition of the same name."""
    decorators = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])]
    return any(name.split(".")[-1] in ("setter", "deleter", "overload") for name in decorators)


def public_definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Documented]]:
    """Public classes, functions and methods with their dotted names; not what is defined inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_") and not is_setter_or_overload(child):
                yield prefix + child.name, child
                if isinstance(child, ast.ClassDef):
                    yield from public_definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try):
            yield from public_definitions(child, prefix)


def undocumented(source: str) -> list[str]:
    """What is public in a module and has no docstring, as "line: name". An empty module needs none."""
    tree = ast.parse(source)
    if not tree.body:
        return []
    definitions = [("the module", tree), *public_definitions(tree)]
    return [f"{getattr(node, 'lineno', 1)}: {name}" for name, node in definitions if not ast.get_docstring(node)]


def test_public_things_have_docstrings() -> None:
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if is_public(inside):
            missing += [f"{inside}:{found}" for found in undocumented(path.read_text())]
    assert not missing, "no docstring:\n" + "\n".join(missing)


def test_a_missing_docstring_is_seen() -> None:
    source = '''"""A module."""
class Shown:
    """A class."""
    def method(self): ...
    def _private(self): ...
    @property
    def size(self): ...
    @size.setter
    def size(self, value): ...
class _Hidden:
    def method(self): ...
def function():
    def inner(): ...
if True:
    def conditional(): ...
'''
    assert undocumented(source) == ["4: Shown.method", "7: Shown.size", "12: function", "15: conditional"]
    assert undocumented("x = 1") == ["1: the module"]
    assert undocumented("") == []
