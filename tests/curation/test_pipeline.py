"""From a folder to shards: nothing is lost, nothing is done twice, and the same comes out each time."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from opensapiens.cli import main  # noqa: E402
from opensapiens.curation import pack as pack_module  # noqa: E402
from opensapiens.curation import remove as remove_module  # noqa: E402
from opensapiens.curation import score as score_module  # noqa: E402
from opensapiens.curation.manifest import PART, ManifestError  # noqa: E402
from opensapiens.curation.pack import Packing, pack  # noqa: E402
from opensapiens.curation.people import person_stage  # noqa: E402
from opensapiens.curation.picture import Picture, Scores  # noqa: E402
from opensapiens.curation.remove import remove  # noqa: E402
from opensapiens.curation.report import report  # noqa: E402
from opensapiens.curation.score import score  # noqa: E402
from opensapiens.curation.select import preset_condition, select  # noqa: E402
from opensapiens.curation.sources import read_item  # noqa: E402
from opensapiens.curation.stage import Stage  # noqa: E402
from opensapiens.curation.stages import FILE, PERCEPTUAL_HASH  # noqa: E402
from opensapiens.data.images import ImageCollection  # noqa: E402
from opensapiens.data.shards import ShardError  # noqa: E402
from opensapiens.storage.folders import FolderError  # noqa: E402
from opensapiens.storage.pictures import read_image  # noqa: E402

from .conftest import encoded, mean_of, mean_stage, noise_image  # noqa: E402


def fails_on(brightness: float) -> Stage:
    """A stage that fails on one image of a batch."""

    def score(pictures: Sequence[Picture]) -> list[Scores]:
        if any(abs(picture.image.mean() - brightness) < 1e-3 for picture in pictures):
            raise RuntimeError("not this one")
        return mean_of(pictures)

    return mean_stage(lambda: score)


def stages(last: Stage | None = None) -> list[Stage]:
    return [FILE, PERCEPTUAL_HASH, last or mean_stage()]


def table(folder: Path) -> Any:
    return pq.read_table(folder / "manifest.parquet")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 74 files, two of them no images, and its manifest, beside each other."""
    base = tmp_path_factory.mktemp("scored")
    images = base / "images"
    (images / "below").mkdir(parents=True)
    for seed in range(70):
        (images / "below" / f"{seed:03d}.jpg").write_bytes(encoded(noise_image(seed), quality=90))
    (images / "copy.jpg").write_bytes((images / "below" / "003.jpg").read_bytes())
    (images / "cut.jpg").write_bytes((images / "below" / "004.jpg").read_bytes()[:200])
    (images / "large.png").write_bytes(encoded(np.repeat(np.repeat(noise_image(5), 2, 0), 2, 1), "PNG"))
    (images / "page.png").write_bytes(b"<html>not found</html>")
    summary = score([images], base / "out", stages())
    assert summary.statuses == {"ok": 72, "unreadable": 2}
    assert summary.images == 74
    return base


def test_the_manifest_says_what_happened_to_each_input(scored: Path) -> None:
    rows = table(scored / "out").to_pylist()
    assert [row["index"] for row in rows] == list(range(74))
    by_name = {Path(row["file"]).name: row for row in rows}
    assert by_name["cut.jpg"]["status"] == by_name["page.png"]["status"] == "unreadable"
    assert "cannot be decoded" in by_name["cut.jpg"]["error"] and by_name["cut.jpg"]["mean"] is None
    assert by_name["010.jpg"]["mean"] == pytest.approx(float(read_image(by_name["010.jpg"]["file"]).mean()), rel=1e-5)
    assert [name for name, row in by_name.items() if row["exact_copy"]] == ["003.jpg"]  # the later one
    assert by_name["003.jpg"]["duplicate_distance"] == 0 and by_name["copy.jpg"]["duplicate_distance"] == 64
    # Of the picture in two sizes, the larger one stays.
    assert by_name["large.png"]["duplicate_distance"] == 64 and by_name["005.jpg"]["duplicate_distance"] <= 4
    assert by_name["005.jpg"]["duplicate_group"] == by_name["large.png"]["duplicate_group"]
    assert by_name["006.jpg"]["duplicate_group"] == by_name["006.jpg"]["index"]
    assert not (scored / "out" / "parts").exists()


