"""The output of a run: a progress bar, `log.jsonl` with one JSON object per line, trackers."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from opensapiens.storage.files import write_text
from opensapiens.storage.progress import progress

Tracker = Callable[[int, Mapping[str, float]], None]  # takes the step and its figures


class RunLog:
    """The progress bar and the log file of a run that starts, or resumes, at `first_step`.

    Lines of later steps, which an interrupted run wrote after its last checkpoint, are removed.

    Args:
        peak: operations per second of all devices together; "mfu" is the share that is used.
        trackers: also log to "tensorboard" (in the folder's `tensorboard`) or "wandb".
        silent: for all ranks but the first.
    """

    def __init__(
        self,
        folder: Path,
        first_step: int,
        steps: int,
        peak: float = float("nan"),
        trackers: Iterable[Literal["tensorboard", "wandb"]] = (),
        silent: bool = False,
    ) -> None:
        self.path, self.peak, self.silent = folder / "log.jsonl", peak, silent
        self.trackers: list[Tracker] = []
        self.bar = progress(
            None, "training", steps, "steps", first_step, not silent, dynamic_ncols=True, smoothing=0.05
        )
        if not silent:
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            write_text(self.path, "".join(line + "\n" for line in lines if _step(line) <= first_step))
            self.trackers = [make_tracker(name, folder, first_step) for name in trackers]
        self._start_window()

    def _start_window(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = self._images = 0
        self._waited = self._flops = 0.0
        self._since = time.perf_counter()

    def add(self, losses: Mapping[str, float], images: int, tokens: int, flops: float, waited: float) -> None:
        """Adds one step: its losses and images, tokens and operations of an image, and the seconds waited for data."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps, self._images, self._waited = self._steps + 1, self._images + images, self._waited + waited
        self._flops, self._tokens = self._flops + images * flops, tokens
        self.bar.update()

    def write(self, step: int, **values: Any) -> None:
        """Writes a line after `step` steps: the mean losses since the last line, the speed, and `values`."""
        seconds = time.perf_counter() - self._since
        losses = {name: total / self._steps for name, total in self._sums.items()}
        images = self._images / seconds
        speed = {
            "images_per_second": images,
            "tokens_per_second": images * self._tokens,
            "mfu": self._flops / seconds / self.peak,
            "waiting_for_data": self._waited / seconds,
        }
        self._append({"step": step, **losses, **speed, **values})
        heads: dict[str, float] = {}
        for name, value in losses.items():
            head = name.partition("/")[0]
            heads[head] = heads.get(head, 0.0) + value
        shown = {head: f"{value:.3g}" for head, value in heads.items()}
        self.bar.set_postfix({**shown, "images/s": f"{images:.1f}"}, refresh=False)
        self._start_window()

    def write_validation(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes a line with the validation figures after `step` steps, and shows them."""
        self._append({"step": step, "validation": dict(figures)})
        if not self.silent:
            self.bar.write(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        self._start_window()

    def _append(self, record: Mapping[str, Any]) -> None:
        if self.silent:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        figures = {name: value for name, value in record.items() if isinstance(value, int | float) and name != "step"}
        figures |= {f"validation/{name}": value for name, value in record.get("validation", {}).items()}
        for tracker in self.trackers:
            tracker(record["step"], figures)

    def close(self) -> None:
        """Closes the progress bar."""
        self.bar.close()


def make_tracker(name: Literal["tensorboard", "wandb"], folder: Path, first_step: int) -> Tracker:
    """A tracker by name. Raises ModuleNotFoundError that says what to install."""
    try:
        if name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

            def to_tensorboard(step: int, figures: Mapping[str, float]) -> None:
                for figure, value in figures.items():
                    writer.add_scalar(figure, value, step)
                writer.flush()

            return to_tensorboard
        import wandb

        run_id = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]  # the same for a resumed run
        run = wandb.init(project="opensapiens", name=folder.name, dir=str(folder), id=run_id, resume="allow")
        return lambda step, figures: run.log(dict(figures), step=step)
    except ModuleNotFoundError as error:
        package = "'opensapiens[train]'" if name == "tensorboard" else "wandb"
        raise ModuleNotFoundError(f"the tracker {name} is not installed: pip install {package}") from error


def _step(line: str) -> float:
    """The step of a line; infinite for the incomplete last line of a killed run."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
