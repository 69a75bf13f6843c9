"""The real engine: a worker that is killed costs nothing, and the number of workers changes nothing."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pq = pytest.importorskip("pyarrow.parquet")
if importlib.util.find_spec("ray") is None:
    pytest.skip("needs the extra curate", allow_module_level=True)

from opensapiens.curation import engine  # noqa: E402
from opensapiens.curation import score as score_module  # noqa: E402
from opensapiens.curation.picture import Picture, Scores  # noqa: E402
from opensapiens.curation.score import score  # noqa: E402
from opensapiens.curation.stage import Stage  # noqa: E402
from opensapiens.curation.stages import FILE  # noqa: E402

from . import conftest  # noqa: E402
from .conftest import encoded, mean_of, mean_stage, noise_image  # noqa: E402


def dies(place: int, marker: Path) -> Stage:
    """A stage that kills its process on the image of one place, each time; and at its first call, whatever it is."""

    def score(pictures: Sequence[Picture]) -> list[Scores]:
        bright = any(picture.image.shape[1] == 64 + place for picture in pictures)
        if bright or not marker.exists():
            with marker.open("a") as file:
                file.write("died\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return mean_of(pictures)

    return mean_stage(lambda: score)


def test_a_killed_worker_is_replaced_and_an_image_that_kills_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for seed in range(70):
        image = noise_image(seed, width=69 if seed == 40 else 64)
        (tmp_path / "images" / f"{seed:03d}.jpg").write_bytes(encoded(image))
    score([tmp_path / "images"], tmp_path / "alone", [FILE, mean_stage()])
    monkeypatch.setattr(score_module, "run_pieces", engine.run_pieces)
    monkeypatch.setattr(score_module, "ray_running", engine.ray_running)
    register_by_value()
    summary = score([tmp_path / "images"], tmp_path / "ray", [FILE, dies(5, tmp_path / "died")], workers=2)
    assert (tmp_path / "died").read_text().count("died") == 1 + 2 + 2  # once on its own, in a batch, alone
    assert summary.images == 70 and summary.statuses == {"ok": 69, "incomplete": 1}
    alone, by_ray = (pq.read_table(tmp_path / name / "manifest.parquet").to_pylist() for name in ("alone", "ray"))
    (failure,) = summary.failures
    assert by_ray.pop(40)["error"].startswith("given up") and "040.jpg: given up" in failure
    alone.pop(40)
    assert by_ray == alone
    assert not engine.import_ray().is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def register_by_value() -> None:
    """The workers cannot import tests."""
    ray = engine.import_ray()
    for module in (sys.modules[__name__], conftest):
        ray.cloudpickle.register_pickle_by_value(module)


class FullDisk:
    """A step that cannot write one of its pieces."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, but for piece 3."""
        if batch["id"][0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device", "part 3")
        return batch


def test_a_full_disk_is_the_workers_own_error_and_only_this_machine_is_listened_to() -> None:
    ray = engine.import_ray()
    register_by_value()
    # One worker's CPU for two pools, and a third as on a machine with a GPU: none may hold what another needs to begin.
    pools = [engine.Pool(FullDisk), engine.Pool(FullDisk), engine.Pool(FullDisk, gpu=True)]
    with engine.ray_running(1) as workers, pytest.raises(OSError, match="No space left") as caught:
        assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"  # what Ray then listens on alone
        list(engine.run_pieces(5, pools, workers))
    assert type(caught.value) is OSError and caught.value.errno == errno.ENOSPC and caught.value.filename == "part 3"
    # What is left of a run of Ray Data ends the process when it finds no Ray, at any time later.
    assert not [thread.name for thread in threading.enumerate() if thread.name == "Prefetcher"]
