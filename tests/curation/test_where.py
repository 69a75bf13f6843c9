"""The language of conditions does what it says, and nothing else."""

from __future__ import annotations

import pytest

pa = pytest.importorskip("pyarrow")

from opensapiens.curation.where import WhereError, bounds, columns_in, parse_where, terms  # noqa: E402

TABLE = pa.table(
    {
        "row": [0, 1, 2, 3],
        "score": pa.array([0.5, 0.95, None, 0.2], pa.float32()),
        "side": pa.array([100, 400, 500, 300], pa.int32()),
        "format": ["JPEG", "PNG", None, "GIF"],
        "copy": [False, True, False, None],
        "boxes": pa.array([[1.0], [], [2.0], None], pa.list_(pa.float32())),
    }
)


def rows(text: str) -> list[int]:
    return TABLE.filter(parse_where(text, TABLE.schema))["row"].to_pylist()


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("side > 300", [1, 2]),
        ("side >= 300 and score < 0.9", [3]),
        ("score > 0.4 or side == 300", [0, 1, 3]),
        ("not side > 300", [0, 3]),
        ("not (score > 0.4)", [3]),  # a missing score passes neither a condition nor its opposite
        ("score != 0.2", [0, 1]),
        ("100 < side <= 400", [1, 3]),
        ("400 > side", [0, 3]),
        ("score < side", [0, 1, 3]),
        ("side > -1", [0, 1, 2, 3]),
        ("format in ['JPEG', 'GIF']", [0, 3]),
        ("format not in ('JPEG', 'GIF')", [1]),
        ("not (format in ['JPEG'])", [1, 3]),
        ("format == 'PNG' or (side > 400 and side < 600)", [1, 2]),
        ("copy", [1]),
        ("not copy", [0, 2]),
        ("copy == False", [0, 2]),
        (" side\n > 300 ", [1, 2]),
    ],
)
def test_conditions(text: str, passes: list[int]) -> None:
    assert rows(text) == passes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__import__('os').system('true')", "not allowed"),
        ("side > open('x')", "not allowed"),
        ("side.real > 3", "not a column|not allowed"),
        ("side[0] > 3", "not allowed|not a column"),
        ("(lambda: side)() > 3", "not allowed"),
        ("side + 1 > 3", "not allowed"),
        ("side > 10 ** 10", "not allowed"),
        ("[side for side in (1, 2)] == 3", "not allowed"),
        ("f'{side}' == 'x'", "not allowed"),
        ("side is None", "not allowed|None"),
        ("side >", "cannot read"),
        ("", "cannot read"),
        ("side = 3", "cannot read"),
        ("1 < 2", "no column"),
        ("3", "not allowed"),
        ("scor > 0.5", "did you mean score"),
        ("side > 'large'", "cannot be compared"),
        ("format in ['JPEG', 3]", "cannot be compared"),
        ("format in 'JPEG'", "takes a list"),
        ("side", "compare it with"),
        ("boxes == 1", "list"),
        ("side > 1 and " * 1000 + "copy", "longer"),
        ("(" * 300 + "copy" + ")" * 300, "cannot read"),
        ("side > 9223372036854775808", "smaller than 2"),
        ("side in [1.5]", "no value of a column of int32"),
        ("side > -9223372036854775809", "smaller than 2"),
        ("side > " + "9" * 400, "smaller than 2"),
        ("score < 1e999", "smaller than 2"),
        ("side in [1, 99999999999999999999]", "smaller than 2"),
        ("not " * 990 + "copy", "nested|cannot read"),
        ("side > " + "-" * 3900 + "1", "nested|cannot read"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(WhereError, match=says):
        parse_where(text, TABLE.schema)


def test_parts_of_a_condition() -> None:
    text = "side > 300 and not (copy or score < 0.5) and format in ['PNG']"
    assert terms(text) == ["side > 300", "not (copy or score < 0.5)", "format in ['PNG']"]
    assert terms("copy or side > 3") == ["copy or side > 3"]
    assert columns_in(text) == ["side", "copy", "score", "format"]
    assert bounds("side > 300") == ("side", 300.0)
    assert bounds("side > -2.5") == ("side", -2.5)
    assert bounds("format == 'PNG'") is None
    assert bounds("1 < side < 2") is None
