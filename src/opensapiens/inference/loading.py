"""Models by name, ready to be called."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from opensapiens.backbones import BACKBONES, BackboneConfig
from opensapiens.backbones.rotary import RopeDtype
from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.model_folder import build_model, load_model, read_description, weights_digest
from opensapiens.geometry.view import Resize
from opensapiens.inference.detection import Detector
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.options import AUTO
from opensapiens.inference.pipeline import People
from opensapiens.inference.runtimes import Runtime, start_runtime
from opensapiens.models.cost import parameters
from opensapiens.models.human_model import HumanModel
from opensapiens.tasks import TASKS
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.task import HeadTask

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHARE_FOR_WEIGHTS = 0.7  # of the free memory: the rest is for activations


class LoadError(ValueError):
    """A device, type, input size or resizing that is not available; the message says what is."""


def load(
    models: str | Path | Sequence[str | Path],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    detector: Detector | str = AUTO,
    batch_size: int = 8,
    resize: Resize | None = None,
    input_size: tuple[int, int] | None = None,
    runtime: str = "torch",
    tasks: Mapping[str, type[HeadTask]] | None = None,
    backbones: Mapping[str, type[BackboneConfig]] = BACKBONES,
    rope_dtype: RopeDtype | None = None,
) -> People:
    """The pipeline for one model or for several that work together.

    Args:
        models: the name of a model ("nano", "sapiens-1b-pose308": downloaded and converted on first use), a folder with
            model.safetensors and config.json, a published file (.pth, .pt2), or a list of these. Each task is done by
            the first model that has a head for it. Models that do not fit into memory together are loaded in turn, for
            a few batches of images at a time.
        device: "cpu", "cuda", "cuda:1", "mps"; by default the GPU if there is one.
        dtype: "float32" (the default, as published), "bfloat16" or "float16": half the memory.
        detector: finds the people when no boxes are given, or its name, see `find_detector`.
        batch_size: how many views go through a network at a time.
        resize: how models without a pose head see an image, instead of as their weights ask for: "squash" (the whole
            image, as the published models do), "letterbox" or "zero_pad" (with its aspect ratio kept), "person_crop".
        input_size: (height, width) instead of the weights' own, multiples of the patch size; position embeddings are
            resized bicubically. Far from the training size results are worse.
        runtime: what runs the networks: "torch" (the reference), "compiled", "openvino", "openvino-int8", "onnx", or
            "auto" for the fastest exact one that is installed for the device; see inference.runtimes.
        tasks: your own, by the name of their head; see docs/your_own_task.md.
        backbones: family -> its config; {**BACKBONES, "name": Config} for models with your own backbone.
        rope_dtype: of the positions in models of Sapiens2, instead of their own: "bfloat16" as the published code,
            "float32" as transformers and timm.

    Raises:
        ModelNotFound: an unknown name.
        LoadError: a device, type, size or resizing that is not available.
        RuntimeUnavailable: a runtime that is not for this device or type. ModuleNotFoundError: one not installed.
        CheckpointError: weights that do not fit their description.
    """
    names = [models] if isinstance(models, str | Path) else list(models)
    device, dtype = usable_device(device), torch_dtype(dtype)
    folders = [model_folder(name) for name in names]
    descriptions = [_fitted(read_description(folder, backbones), resize, input_size) for folder in folders]
    if resize is not None and all(PoseTask.name in description.heads for description in descriptions):
        raise LoadError(f"resize {resize!r} is for models without a pose head: pose needs person crops")
    if rope_dtype is not None:
        descriptions = _with_rope(descriptions, rope_dtype)
    in_memory = len(folders) == 1 or _fit_together(descriptions, device, dtype)
    known_tasks = {**TASKS, **(tasks or {})}
    loaded = []
    for folder, description in zip(folders, descriptions, strict=True):
        read = functools.partial(_read, folder, device, dtype, runtime, description)
        network = read() if in_memory else None
        loaded.append(LoadedModel(network, description, read, weights_digest(folder), known_tasks))
    return People(loaded, detector, batch_size)


def usable_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the GPU if there is one. Raises LoadError for one that this PyTorch does not have."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device is None:
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise LoadError(f"no device {str(device)!r}; there are cpu, cuda, cuda:1, … and mps") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count() if cuda else 0, "mps": int(mps)}.get(wanted.type, 0)
    if (wanted.index or 0) >= count:
        raise LoadError(f"this PyTorch ({torch.__version__}) has no device {wanted}: it finds {count} of that kind")
    return wanted


def _read(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    runtime: str,
    description: ModelDescription,
) -> HumanModel | Runtime:
    network, _ = load_model(folder, device, dtype, description=description)
    return start_runtime(runtime, network.eval(), description.preprocessing)


def _with_rope(descriptions: Sequence[ModelDescription], rope_dtype: RopeDtype) -> list[ModelDescription]:
    """The descriptions with another type of positions, where they have one. Raises LoadError if none has."""
    if not any(isinstance(description.backbone, Sapiens2Config) for description in descriptions):
        raise LoadError("rope_dtype is for models of Sapiens2, and there is none among these")
    return [
        replace(description, backbone=replace(description.backbone, rope_dtype=rope_dtype))
        if isinstance(description.backbone, Sapiens2Config)
        else description
        for description in descriptions
    ]


def torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """A type by its name; None is float32. Raises LoadError for another name."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None and dtype not in DTYPES:
        raise LoadError(f"no dtype {dtype!r}; there are {', '.join(DTYPES)}")
    return DTYPES[dtype or "float32"]


def _fitted(
    description: ModelDescription, resize: Resize | None, input_size: tuple[int, int] | None
) -> ModelDescription:
    """The description with the preprocessing that was asked for."""
    preprocessing = description.preprocessing
    if resize is not None and PoseTask.name not in description.heads:
        preprocessing = replace(preprocessing, resize=resize)
    fixed = [name for name, head in description.heads.items() if head.scale is not None]
    if input_size is not None and fixed and tuple(input_size) != preprocessing.input_size:
        height, width = preprocessing.input_size
        raise LoadError(f"the {fixed[0]} head of {description.name} is for inputs of {height} x {width} pixels alone")
    if input_size is not None:
        patch = description.backbone.patch_size
        if len(input_size) != 2 or any(size < patch or size % patch for size in input_size):
            raise LoadError(f"an input size is height and width, multiples of {patch}, not {tuple(input_size)}")
        preprocessing = replace(preprocessing, input_size=(input_size[0], input_size[1]))
    return replace(description, preprocessing=preprocessing)


def _fit_together(descriptions: Sequence[ModelDescription], device: torch.device, dtype: torch.dtype) -> bool:
    free = free_memory(device)
    if free is None:
        return True
    with torch.device("meta"):
        needed = sum(parameters(build_model(description)) for description in descriptions) * dtype.itemsize
    return needed <= SHARE_FOR_WEIGHTS * free


def free_memory(device: torch.device) -> int | None:
    """Free bytes on a device; None if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        available = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
