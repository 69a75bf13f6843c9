"""Memory that loading and converting published models takes, with random weights of the real size.

$ python benchmarks/load_memory.py load --size 2b
$ python benchmarks/load_memory.py convert --size 0.3b

`load` writes a model folder tensor by tensor, loads it in a fresh process, reads every parameter once and prints the
peak of that process's memory. `convert` writes a checkpoint in each published layout, takes it through `opensapiens
convert` and `opensapiens predict` and prints the peak of each process.

The files are written to --folder and deleted again: for 2b in float32 that is 9 GB.
"""

import argparse
import functools
import io
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from opensapiens.checkpoints.model_folder import BACKBONE, CONFIG_FILE, WEIGHTS_FILE, build_model
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS, PublishedModel
from opensapiens.checkpoints.sapiens_files import to_published
from opensapiens.checkpoints.tensor_names import renamed

DTYPES = {"float32": ("F32", torch.float32), "bfloat16": ("BF16", torch.bfloat16), "float16": ("F16", torch.float16)}
PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "grace_hopper.jpg"

PEAK = """
import resource, sys
def peak():
    try:  # of this program alone: what resource says includes the process that started it
        return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
LOAD = f"""{PEAK}
import torch
from opensapiens.checkpoints.model_folder import load_model
before = peak()
model, _ = load_model(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
with torch.inference_mode():
    total = sum(float(parameter.sum(dtype=torch.float32)) for parameter in model.parameters())
print(before, peak(), sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()))
"""
COMMAND = f"""{PEAK}
from opensapiens.cli import main
code = main(sys.argv[1:])
print(peak())
sys.exit(code)
"""


@functools.cache
def random_values() -> torch.Tensor:
    """Small random numbers, as weights have; drawn once and repeated, since drawing billions takes long."""
    return torch.empty(1 << 24).normal_(std=0.02)


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of random_values, over and over."""
    values, count = random_values().to(dtype), math.prod(shape)
    if count > len(values):
        values = values.repeat(-(-count // len(values)))
    return values[:count].clone().reshape(shape)  # a clone, or a small tensor would hold on to all of the values


def write_folder(model: PublishedModel, folder: Path, dtype: str) -> int:
    """A model folder of random weights, written one tensor at a time; returns the size of the weights in bytes."""
    code, torch_dtype = DTYPES[dtype]
    description = model.description()
    with torch.device("meta"):
        state = build_model(description).state_dict()
    header, place = {}, 0
    for name, tensor in state.items():
        end = place + tensor.numel() * torch_dtype.itemsize
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    encoded = json.dumps(header).encode()
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(json.dumps(description.to_json()))
    with (folder / WEIGHTS_FILE).open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in state.values():
            file.write(random_tensor(tuple(tensor.shape), torch_dtype).view(torch.uint8).numpy().data)
    return place


def measure_load(model: PublishedModel, dtype: str, stored: str, root: Path) -> None:
    """Peak memory of loading a model."""
    folder = root / "model"
    written = write_folder(model, folder, stored)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), dtype], capture_output=True, text=True, check=True, env=environment()
    )
    before, after, held = map(int, done.stdout.split())
    print(f"{model.name} stored as {stored} ({written / 1e9:.3f} GB), loaded as {dtype} ({held / 1e9:.3f} GB)")
    print(
        f"peak {after / 1e9:.3f} GB = {after / held:.3f} x the weights, of which {before / 1e9:.3f} GB before loading"
    )


def environment() -> dict[str, str]:
    """The same memory for whoever runs it: one thread, no cache of earlier conversions."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def published_state(model: PublishedModel, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random tensors by their published names."""
    with torch.device("meta"):
        state = build_model(model.description()).state_dict()
    tensors = {name: random_tensor(tuple(tensor.shape), dtype) for name, tensor in state.items()}
    if model.task == "pretraining":
        return to_published(renamed(tensors, BACKBONE, ""), "backbone")
    return to_published(tensors, model.task)


class Holder(torch.nn.Module):
    """A module whose state dict is the tensors: what a traced model looks like from outside."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            module: torch.nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, Holder({}))
                module = getattr(module, part)
            module.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every parameter is used, so that the trace keeps it."""
        return x + sum(parameter.sum() for parameter in self.parameters())


