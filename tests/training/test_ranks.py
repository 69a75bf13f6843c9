"""Several processes train as one does, and go on from each other's checkpoints."""

import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from opensapiens.recipes.nano import nano_smoke
from opensapiens.recipes.pretrain import pretrain
from opensapiens.training.loop import train
from opensapiens.training.run import Run

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
MEASURED = ("images_per_second", "tokens_per_second", "mfu", "waiting_for_data", "memory_gb")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Here as in the processes that are started: with more threads, sums are taken in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_ranks", HERE / "two_ranks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(output: Path) -> list[dict]:
    read = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in MEASURED} for line in read]


def assert_same_numbers(found: Path, expected: Path) -> None:
    for ours, theirs in zip(lines(found), lines(expected), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-5, abs=1e-5), (theirs["step"], key)


def forget_the_end(output: Path) -> None:
    """As if the run had been killed after its checkpoint of step 2."""
    shutil.rmtree(output / "checkpoints" / "00000004")
    shutil.rmtree(output / "model")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_two_ranks_equal_one(people_shards: Path, tmp_path: Path) -> None:
    script = load_script()
    one = tmp_path / "one"
    train(script.uneven_run(people_shards, one))
    shutil.copytree(one, tmp_path / "one_then_two")
    forget_the_end(tmp_path / "one_then_two")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
    done = subprocess.run(
        [*command, str(free_port()), str(HERE / "two_ranks.py"), str(people_shards), str(tmp_path)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(lines(one)) == 5  # four steps and a validation
    for name in ("ddp", "fsdp", "one_then_two"):
        assert_same_numbers(tmp_path / name, one)
    # Each rank wrote its share; one process reads them.
    assert len(list((tmp_path / "fsdp" / "checkpoints" / "00000002").glob("*.safetensors"))) == 2
    forget_the_end(tmp_path / "fsdp")
    train(script.uneven_run(people_shards, tmp_path / "fsdp"))
    assert_same_numbers(tmp_path / "fsdp", one)


def test_unreadable_pictures_end_all_ranks_alike(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(7):
        Image.new("RGB", (40, 40), (30 * number, 0, 0)).save(photos / f"{number}.png")
    (photos / "empty.png").touch()
    words = ["pretrain", "--data", str(photos), "--output", str(tmp_path / "run"), "--size", "toy", "--device", "cpu"]
    words += ["--input-size", "32", "32", "--steps", "2", "--batch-size", "4", "--workers", "0"]
    # Not by torchrun, which hides the exit codes of the ranks.
    environment = {**ENVIRONMENT, "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    environment["TORCHELASTIC_RUN_ID"] = "1"
    command = [sys.executable, "-m", "opensapiens", "train", *words]
    ranks = [
        subprocess.Popen(
            command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    said = [rank.communicate(timeout=600)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert said[0].splitlines()[-2:] == [
        f"  {photos}/empty.png: the file is empty; copy it again",
        "1 picture could not be read",
    ]
    assert "could not be read" not in said[1]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_killed_at_a_random_step(people_shards: Path, tmp_path: Path) -> None:
    """SIGKILL, then the same call again: every loss of every step is the same to the last digit."""

    def toy(name: str) -> Run:
        return nano_smoke(people_shards, tmp_path / name, steps=40)

    options = ["--data", str(people_shards), "--output", str(tmp_path / "killed"), "--steps", "40"]
    settings = ["--device", "cpu", "--checkpoint-steps", "3"]
    at, log = random.randrange(4, 20), tmp_path / "killed" / "log.jsonl"
    command = [sys.executable, "-m", "opensapiens", "train", "nano_smoke", *options, *settings]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= at):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert len(lines(tmp_path / "killed")) < 40
    train(toy("straight"))
    train(toy("killed"))
    assert lines(tmp_path / "killed") == lines(tmp_path / "straight"), f"killed after step {at}"


def test_the_slurm_script_starts_a_rank_on_each_machine(people_shards: Path, tmp_path: Path) -> None:
    """Its srun is a stub that starts two torchruns on this machine, as srun does one on each of two."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "scontrol": 'printf "localhost\\nelsewhere\\n"',
        "srun": '"$@" & first=$!; "$@" & second=$!; wait $first && wait $second',
        "torchrun": f'exec "{sys.executable}" -m torch.distributed.run "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "x", "SLURM_GPUS_ON_NODE": "1"}
    environment = {**ENVIRONMENT, **slurm, "PATH": f"{programs}:{os.environ['PATH']}"}
    words = ["pretrain", "--data", str(people_shards), "--output", str(tmp_path / "run"), "--size", "toy"]
    words += ["--input-size", "64", "64", "--steps", "2", "--batch-size", "4", "--workers", "0"]
    done = subprocess.run(
        ["bash", str(ROOT / "examples" / "slurm" / "train.sbatch"), *words, "--device", "cpu", "--parallel", "fsdp"],
        env={**environment, "RENDEZVOUS_PORT": str(free_port())}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("the model is in") == 1
    assert len(list((tmp_path / "run" / "checkpoints" / "00000002").glob("*.safetensors"))) == 2
    train(pretrain((people_shards,), tmp_path / "one", "toy", None, (64, 64), steps=2, batch_size=4, workers=0))
    assert_same_numbers(tmp_path / "run", tmp_path / "one")
