"""The language of `--where`: conditions on the manifest's columns, parsed to Arrow operations, never run as Python."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
LONGEST = 4000  # characters
LARGEST = 2**63
LANGUAGE = "comparisons (< <= > >= == != in, not in) of columns with numbers and texts, joined by and, or, not, ( )"


class WhereError(ValueError):
    """A condition that cannot be read; the message says where and what is allowed."""


def parse_where(text: str, schema: pa.Schema) -> pc.Expression:
    """The condition as an Arrow expression over the columns of the schema.

    A row without a value in a column that is compared does not pass, whatever the comparison. Raises WhereError for
    anything but LANGUAGE, for a column that is not there, and for a comparison of a number with a text.
    """
    try:
        return _condition(_tree(text), schema)
    except RecursionError:
        raise WhereError(f"the condition is nested too deeply: it takes {LANGUAGE}") from None


def passing(table: pa.Table, text: str, schema: pa.Schema) -> np.ndarray:
    """(N,) bool: which rows of a table of some of the schema's columns meet a condition."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    numbered = table.append_column("__row", pa.array(range(len(table)), pa.int64()))
    kept = ds.dataset(numbered).to_table(columns=["__row"], filter=parse_where(text, schema))["__row"]
    mask = np.zeros(len(table), bool)
    mask[kept.to_numpy()] = True
    return mask


def terms(text: str) -> list[str]:
    """The conditions that a text joins by `and`, as texts of their own; a single one if there is no `and` on top."""
    node = _tree(text)
    parts = node.values if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else [node]
    return [ast.unparse(part) for part in parts]


def columns_in(text: str) -> list[str]:
    """The names of the columns in a condition, in the order of their first use."""
    names = [node for node in ast.walk(_tree(text)) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(node.id for node in sorted(names, key=lambda node: node.col_offset)))


def bounds(term: str) -> tuple[str, float] | None:
    """Column and number of a term that compares one with the other, else None: what a report can make a scale of."""
    node = _tree(term)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name):
        try:
            value = _constant(node.comparators[0])
        except WhereError:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return node.left.id, float(value)
    return None


def _tree(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise WhereError(f"the condition is longer than {LONGEST} characters")
    try:
        return ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" near column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise WhereError(f"cannot read {text!r}{where}: it takes {LANGUAGE}") from None


def _condition(node: ast.expr, schema: pa.Schema) -> pc.Expression:
    import pyarrow as pa

    if isinstance(node, ast.BoolOp):
        joined = _condition(node.values[0], schema)
        for value in node.values[1:]:
            other = _condition(value, schema)
            joined = joined & other if isinstance(node.op, ast.And) else joined | other
        return joined
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_condition(node.operand, schema)
    if isinstance(node, ast.Compare):
        return _comparison(node, schema)
    if isinstance(node, ast.Name):
        column = _column(node, schema)
        if not pa.types.is_boolean(schema.field(node.id).type):
            raise WhereError(f"{node.id} is no yes-or-no column: compare it with something")
        return column
    raise WhereError(f"{ast.unparse(node)!r} is not allowed: a condition takes {LANGUAGE}")


def _comparison(node: ast.Compare, schema: pa.Schema) -> pc.Expression:
    """One comparison, or a chain such as 0.1 < blur < 0.5."""
    import pyarrow as pa
    import pyarrow.compute as pc

    joined: pc.Expression | None = None
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            listed = _column(left, schema).isin(pa.array(*_listed(left, right, schema)))
            # isin takes a missing value for a plain no, which `not` would turn into a yes.
            known = pc.if_else(_column(left, schema).is_valid(), listed, pc.scalar(pa.scalar(None, pa.bool_())))
            result = known if isinstance(op, ast.In) else ~known
        elif type(op) in COMPARISONS:
            _check_kinds(left, right, schema)
            if not any(isinstance(side, ast.Name) for side in (left, right)):
                raise WhereError(f"{ast.unparse(node)!r} compares no column")
            result = COMPARISONS[type(op)](_side(left, right, schema), _side(right, left, schema))
        else:
            raise WhereError(f"{ast.unparse(node)!r} is not allowed: a condition takes {LANGUAGE}")
        joined = result if joined is None else joined & result
        left = right
    assert joined is not None
    return joined


def _listed(left: ast.expr, right: ast.expr, schema: pa.Schema) -> tuple[list[Any], pa.DataType]:
    """The values of a list, and the type of the column that they are compared with."""
    if not isinstance(right, ast.List | ast.Tuple):
        raise WhereError(f"in takes a list: {ast.unparse(left)} in ['JPEG', 'PNG']")
    for element in right.elts:
        _check_kinds(left, element, schema)
    _column(left, schema)
    kind = schema.field(ast.unparse(left)).type
    return [_fitting(_constant(element), kind, element) for element in right.elts], kind


def _fitting(value: Any, kind: pa.DataType, node: ast.expr) -> Any:
    """A constant as a value of a column's type. Raises WhereError for a number that the type does not have."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return float(value)
    try:
        fitting = pa.scalar(value, kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        fitting = None
    if fitting != value:
        raise WhereError(f"{ast.unparse(node)} is no value of a column of {kind}")
    return fitting


def _side(node: ast.expr, other: ast.expr, schema: pa.Schema) -> pc.Expression:
    """A column, or a constant; compared with a column of float32, 0.2 must be the 0.2 of float32."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(node, ast.Name):
        return _column(node, schema)
    kind = schema.field(other.id).type if isinstance(other, ast.Name) else None
    value = _constant(node)
    if kind is not None and (pa.types.is_floating(kind) or kind == pa.uint64()):  # which Arrow compares with no other
        return pc.scalar(pa.scalar(_fitting(value, kind, node), kind))
    return pc.scalar(value)


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bool):
        if isinstance(node.value, int | float) and not abs(node.value) < LARGEST:
            raise WhereError(f"a number must be smaller than 2^63, this is {str(node.value)[:40]}")
        return node.value
    raise WhereError(f"{ast.unparse(node)!r} is not allowed: a condition takes {LANGUAGE}")


def _column(node: ast.expr, schema: pa.Schema) -> pc.Expression:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(node, ast.Name):
        raise WhereError(f"{ast.unparse(node)!r} is not a column: a condition takes {LANGUAGE}")
    if node.id not in schema.names:
        near = difflib.get_close_matches(node.id, schema.names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(schema.names)}"
        raise WhereError(f"no column {node.id!r} in the manifest: {hint}")
    if pa.types.is_list(schema.field(node.id).type):
        raise WhereError(f"{node.id} holds a list in each row, which cannot be compared")
    return pc.field(node.id)


def _check_kinds(left: ast.expr, right: ast.expr, schema: pa.Schema) -> None:
    kinds = {_kind(side, schema) for side in (left, right)}
    if len(kinds) > 1:
        raise WhereError(
            f"{ast.unparse(left)} and {ast.unparse(right)} cannot be compared: {' and '.join(sorted(kinds))}"
        )


def _kind(node: ast.expr, schema: pa.Schema) -> str:
    import pyarrow as pa

    if isinstance(node, ast.Name):
        _column(node, schema)
        kind = schema.field(node.id).type
        return "text" if pa.types.is_string(kind) else "yes or no" if pa.types.is_boolean(kind) else "number"
    value = _constant(node)
    return "text" if isinstance(value, str) else "yes or no" if isinstance(value, bool) else "number"