def write_layouts(size: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Each published layout as (words, file), one at a time; the caller deletes it before the next is made."""
    pose, backbone = PUBLISHED_MODELS[f"sapiens-{size}-pose17"], PUBLISHED_MODELS[f"sapiens-{size}-pretrain"]
    torch.save(published_state(backbone), root / "flat_clean.pth")
    yield "flat _clean.pth", root / "flat_clean.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": published_state(pose)}, root / "task.pth")
    yield "{meta, state_dict} .pth", root / "task.pth"
    state = published_state(PUBLISHED_MODELS[f"sapiens-{size}-seg28"])
    moments = {i: {"exp_avg": tensor, "exp_avg_sq": tensor} for i, tensor in enumerate(state.values())}
    content = {"meta": {}, "state_dict": state, "optimizer": {"state": moments}, "message_hub": {}}
    torch.save(content, root / "epoch_1.pth")
    yield "training checkpoint", root / "epoch_1.pth"
    del state, moments, content
    torch.jit.trace(Holder(published_state(PUBLISHED_MODELS[f"sapiens-{size}-depth"])), torch.zeros(1)).save(
        str(root / "model_torchscript.pt2")
    )
    yield "TorchScript .pt2", root / "model_torchscript.pt2"
    inner = io.BytesIO()
    torch.save(published_state(PUBLISHED_MODELS[f"sapiens-{size}-normals"], torch.bfloat16), inner)
    with zipfile.ZipFile(root / "model_bfloat16.pt2", "w") as archive:  # as PyTorch 2.3 writes it
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", inner.getbuffer())
        archive.writestr("version", "5.1")
    del inner
    yield "exported bfloat16 .pt2", root / "model_bfloat16.pt2"
    torch.save({"state_dict": published_state(pose)}, root / "old.pth", _use_new_zipfile_serialization=False)
    yield "torch.save before 1.6", root / "old.pth"


def run_command(*arguments: str) -> float:
    """`opensapiens ...` in a process of its own; its peak memory in GB."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environment()
    )
    if done.returncode:
        raise SystemExit(f"opensapiens {' '.join(arguments)} failed")
    return int(done.stdout.split()[-1]) / 1e9


def measure_convert(size: str, root: Path, input_size: list[str]) -> None:
    """Peak memory of convert and predict for each published layout."""
    options = ["--no-flip", *(["--input-size", *input_size] if input_size else [])]
    photo = root / "photo.jpg"
    Image.open(PHOTO).save(photo)
    for words, file in write_layouts(size, root):
        weights = file.stat().st_size
        converted = run_command("convert", str(file), str(root / "folder"))
        file.unlink()
        held = (root / "folder" / WEIGHTS_FILE).stat().st_size
        line = f"{size} {words}: file {weights / 1e9:.3f} GB, convert peak {converted:.3f} GB"
        if json.loads((root / "folder" / CONFIG_FILE).read_text())["heads"]:
            output = root / "out"
            predicted = run_command(
                "predict", str(photo), "--model", str(root / "folder"), "--output", str(output), *options
            )
            made = sorted(path.name for path in output.rglob("*") if path.is_file())
            line += f", predict peak {predicted:.3f} GB (weights {held / 1e9:.3f} GB, {len(made)} files made)"
            shutil.rmtree(output)
        shutil.rmtree(root / "folder")
        print(line, flush=True)


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "convert"))
    parser.add_argument("--size", default="0.3b", choices=("0.3b", "0.6b", "1b", "2b"))
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="the type to load in")
    parser.add_argument("--stored", default="float32", choices=DTYPES, help="the type in the file")
    parser.add_argument(
        "--input-size", nargs=2, default=[], help="height and width for predict, by default the model's"
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    given = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=given.folder) as root:
        if given.what == "load":
            measure_load(PUBLISHED_MODELS[f"sapiens-{given.size}-pose308"], given.dtype, given.stored, Path(root))
        else:
            measure_convert(given.size, Path(root), given.input_size)


if __name__ == "__main__":
    main()
