"""The scripts that measure memory start, and write files that are read as published ones."""

import importlib
from pathlib import Path

import pytest
import torch

from opensapiens.checkpoints.convert import read_published_file
from opensapiens.checkpoints.sapiens2_files import HEAD_OF_TASK

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.parametrize("task", ["matting", "pose"])
def test_a_file_of_random_weights(task: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    sizes, memory = importlib.import_module("sapiens2_sizes"), importlib.import_module("load_memory")
    written: list[tuple[int, ...]] = []

    def few(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        written.append(shape)
        return torch.zeros(1)

    row = sizes.row_of(task, "0.4b")
    assert row.size == "0.4b" and row.task == task and set(HEAD_OF_TASK) >= {task}
    monkeypatch.setattr(sizes, "random_tensor", few)
    sizes.write_published(row, tmp_path / "model.safetensors")
    assert sum(torch.Size(shape).numel() for shape in written) > 400e6
    with (tmp_path / "model.safetensors").open("r+b") as file:  # as long as its header says, without the values
        header = int.from_bytes(file.read(8), "little")
        file.truncate(8 + header + 4 * sum(torch.Size(shape).numel() for shape in written))
    tensors, description = read_published_file(tmp_path / "model.safetensors")
    assert list(description.heads) == [task] and description.backbone.embed_dim == 1024
    assert len(tensors) == len(written) and memory.measure_load.__name__ == "measure_load"
