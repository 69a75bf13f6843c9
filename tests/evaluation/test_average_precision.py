import numpy as np
import pytest

from opensapiens.evaluation.average_precision import average_precision
from opensapiens.tasks.pose import person_score

pytest.importorskip("faster_coco_eval")


def test_the_score_counts_confident_points_only() -> None:
    assert person_score(0.5, np.array([0.9, 0.7, 0.1])) == pytest.approx(0.4)
    assert person_score(0.5, np.array([0.1, 0.2])) == 0


def test_no_detections_score_nothing() -> None:
    assert average_precision({"images": [], "annotations": [], "categories": []}, [], np.ones(17))["AP"] == 0
