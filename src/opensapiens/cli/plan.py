"""`opensapiens plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from opensapiens.training.plan import Plan


def plan(
    job: str = "pretrain",
    size: Literal["0.3b", "0.6b", "1b", "2b"] = "2b",
    gpus: int = 8,
    gpu: str = "a100",
    precision: Literal["bfloat16", "tf32", "float32"] = "bfloat16",
    parallel: Literal["ddp", "fsdp"] = "fsdp",
    recompute: bool = False,
    batch: int | None = None,
    efficiency: float = 0.40,
    tokens: float = 1.2e12,
    images: float | None = None,
    mask_ratio: float = 0.75,
    image_size: tuple[int, int] | None = None,
    price: float | None = None,
    json: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> int:
    """Say what a training run would take, before it is started: memory, batch, speed, days and cost.

    Operations and bytes are counted from the model's shape. How much of the GPU's rate is reached cannot be counted: it
    is an assumption until you measure it. Run a few hundred steps and give the utilisation that log.jsonl states as
    --efficiency. Reading and decoding the images is not planned.

    For example:
    $ opensapiens plan --size 2b --gpus 1024 --gpu a100
    $ opensapiens plan --job pose --size 0.3b --gpus 1 --gpu rtx4090 --images 1e6 --efficiency 0.35

    Args:
        job: pretrain, or a task that is fine-tuned for with its published head: pose, segmentation, depth, normals.
        size: of the model.
        gpus: how many.
        gpu: which: a100, a100-40gb, h100, h200, b200, l40s, rtx4090.
        precision: of matrix products.
        parallel: fsdp shares the model out, ddp copies it.
        recompute: activation checkpointing: a third more time, far less memory.
        batch: images a GPU takes at once; by default as many as fit.
        efficiency: share of the GPU's rate for the precision that is reached.
        tokens: length of the run in patches, masked ones counted; the paper's is 1.2e12. For pretraining.
        images: length of the run in images, epochs counted; instead of tokens.
        mask_ratio: of pretraining.
        image_size: height and width; by default 1024 1024 for pretraining, else 1024 768.
        price: US dollars for a GPU and an hour; by default a rough figure by GPU.
        json: a file for the figures.
    """
    from opensapiens.storage.files import write_json
    from opensapiens.training.plan import Setup
    from opensapiens.training.plan import plan as count

    setup = Setup(job, size, gpu, gpus, precision, parallel, recompute, mask_ratio, image_size, batch, efficiency)
    made = count(setup)
    length = tokens / made.tokens_of_an_image if images is None else images
    figures = _figures(made, length, price)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:,.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    note = _against_the_paper(made, length)
    if note:
        print(f"\n{note}")
    if json is not None:
        write_json(json, figures)
    return 0


def _figures(made: Plan, images: float, price: float | None) -> dict[str, Any]:
    setup = made.setup
    bound = "sending" if made.communication_seconds > made.computing_seconds else "computing"
    return {
        "run": f"{setup.job} {setup.size}, {setup.gpus} x {setup.gpu}, {setup.precision}, {setup.parallel}",
        "parameters (trained)": f"{made.parameters / 1e9:.3f} B",
        "FLOP per image, both passes": made.flops,
        "efficiency (assumed or measured)": setup.efficiency,
        "GB per GPU: weights": made.weights_bytes / 1e9,
        "GB per GPU: optimizer": made.optimizer_bytes / 1e9,
        "GB per GPU: gradients": made.gradient_bytes / 1e9,
        "GB per image": made.image_bytes / 1e9,
        "GB per GPU in all": made.memory / 1e9,
        "images per GPU": made.batch,
        "images per step": made.batch * setup.gpus,
        "seconds per step": made.seconds,
        "bound by": bound,
        "images per second": made.images_per_second,
        "tokens per second": made.tokens_per_second,
        "images": images,
        "days": made.days(images),
        "GPU hours": made.days(images) * 24 * setup.gpus,
        "US dollars": made.cost(images, price),
    }


def _against_the_paper(made: Plan, images: float) -> str:
    """For the run that the paper states the length of: what its days amount to."""
    from opensapiens.training.plan import PAPER

    setup = made.setup
    same = (setup.job, setup.size, setup.gpus, setup.gpu) == ("pretrain", PAPER["size"], PAPER["gpus"], PAPER["gpu"])
    if not same or images * made.tokens_of_an_image != PAPER["tokens"]:
        return ""
    share = made.efficiency_for(images, PAPER["days"])
    return (
        f"The paper states {PAPER['days']:.0f} days for this run: {share:.1%} of the GPUs' {setup.precision} rate on "
        f"these counted operations. docs/plan.md says what may lie between; no figure here is bent to fit."
    )