def test_a_stopped_run_goes_on_and_gives_the_same(scored: Path, tmp_path: Path, monkeypatch: Any) -> None:
    run_pieces = score_module.run_pieces

    def stopped(*arguments: Any) -> Iterator[dict[str, Any]]:
        yield next(iter(run_pieces(*arguments)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(score_module, "run_pieces", stopped)
        with pytest.raises(KeyboardInterrupt):
            score([scored / "images"], tmp_path / "out", stages())
    assert len(list((tmp_path / "out" / "parts").glob("*/*.parquet"))) == 1
    with pytest.raises(ManifestError, match="not completely scored"):
        select(tmp_path / "out", tmp_path / "selected", "mean > 3")
    summary = score([scored / "images"], tmp_path / "out", stages())
    assert summary.images == 2 * PART  # the third part was done before the stop, and is not done again
    assert table(tmp_path / "out").equals(table(scored / "out"))
    again = score([scored / "images"], tmp_path / "out", stages())
    assert again.images == 0 and again.statuses == summary.statuses
    with pytest.raises(FolderError, match="of another stages"):
        score([scored / "images"], tmp_path / "out", [FILE])


def test_new_images_in_a_scored_folder_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "images").mkdir()
    for seed in range(2):
        (tmp_path / "images" / f"{seed}.jpg").write_bytes(encoded(noise_image(seed)))
    score([tmp_path / "images"], tmp_path / "out", stages())
    score([tmp_path / "images"], tmp_path / "out", stages())
    assert not caplog.text
    (tmp_path / "images" / "2.jpg").write_bytes(encoded(noise_image(2)))
    score([tmp_path / "images"], tmp_path / "out", stages())
    assert f"{tmp_path}/out has the scores of 2 images, but now there are 3" in caplog.text
    shutil.rmtree(tmp_path / "images")
    assert score([tmp_path / "images"], tmp_path / "out", stages()).statuses == {"ok": 2}


def test_with_gpus_two_pools_give_the_same(scored: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(score_module, "gpus_available", lambda: True)
    score([scored / "images"], tmp_path / "out", stages(mean_stage(gpu=True)))
    assert table(tmp_path / "out").equals(table(scored / "out"))


def test_an_image_that_a_stage_fails_on_loses_only_its_own_scores(scored: Path, tmp_path: Path) -> None:
    bad = table(scored / "out").to_pylist()[7]
    summary = score([scored / "images" / "below"], tmp_path / "out", stages(fails_on(bad["mean"])))
    assert summary.statuses == {"ok": 69, "incomplete": 1}
    (row,) = (row for row in table(tmp_path / "out").to_pylist() if row["status"] == "incomplete")
    assert row["file"] == bad["file"] and row["mean"] is None and row["phash"] == bad["phash"]
    assert row["error"] == "mean: RuntimeError: not this one"
    assert summary.failures == [f"{bad['file']}: {row['error']}"]


def test_lists_and_evaluation_sets(scored: Path, tmp_path: Path) -> None:
    rows = {Path(row["file"]).name: row for row in table(scored / "out").to_pylist()}
    exact, near, gone = rows["011.jpg"], rows["012.jpg"], rows["013.jpg"]
    (tmp_path / "block.txt").write_text(f"{exact['sha256']}  # exact\n{near['phash'] ^ 5:016x}\n")
    (tmp_path / "out.txt").write_text(gone["file"] + "\n")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "x.jpg").write_bytes(encoded(noise_image(14), quality=40))
    score(
        [scored / "images" / "below"], tmp_path / "out", stages(),
        block=[tmp_path / "block.txt"], opt_out=[tmp_path / "out.txt"], evaluation=[tmp_path / "evaluation"],
    )  # fmt: skip
    found = {Path(row["file"]).name: row for row in table(tmp_path / "out").to_pylist()}
    assert [found[name]["status"] for name in ("011.jpg", "012.jpg", "013.jpg")] == ["blocked", "blocked", "opted_out"]
    assert all(found[name]["mean"] is None for name in ("011.jpg", "012.jpg", "013.jpg"))
    assert found["014.jpg"]["evaluation_distance"] <= 4 < found["015.jpg"]["evaluation_distance"]


def test_selecting(scored: Path, tmp_path: Path) -> None:
    rows = table(scored / "out").to_pylist()
    summary = select(scored / "out", tmp_path / "a", "mean > 120 and not exact_copy and height < 60")
    kept = pq.read_table(tmp_path / "a" / "selection.parquet").to_pylist()
    good = [r for r in rows if r["mean"] is not None and r["mean"] > 120 and not r["exact_copy"] and r["height"] < 60]
    assert kept == good and summary.kept == len(good) and summary.rows == 74
    bright = sum(r["mean"] is not None and r["mean"] > 120 for r in rows)
    assert summary.steps[0]["left"] == bright
    assert summary.steps[-1]["left"] == summary.kept
    alone = [r for r in rows if r["mean"] is not None and r["mean"] <= 120 and not r["exact_copy"] and r["height"] < 60]
    assert summary.steps[0]["dropped_by_it_alone"] == len(alone)
    select(tmp_path / "a", tmp_path / "b", "mean > 130")
    record = json.loads((tmp_path / "b" / "selection.json").read_text())
    assert [step["where"] for step in record["selections"]] == [
        "mean > 120 and not exact_copy and height < 60",
        "mean > 130",
    ]


def test_a_preset_warns_that_its_threshold_is_of_another_detector(caplog: pytest.LogCaptureFixture) -> None:
    condition = preset_condition("humans-300m", {"stages": {"person": "SomeDetector 1"}})
    assert "yours is SomeDetector 1" in caplog.text
    assert "person_score > 0.5 and person_min_side > 300" in condition
    caplog.clear()
    preset_condition("humans-300m", {"stages": {"person": person_stage().version}})
    assert not caplog.text


def frames(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def packed(scored: Path) -> Path:
    """The images of `scored` in shards of 30."""
    select(scored / "out", scored / "selected", "status == 'ok' and not exact_copy")
    fates = pack(scored / "selected", scored / "shards", Packing(shard_size=30))
    assert fates == {"packed": 71}
    return scored / "shards"


def test_shards_are_shuffled_and_the_same_each_time(scored: Path, packed: Path, tmp_path: Path) -> None:
    shards = sorted(packed.glob("*.tar"))
    assert [len(frames(shard)) for shard in shards] == [60, 60, 22]
    sources = [json.loads(data)["source"] for shard in shards for name, data in frames(shard).items() if "json" in name]
    assert len(set(sources)) == 71 and sources != sorted(sources)
    pack(scored / "selected", tmp_path / "again", Packing(shard_size=30), workers=1)
    assert [shard.read_bytes() for shard in sorted((tmp_path / "again").glob("*.tar"))] == [
        s.read_bytes() for s in shards
    ]
    with pytest.raises(FolderError, match="of another shard_size"):
        pack(scored / "selected", tmp_path / "again", Packing(shard_size=20))


def test_shards_are_read_by_webdataset(packed: Path) -> None:
    import webdataset as wds

    samples = list(
        wds.WebDataset([str(path) for path in sorted(packed.glob("*.tar"))], shardshuffle=False).decode("rgb8")
    )
    assert len(samples) == 71
    assert all(sample["jpg"].shape == (sample["json"]["height"], sample["json"]["width"], 3) for sample in samples)


def test_pretraining_reads_the_shards(packed: Path) -> None:
    images = ImageCollection(packed)
    assert len(images) == 71
    heights = sorted(images[index].image.shape[0] for index in range(len(images)))
    assert heights == [48] * 70 + [96]


def test_curating_then_pretraining(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way by its commands: folder -> scores -> selection -> shards -> steps of pretraining on those."""
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(12):
        (images / f"{seed:02d}.jpg").write_bytes(encoded(noise_image(seed, 96, 80)))
    (images / "cut.jpg").write_bytes(encoded(noise_image(12))[:150])
    out, selected, shards = (str(tmp_path / name) for name in ("scored", "selected", "shards"))
    (images / os.fsdecode(b"\xff.jpg")).write_bytes(encoded(noise_image(13)))
    for number in range(8, 18):
        (images / f"empty_{number:02d}.jpg").touch()
    for _ in range(2):  # the second time all is done
        assert main(["curate", "score", str(images), "--out", out, "--skip", "text", "person", "embedding"]) == 1
        printed, said = capsys.readouterr()
        assert "12 ok, 11 unreadable" in printed
        assert said.splitlines()[-12:] == [
            f"  {images}/\ufffd.jpg: its name is not UTF-8; rename it",
            f"  {images}/cut.jpg: cannot be decoded (Truncated File Read); copy it again",
            *(f"  {images}/empty_{number:02d}.jpg: the file is empty; copy it again" for number in range(8, 16)),
            f"  and 2 more: see {tmp_path}/scored/manifest.parquet",
            "12 images could not be scored",
        ]
    assert main(["curate", "select", out, "--out", selected, "--where", "status == 'ok'"]) == 0
    assert main(["curate", "pack", selected, "--out", shards, "--shard-size", "5"]) == 0
    size = ["--size", "toy", "--input-size", "32", "32", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
    assert main(["train", "pretrain", "--data", shards, "--output", str(tmp_path / "run"), "--steps", "3", *size]) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_the_card_counts(packed: Path) -> None:
    card = (packed / "README.md").read_text()
    assert "| inputs | 74 |" in card and "| of these: unreadable | 2 |" in card and "| packed | 71 |" in card
    assert "`file`, version 1" in card
    assert json.loads((packed / "manifest.json").read_text())["shards"] == ["000000.tar", "000001.tar", "000002.tar"]


def test_the_card_shows_foreign_words_as_words(scored: Path, tmp_path: Path) -> None:
    rows = table(scored / "out").slice(0, 1).to_pylist()
    rows[0]["license"] = "CC |\n# <script>alert(1)</script> ![x](https://track.example/x)"
    (tmp_path / "selected").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, table(scored / "out").schema), tmp_path / "selected" / "manifest.parquet")
    shutil.copy(scored / "out" / "run.json", tmp_path / "selected")
    pack(tmp_path / "selected", tmp_path / "shards")
    card = (tmp_path / "shards" / "README.md").read_text()
    shown = r"CC \| \# \<script\>alert\(1\)\</script\> \!\[x\]\(https://track.example/x\)"
    assert f"\n| {shown} | 1 |\n" in card


@pytest.mark.parametrize("missing", ["pyarrow", "ray", "imagehash", "rapidocr", "onnxruntime"])
def test_what_to_install_is_said_first(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / "x.jpg").write_bytes(encoded(noise_image(0)))
    assert main(["curate", "score", str(tmp_path / "x.jpg"), "--out", str(tmp_path / "out")]) == 2
    assert f"curation needs {missing}: pip install opensapiens[curate]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_image_that_ends_its_worker_is_given_up_by_pack(scored: Path, tmp_path: Path) -> None:
    select(scored / "out", tmp_path / "selected", "status == 'ok' and index < 5")
    killer = pq.read_table(tmp_path / "selected" / "selection.parquet")["file"][1].as_py()
    killed = 0

    def killing(source: Any) -> Any:
        if source == Path(killer).read_bytes():
            raise KeyboardInterrupt  # as a process that ends, nothing behind it is run
        return read_image(source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_module, "read_image", killing)
        while killed < 9:
            try:
                fates = pack(tmp_path / "selected", tmp_path / "shards")
                break
            except KeyboardInterrupt:
                killed += 1
    assert (killed, fates) == (4, {"packed": 2, "unreadable": 1})
    (failure,) = json.loads((tmp_path / "shards" / "plan" / "000000.json").read_text())["failures"]
    assert failure.startswith(f"{killer}: given up")
    assert not list((tmp_path / "shards" / "plan").glob("*.tries"))


def test_exif_is_gone_and_rotation_applied(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(noise_image(0, 40, 80))
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "somebody"
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "x.jpg", exif=exif, comment=b"secret comment")
    (tmp_path / "images" / "y.jpg").write_bytes(encoded(noise_image(1)))
    score([tmp_path / "images"], tmp_path / "out", stages())
    (tmp_path / "images" / "y.jpg").write_bytes(encoded(noise_image(2)))  # not what was scored
    fates = pack(tmp_path / "out", tmp_path / "shards", Packing(side=60))
    assert fates == {"packed": 1, "unreadable": 1}
    assert "has changed" in (tmp_path / "shards" / "plan" / "000000.json").read_text()
    (data,) = (data for name, data in frames(tmp_path / "shards" / "000000.tar").items() if name.endswith("jpg"))
    assert b"Exif" not in data and b"somebody" not in data and b"secret" not in data
    assert read_image(data).shape == (60, 30, 3)


def test_removing(scored: Path, packed: Path, tmp_path: Path) -> None:
    pack(scored / "selected", tmp_path / "shards", Packing(shard_size=30))
    rows = {Path(row["file"]).name: row for row in table(scored / "out").to_pylist()}
    (tmp_path / "block.txt").write_text(f"{rows['020.jpg']['sha256'].upper()}\n{rows['021.jpg']['phash']:016x}\n")
    (tmp_path / "out.txt").write_text(f"{rows['022.jpg']['file']}\n")
    removed = remove(tmp_path / "shards", (tmp_path / "block.txt",), (tmp_path / "out.txt",))
    assert sorted(key[:16] for key in removed) == sorted(rows[f"02{i}.jpg"]["sha256"][:16] for i in range(3))
    before = {name: data for shard in sorted(packed.glob("*.tar")) for name, data in frames(shard).items()}
    after = {
        name: data for shard in sorted((tmp_path / "shards").glob("*.tar")) for name, data in frames(shard).items()
    }
    assert after == {name: data for name, data in before.items() if name.partition(".")[0] not in removed}
    fates = json.loads((tmp_path / "shards" / "manifest.json").read_text())["fates"]
    assert fates == {"packed": 68, "removed": 3}
    assert remove(tmp_path / "shards", (tmp_path / "block.txt",)) == []


def test_a_shard_that_loses_images_while_it_is_read_is_not_replaced(
    scored: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(packed, tmp_path / "shards")
    before = {path.name: path.read_bytes() for path in sorted((tmp_path / "shards").glob("*.tar"))}
    rows = {Path(row["file"]).name: row for row in table(scored / "out").to_pylist()}
    (tmp_path / "block.txt").write_text(f"{rows['020.jpg']['sha256']}\n")
    read, seen = remove_module._frames, set()

    def losing(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
        found = list(read(path))
        yield from found[:-1] if path in seen else found
        seen.add(path)

    monkeypatch.setattr(remove_module, "_frames", losing)
    with pytest.raises(ShardError, match="would be left"):
        remove(tmp_path / "shards", (tmp_path / "block.txt",))
    assert before == {path.name: path.read_bytes() for path in sorted((tmp_path / "shards").glob("*.tar"))}


def test_folders_that_another_command_made_stay(scored: Path, packed: Path, tmp_path: Path) -> None:
    select(scored / "out", tmp_path / "selected", "mean > 120")
    pictures = scored / "images"
    before = {path: path.read_bytes() for path in (*tmp_path.rglob("*.*"), *scored.rglob("*.*")) if path.is_file()}
    for attempt in (
        lambda: select(tmp_path / "selected", tmp_path / "selected", "mean > 130"),
        lambda: select(scored / "out", scored / "out", "mean > 130"),
        lambda: select(scored / "out", pictures, "mean > 130"),
        lambda: pack(tmp_path / "selected", scored / "out"),
        lambda: pack(tmp_path / "selected", pictures),
        lambda: report(scored / "out", scored / "out" / "manifest.parquet", "mean > 130"),
        lambda: score([pictures], packed, stages()),
    ):
        with pytest.raises(FolderError):
            attempt()
    assert before == {path: path.read_bytes() for path in before}
    shutil.copytree(packed, tmp_path / "theirs", ignore=shutil.ignore_patterns("identity.json"))
    (tmp_path / "block.txt").write_text("0" * 64 + "\n")
    with pytest.raises(ShardError, match="others are not changed"):
        remove(tmp_path / "theirs", (tmp_path / "block.txt",))


def test_the_report_shows_both_sides_and_no_foreign_html(scored: Path, tmp_path: Path) -> None:
    page = report(scored / "out", tmp_path / "r.html", "mean > 120 and status == 'ok'", examples=3).read_text()
    kept = table(scored / "out").filter(__import__("pyarrow.compute").compute.field("mean") > 120).num_rows
    assert f"keeps {kept}, drops {74 - kept}" in page
    assert page.count('<figure class="kept">') == 9 and page.count('<figure class="dropped">') == 8
    assert page.count("data:image/jpeg;base64,") == 15  # two of the dropped cannot be read
    assert "mean &gt; 120" in page and "<svg" in page


def test_a_manifest_can_be_read_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.jpg").write_bytes(encoded(noise_image(0)))
    monkeypatch.chdir(tmp_path)
    score(["images"], "out", stages())
    monkeypatch.chdir("/")
    assert score([tmp_path / "images"], tmp_path / "out", stages()).images == 0, "it is the same run"
    assert "data:image/jpeg" in report(tmp_path / "out", tmp_path / "r.html", "mean > 0").read_text()
    assert pack(tmp_path / "out", tmp_path / "shards") == {"packed": 1}
    (tmp_path / "images" / "x.jpg").unlink()
    page = report(tmp_path / "out", tmp_path / "r.html", "mean > 0").read_text()
    assert "No such file" in page and "data:image" not in page


def test_a_source_is_opened_where_the_row_says(scored: Path) -> None:
    from opensapiens.curation.manifest import item_of_row

    row = table(scored / "out").to_pylist()[0]
    assert read_item(item_of_row(row)) == Path(row["file"]).read_bytes()
