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


def _figures(estimate: Plan, images: float, price: float | None) -> dict[str, Any]:
    setup = estimate.setup
    bound = "sending" if estimate.communication_seconds > estimate.computing_seconds else "computing"
    return {
        "run": f"{setup.job} {setup.size}, {setup.gpus} x {setup.gpu}, {setup.precision}, {setup.parallel}",
        "parameters (trained)": f"{estimate.parameters / 1e9:.3f} B",
        "FLOP per image, both passes": estimate.flops,
        "efficiency (assumed or measured)": setup.efficiency,
        "GB per GPU: weights": estimate.weights_bytes / 1e9,
        "GB per GPU: optimizer": estimate.optimizer_bytes / 1e9,
        "GB per GPU: gradients": estimate.gradient_bytes / 1e9,
        "GB per image": estimate.image_bytes / 1e9,
        "GB per GPU in all": estimate.memory / 1e9,
        "images per GPU": estimate.batch,
        "images per step": estimate.batch * setup.gpus,
        "seconds per step": estimate.seconds,
        "bound by": bound,
        "images per second": estimate.images_per_second,
        "tokens per second": estimate.tokens_per_second,
        "images": images,
        "days": estimate.days(images),
        "GPU hours": estimate.days(images) * 24 * setup.gpus,
        "US dollars": estimate.cost(images, price),
    }


def _against_the_paper(estimate: Plan, images: float) -> str:
    """The efficiency that the paper's days amount to, for the run whose length it states."""
    from opensapiens.training.plan import PAPER

    setup = estimate.setup
    same = (setup.job, setup.size, setup.gpus, setup.gpu) == ("pretrain", PAPER["size"], PAPER["gpus"], PAPER["gpu"])
    if not same or images * estimate.tokens_of_an_image != PAPER["tokens"]:
        return ""
    share = estimate.efficiency_for(images, PAPER["days"])
    return (
        f"The paper states {PAPER['days']:.0f} days for this run: {share:.1%} of the GPUs' {setup.precision} rate on "
        f"these counted operations. docs/plan.md says what may lie between; no figure here is bent to fit."
    )
