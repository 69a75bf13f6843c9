"""What a run tells while it goes: a progress bar and `log.jsonl`, one JSON object a line."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm


class RunLog:
    """The progress bar and the log file of a run that starts, or goes on, at `first_step`.

    Lines of later steps, which an interrupted run wrote after its last checkpoint, are removed: they will come again.
    """

    def __init__(self, folder: Path, first_step: int, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.write_text("".join(line + "\n" for line in lines if _step(line) <= first_step))
        self.bar = tqdm(initial=first_step, total=steps, unit="step", dynamic_ncols=True, smoothing=0.05)
        self._start_window()

    def _start_window(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = self._images = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def add(self, losses: Mapping[str, float], images: int, waited: float) -> None:
        """Takes in one step: its losses, how many images it had, and how many seconds it waited for them."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps, self._images, self._waited = self._steps + 1, self._images + images, self._waited + waited
        self.bar.update()

    def write(self, step: int, **values: Any) -> None:
        """Writes a line after `step` steps: the mean losses since the last one, the speed, and `values`."""
        seconds = time.perf_counter() - self._since
        losses = {name: total / self._steps for name, total in self._sums.items()}
        speed = {"images_per_second": self._images / seconds, "waiting_for_data": self._waited / seconds}
        self._append({"step": step, **losses, **speed, **values})
        heads: dict[str, float] = {}
        for name, value in losses.items():
            head = name.partition("/")[0]
            heads[head] = heads.get(head, 0.0) + value
        shown = {head: f"{value:.3g}" for head, value in heads.items()}
        self.bar.set_postfix({**shown, "images/s": f"{speed['images_per_second']:.1f}"}, refresh=False)
        self._start_window()

    def write_validation(self, step: int, figures: Mapping[str, float]) -> None:
        """Writes a line with the validation figures after `step` steps, and shows them."""
        self._append({"step": step, "validation": dict(figures)})
        self.bar.write(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        self._start_window()

    def _append(self, record: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Leaves the bar as it is."""
        self.bar.close()


def _step(line: str) -> float:
    """The step of a line; infinite for the torn last line of a killed run, which is then dropped."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
