"""A Sapiens2 size with random weights from a published file to every use: memory and time of each step.

$ python benchmarks/sapiens2_sizes.py tasks --size 0.4b --photo three_people.jpg
$ python benchmarks/sapiens2_sizes.py load --size 5b --stored float32

`tasks` writes a file in the published layout for each task, and takes it through `opensapiens convert`, `predict` and
`export` to ONNX and OpenVINO, each in a process of its own, whose wall time and peak memory it prints. `load` writes
the size's pose model as a folder, loads it in bfloat16, reads every parameter once and prints the peak.

Files go to --folder and are deleted after each task: 8 GB for 0.4b, for 5b 10 or 20 GB.
"""

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from load_memory import COMMAND, DTYPES, PHOTO, environment, measure_load, random_tensor

from opensapiens.checkpoints.model_folder import WEIGHTS_FILE, build_model
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS, PublishedModel
from opensapiens.checkpoints.sapiens2_files import HEAD_OF_TASK, ROWS, to_published

SIZES = ("0.4b", "0.8b", "1b", "5b")


def row_of(task: str, size: str) -> PublishedModel:
    """The published model of a task and a size; where that size was not, another one's with the size's backbone."""
    rows = [row for row in ROWS if row.task == task]
    return next((row for row in rows if row.size == size), replace(rows[0], size=size))


def write_published(model: PublishedModel, path: Path) -> None:
    """A float32 safetensors file in the published layout, written one tensor at a time."""
    with torch.device("meta"):
        state = to_published(build_model(model.description()).state_dict(), model.task)
    header, place = {}, 0
    for name, tensor in state.items():
        end = place + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in state.values():
            file.write(random_tensor(tuple(tensor.shape), torch.float32).numpy().data)


def measured(label: str, *arguments: str) -> None:
    """Runs `opensapiens ...` in a process of its own, and prints its time and peak memory."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, text=True,
                          env=environment())  # fmt: skip
    seconds = time.monotonic() - started
    if done.returncode:
        print(f"  {label}: failed with exit code {done.returncode}", flush=True)
        return
    print(f"  {label}: {seconds:.0f} s, peak {int(done.stdout.split()[-1]) / 1e9:.2f} GB", flush=True)


def measure_task(task: str, size: str, photo: Path, formats: list[str], root: Path) -> None:
    """Every step of one task."""
    file, folder = root / f"sapiens2_{size}_{task}.safetensors", root / "model"
    write_published(row_of(task, size), file)
    print(f"{size} {task}: file {file.stat().st_size / 1e9:.3f} GB", flush=True)
    measured("convert", "convert", str(file), str(folder))
    file.unlink()
    output = root / "out"
    words = ["--model", str(folder), "--output", str(output), "--threads", "1", "--no-flip"]
    measured("predict", "predict", str(photo), *words)
    made = sorted(path.name for path in output.rglob("*") if path.is_file())
    print(f"  files: {', '.join(made)}", flush=True)
    for kind in formats:
        exported = root / kind
        measured(f"export {kind}", "export", str(folder), "--format", kind, "--output", str(exported))
        for report in exported.glob("*.json"):
            print(f"    against PyTorch: {json.dumps(json.loads(report.read_text())['check'])}", flush=True)
        shutil.rmtree(exported, ignore_errors=True)
    print(f"  weights {(folder / WEIGHTS_FILE).stat().st_size / 1e9:.3f} GB", flush=True)
    shutil.rmtree(folder)
    shutil.rmtree(output, ignore_errors=True)


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tasks", "load"))
    parser.add_argument("--size", default="0.4b", choices=SIZES)
    parser.add_argument("--task", nargs="*", default=list(HEAD_OF_TASK), choices=list(HEAD_OF_TASK))
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--format", nargs="*", default=["onnx", "openvino"], choices=("onnx", "openvino", "torch"))
    parser.add_argument("--stored", default="float32", choices=DTYPES, help="the type in the file, for load")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    given = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=given.folder) as root:
        if given.what == "load":
            measure_load(PUBLISHED_MODELS[f"sapiens2-{given.size}-pose"], "bfloat16", given.stored, Path(root))
            return
        for task in given.task:
            measure_task(task, given.size, given.photo, given.format, Path(root))


if __name__ == "__main__":
    main()
