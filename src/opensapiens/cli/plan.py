"""`opensapiens plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opensapiens.cli.arguments import Flat
from opensapiens.training.plan_setup import Setup

if TYPE_CHECKING:
    from opensapiens.training.plan import Plan


def plan(
    setup: Flat[Setup] = Setup(),
    tokens: float = 1.2e12,
    images: float | None = None,
    price: float | None = None,
    json: Path | None = None,
) -> int:
    """Estimate what a training run takes before it starts: memory, batch, speed, days and cost.

    Operations and bytes are counted from the model's shape. The share of the GPU's rate that a run reaches cannot be
    counted: it is an assumption until you measure it. Run a few hundred steps and pass the utilization that log.jsonl
    reports as --efficiency. Reading and decoding the images is not included.

    For example:
    $ opensapiens plan --size 2b --gpus 1024 --gpu a100
    $ opensapiens plan --job pose --size 0.3b --gpus 1 --gpu rtx4090 --images 1e6 --efficiency 0.35

    Args:
        tokens: length of the run in patches, including masked ones; the paper's is 1.2e12. For pretraining.
        images: length of the run in images, over all epochs; instead of tokens.
        price: US dollars per GPU and hour; by default a rough figure for the GPU.
        json: a file for the figures.
    """
    from opensapiens.storage.files import write_json
    from opensapiens.training.plan import plan as count

    estimate = count(setup)
    length = tokens / estimate.tokens_of_an_image if images is None else images
    figures = _figures(estimate, length, price)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:,.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    note = _against_the_paper(estimate, length)
    if note:
        print(f"\n{note}")
    if json is not None:
        write_json(json, figures)
    return 0


def _figures(plan: Plan, images: float, price: float | None) -> dict[str, Any]:
    setup = plan.setup
    bound = "sending" if plan.communication_seconds > plan.computing_seconds else "computing"
    return {
        "run": f"{setup.job} {setup.size}, {setup.gpus} x {setup.gpu}, {setup.precision}, {setup.parallel}",
        "parameters (trained)": f"{plan.parameters / 1e9:.3f} B",
        "FLOP per image, both passes": plan.flops,
        "efficiency (assumed or measured)": setup.efficiency,
        "GB per GPU: weights": plan.weights_bytes / 1e9,
        "GB per GPU: optimizer": plan.optimizer_bytes / 1e9,
        "GB per GPU: gradients": plan.gradient_bytes / 1e9,
        "GB per image": plan.image_bytes / 1e9,
        "GB per GPU in all": plan.memory / 1e9,
        "images per GPU": plan.batch,
        "images per step": plan.batch * setup.gpus,
        "seconds per step": plan.seconds,
        "bound by": bound,
        "images per second": plan.images_per_second,
        "tokens per second": plan.tokens_per_second,
        "images": images,
        "days": plan.days(images),
        "GPU hours": plan.days(images) * 24 * setup.gpus,
        "US dollars": plan.cost(images, price),
    }


def _against_the_paper(plan: Plan, images: float) -> str:
    """The efficiency that the paper's days amount to, for the run whose length it states."""
    from opensapiens.training.plan import PAPER

    setup = plan.setup
    same = (setup.job, setup.size, setup.gpus, setup.gpu) == ("pretrain", PAPER["size"], PAPER["gpus"], PAPER["gpu"])
    if not same or images * plan.tokens_of_an_image != PAPER["tokens"]:
        return ""
    share = plan.efficiency_for(images, PAPER["days"])
    return (
        f"The paper states {PAPER['days']:.0f} days for this run: {share:.1%} of the GPUs' {setup.precision} rate on "
        f"these counted operations. docs/plan.md says what may lie between; no figure here is bent to fit."
    )
