"""The pages on own points, own dense tasks and data sets: what they say is run, in the order it is said."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.cli.arguments import value_counts
from opensapiens.cli.evaluate import evaluate
from opensapiens.cli.main import main
from opensapiens.labels.keypoints import COCO_17

DOCS = Path(__file__).parent.parent.parent / "docs"
SIZE = (96, 128)  # width, height


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of the code blocks of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def run_page(page: str) -> None:
    """Runs each `opensapiens` command and each piece of Python of a page, in this process."""
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), {})
        for line in text.splitlines() if language == "bash" else ():
            assert line.startswith("opensapiens "), line
            assert main(line.split()[1:]) == 0, line


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with photos/0.jpg … 3.jpg."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        pixels = generator.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_coco(path: Path, content: dict, points: list[float]) -> None:
    """The file of the page with a person in each photo."""
    person = content["annotations"][0]
    content["images"] = [{"id": n, "file_name": f"{n}.jpg", "width": SIZE[0], "height": SIZE[1]} for n in range(4)]
    content["annotations"] = [{**person, "id": n + 1, "image_id": n, "keypoints": points} for n in range(4)]
    path.write_text(json.dumps(content))


def coco_file(folder: Path) -> None:
    points = np.column_stack([np.linspace(25, 75, 17), np.linspace(15, 105, 17), np.full(17, 2)])
    person = {"category_id": 1, "bbox": [20, 10, 60, 100], "area": 4000, "iscrowd": 0}
    content = {"categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.names)}], "annotations": [person]}
    save_coco(folder / "coco.json", content, points.ravel().tolist())


def test_your_own_points(photos: Path) -> None:
    tables = {language: text for language, text in blocks("your_own_points.md") if language in ("csv", "json")}
    (photos / "helmet.csv").write_text(tables["csv"])
    content = json.loads(tables["json"])
    save_coco(photos / "helmets.json", content, content["annotations"][0]["keypoints"])
    coco_file(photos)
    run_page("your_own_points.md")
    config = json.loads((photos / "runs/helmet/model/config.json").read_text())
    assert config["heads"]["pose"]["out_channels"] == 6
    assert config["heads"]["pose"]["labels"]["name"] == "helmet"
    scores = json.loads((photos / "helmet_scores.json").read_text())
    assert scores["keypoints"] == "helmet" and scores["people"] == 4 and {"AP_helmet", "AP_head"} <= set(scores)
    assert len((photos / "helmet_people.jsonl").read_text().splitlines()) == 4
    written = json.loads((photos / "out" / "0_keypoints.json").read_text())
    assert "helmet_tip" in json.dumps(written["categories"])


def coordinates(folder: Path) -> None:
    """bodies: the photos, with the label maps of the page's last part."""
    shutil.copytree(folder / "uniforms" / "images", folder / "bodies" / "images")
    (folder / "bodies" / "coords").mkdir()
    across, down = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 100))
    values = np.full((SIZE[1], SIZE[0], 2), np.nan, np.float32)
    values[10:110, 20:80] = np.stack([across, down], axis=-1)
    for number in range(4):
        np.save(folder / "bodies" / "coords" / f"{number}.npy", values)


def test_your_own_task(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = (text for language, text in blocks("your_own_task.md") if language == "csv")
    (photos / "uniform.csv").write_text(table)
    (photos / "uniforms" / "parts").mkdir(parents=True)
    (photos / "photos").rename(photos / "uniforms" / "images")
    ids = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    ids[20:60, 30:60], ids[70:90, 10:30], ids[70:90, 60:80] = 1, 2, 3
    for number in range(4):
        Image.fromarray(ids).save(photos / "uniforms" / "parts" / f"{number}.png")
    module = next(text for _, text in blocks("your_own_task.md") if text.startswith("# body_coordinates.py"))
    (photos / "body_coordinates.py").write_text(module)
    monkeypatch.syspath_prepend(str(photos))
    coordinates(photos)
    run_page("your_own_task.md")
    config = json.loads((photos / "runs/uniform/model/config.json").read_text())
    names = [row["name"] for row in config["heads"]["segmentation"]["labels"]["parts"]]
    assert names == ["Background", "Helmet", "Left_Glove", "Right_Glove"]
    scores = json.loads((photos / "uniform_scores.json").read_text())
    assert scores["people"] == 4 and {"mIoU", "IoU_Helmet", "background_mIoU"} <= set(scores)
    assert (photos / "coords.png").is_file() and (photos / "out_coords" / "0_coords.jpg").is_file()
    made = np.load(photos / "out_coords" / "0_coords.npz")["coords"]
    assert made.shape == (SIZE[1], SIZE[0], 2)
    assert np.isfinite(made[10:110, 20:80]).all() and np.isnan(made[:, :15]).all()  # the box is the person


def test_data_sets(photos: Path, people_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco_file(photos)
    (photos / "shards").symlink_to(people_shards)
    run_page("datasets.md")
    counts = json.loads(capsys.readouterr().out)
    assert len(counts) == 8 and 17 in counts and max(counts) > 17


def test_the_commands_of_the_benchmarks_exist() -> None:
    text = (DOCS / "datasets.md").read_text()
    for option in set(re.findall(r"(--[a-z]+(?:-[a-z]+)*)", text)):
        assert option in value_counts(evaluate), f"opensapiens evaluate has no {option}"
