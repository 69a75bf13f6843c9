"""Operations per image, peak rate and peak memory of a device."""

import time

import torch
from torch import nn

from opensapiens.data.multi_crop import MultiCrop, local_size
from opensapiens.models.cost import full_flops, masked_autoencoder_flops
from opensapiens.models.human_model import HumanModel
from opensapiens.training.gpus import PEAK_BFLOAT16
from opensapiens.training.run import Run, Size


def training_flops(run: Run, model: nn.Module, size: Size) -> float:
    """Operations of one image, forward and backward, without activation checkpointing; a multiply-add counts as two.

    The backward pass costs twice the forward pass of trained layers, and once that of layers that gradients only pass
    through (frozen ones with adapters).
    """
    config = run.model.backbone
    if run.masked:
        decoder = run.model.decoder
        assert decoder is not None
        masked = 3.0 * masked_autoencoder_flops(config, decoder.embed_dim, decoder.layers, run.mask_ratio, size)
        if not isinstance(run.augmentation, MultiCrop):
            return masked
        views, small = run.augmentation, local_size(size, config.patch_size)
        teacher = full_flops(config, image_size=size)  # forward alone
        return views.global_views * (masked + teacher) + views.local_views * 3.0 * full_flops(config, image_size=small)
    assert isinstance(model, HumanModel)
    backbone = full_flops(config, image_size=size)
    heads = full_flops(config, model.heads.values(), size) - backbone  # type: ignore[arg-type]
    return {"all": 3, "lora": 2, "heads": 1}[run.trainable] * backbone + 3.0 * heads


def peak_flops(device: torch.device) -> float:
    """Peak operations per second of a device: by the data sheet, or else as measured with float32 matrices."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for key, peak in PEAK_BFLOAT16.items():
            if key in name:
                return peak
    side = 4096 if device.type != "cpu" else 512
    matrix = torch.ones(side, side, device=device)
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process in GB (1e9 bytes): of tensors on a GPU, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9
