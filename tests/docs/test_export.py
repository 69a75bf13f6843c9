"""docs/export.md: its script finds the points of the package, with nothing but what the exported file says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import opensapiens
from opensapiens.cli.main import main

ROOT = Path(__file__).parent.parent.parent
PHOTOS = ROOT / "examples" / "photos"
TEXT = (ROOT / "docs" / "export.md").read_text()
(SCRIPT,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = "".join(re.findall(r"^```bash\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)).splitlines()
BOXES = {
    "eileen_collins.jpg": [[17.7, 9, 366.2, 511.9], [90, 5, 300, 260]],
    "grace_hopper.jpg": [[21, 28.2, 512, 596.5]],
    "rendered_person.jpg": [[159.7, 23.9, 390.3, 701.3]],
}


def test_the_script_is_short_and_needs_no_more_than_it_says() -> None:
    assert len(SCRIPT.splitlines()) <= 40
    imported = re.findall(r"^(?:import|from) (.*)$", SCRIPT, flags=re.MULTILINE)
    assert imported == ["json, sys", "cv2, numpy as np, onnxruntime", "PIL import Image, ImageOps"]


def test_the_script_finds_the_points_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    Path("points.py").write_text(SCRIPT)
    shutil.copy(PHOTOS / "grace_hopper.jpg", "photo.jpg")
    export, example = COMMANDS
    assert main(export.split()[1:]) == 0
    words = example.split()
    assert words[:4] == ["python", "points.py", "exported/opensapiens-nano.onnx", "photo.jpg"]
    people = opensapiens.load("nano", device="cpu")
    cases = [(PHOTOS / name, box) for name, boxes in BOXES.items() for box in boxes]
    for photo, box in [(Path("photo.jpg"), [float(word) for word in words[4:]]), *cases]:
        arguments = [sys.executable, *words[1:3], str(photo), *map(str, box)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=300)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        person = people(photo, boxes=[box]).persons[0]
        assert tuple(row["name"] for row in rows) == tuple(person.names)
        found = np.array([[row["x"], row["y"]] for row in rows])
        assert np.abs(found - person.keypoints).max() < 0.5, photo
        np.testing.assert_allclose([row["score"] for row in rows], person.scores, atol=1e-3)
