"""Body parts of a model with 29 classes on labels with 28, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.sample import Sample
from opensapiens.labels.parts import SAPIENS_28, SAPIENS_29, PartSet, part_lookup

GLASSES, WORN = "Eyeglass", "Apparel"
OF_LABELS = f"pixels labeled {GLASSES} are left out"
OF_PREDICTIONS = f"pixels predicted as {GLASSES} count as {WORN}, where the smaller set may have them: a choice of ours"


@dataclass(frozen=True, eq=False)
class SharedParts:
    """The classes that labels and predictions are both brought to before they are compared.

    of_labels, of_predictions: (256,) uint8, the class for each number. note: what was done, for the report.
    """

    part_set: PartSet
    of_labels: np.ndarray
    of_predictions: np.ndarray
    note: str

    def sample(self, sample: Sample) -> Sample:
        """The sample with its parts in the shared classes."""
        parts = self.of_labels[sample.labels[PARTS]]
        return replace(sample, labels={**sample.labels, PARTS: parts}, part_set=self.part_set)


def shared_parts(labels: PartSet, model: PartSet) -> SharedParts | None:
    """How to compare labels of one set with predictions of another; None where they are of the same set, and of sets
    that are not the two of Sapiens."""
    if {labels.name, model.name} != {SAPIENS_28.name, SAPIENS_29.name}:
        return None
    larger = labels if len(labels) > len(model) else model
    return SharedParts(
        SAPIENS_28,
        part_lookup(labels, SAPIENS_28),
        part_lookup(model, SAPIENS_28, {GLASSES: WORN} if larger is model else None),
        f"labels of {labels.name}, predictions of {model.name}, compared in the classes of {SAPIENS_28.name}; "
        + (OF_PREDICTIONS if larger is model else OF_LABELS),
    )
