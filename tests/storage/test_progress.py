import pytest

from opensapiens.storage import progress as module
from opensapiens.storage.progress import progress


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 1e-9)
    assert list(progress(range(3), "counting", unit="sheep")) == [0, 1, 2]
    with progress(what="more", total=9, initial=4, unit="sheep") as outer, progress(what="inner", total=2) as inner:
        inner.update()
        outer.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("counting: 1 of 3 sheep, 00:00 passed, 00:00 to go")
    assert "inner: 1 of 2, 00:00 passed" in "\n".join(lines)
    assert any(line.startswith("more: 6 of 9 sheep") for line in lines)
    assert len(set(lines)) == len(lines)
    assert all(line.isprintable() for line in lines)


def test_a_short_loop_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    assert list(progress(range(3), "counting", shown=False)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
