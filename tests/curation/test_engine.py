"""The real engine: a worker that is killed costs nothing, and the number of workers changes nothing."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pq = pytest.importorskip("pyarrow.parquet")
ray = pytest.importorskip("ray")

from opensapiens.curation import engine  # noqa: E402
from opensapiens.curation import score as score_module  # noqa: E402
from opensapiens.curation.picture import Picture, Scores  # noqa: E402
from opensapiens.curation.score import score  # noqa: E402
from opensapiens.curation.stages import FileFacts  # noqa: E402

from . import conftest  # noqa: E402
from .conftest import Mean, encoded, noise_image  # noqa: E402


class DiesOnce(Mean):
    """A stage whose process is killed on the first image with a certain brightness, once."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """As Mean."""
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(pictures)


def test_a_killed_worker_is_replaced(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "images").mkdir()
    for seed in range(70):
        (tmp_path / "images" / f"{seed:03d}.jpg").write_bytes(encoded(noise_image(seed)))
    score([tmp_path / "images"], tmp_path / "alone", [FileFacts(), Mean()])
    monkeypatch.setattr(score_module, "run_pieces", engine.run_pieces)
    monkeypatch.setattr(score_module, "ray_running", engine.ray_running)
    for module in (sys.modules[__name__], conftest):
        ray.cloudpickle.register_pickle_by_value(module)  # the workers cannot import tests
    stages = [FileFacts(), DiesOnce(tmp_path / "died")]
    summary = score([tmp_path / "images"], tmp_path / "ray", stages, workers=2)
    assert (tmp_path / "died").exists() and summary.images == 70
    alone, by_ray = (pq.read_table(tmp_path / name / "manifest.parquet") for name in ("alone", "ray"))
    assert by_ray.equals(alone)
    assert not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


class FullDisk:
    """A step that cannot write one of its pieces."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, but for piece 3."""
        if batch["id"][0] == 3:
            raise OSError(errno.ENOSPC, "No space left on device", "part 3")
        return batch


def test_a_full_disk_is_the_workers_own_error() -> None:
    for module in (sys.modules[__name__], conftest):
        ray.cloudpickle.register_pickle_by_value(module)
    # One worker's CPU for two pools, and a third as on a machine with a GPU: none may hold what another needs to begin.
    pools = [engine.Pool(FullDisk), engine.Pool(FullDisk), engine.Pool(FullDisk, gpu=True)]
    with engine.ray_running(1) as workers, pytest.raises(OSError, match="No space left") as caught:
        list(engine.run_pieces(5, pools, workers))
    assert type(caught.value) is OSError and caught.value.errno == errno.ENOSPC and caught.value.filename == "part 3"
    # What is left of a run of Ray Data ends the process when it finds no Ray, at any time later.
    assert not [thread.name for thread in threading.enumerate() if thread.name == "Prefetcher"]
