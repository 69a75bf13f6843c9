"""A mixture keeps its shares, repeats for a seed, and ignores what a source does not label."""

from collections import Counter

import numpy as np
import pytest
import torch

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.mixture import Mixture, Source, sample_at
from opensapiens.data.order import sample_index, shuffled
from opensapiens.data.sample import Sample
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, KeypointSet
from opensapiens.labels.own_labels import part_set_of_categories
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.pose import PoseTask

SIZE = (32, 32)


def samples(name: str, count: int, points: KeypointSet = SAPIENS_308) -> list[Sample]:
    keypoints = np.full((len(points), 3), 16, np.float32)
    keypoints[:, 2] = 2
    image = np.zeros((*SIZE, 3), np.uint8)
    box = np.array([0, 0, 31, 31], np.float32)
    return [Sample(image, f"{name}{i}", box, keypoints, keypoint_set=points) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 64, 65, 1000])
def test_an_order_is_a_permutation(count: int) -> None:
    orders = [[shuffled(place, count, (0, 0, epoch)) for place in range(count)] for epoch in range(2)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert count < 10 or orders[0] != orders[1]


def test_an_order_is_well_mixed() -> None:
    order = np.array([shuffled(place, 5000, (7, 0, 0)) for place in range(5000)])
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05
    assert np.abs(order[:1000].mean() - 2500) < 150


def test_shares_are_exact_and_sources_are_gone_through_evenly() -> None:
    mixture = Mixture([Source(samples("a", 7), 3), Source(samples("b", 400), 1)])
    places = [mixture.place(position, seed=5) for position in range(2000)]
    assert Counter(number for number, _ in places) == {0: 1500, 1: 500}
    assert Counter(number for number, _ in places[:1000]) == {0: 750, 1: 250}
    small = [index for number, index in places if number == 0]
    assert all(sorted(small[i : i + 7]) == list(range(7)) for i in range(0, 1498, 7)), "each epoch has every sample"
    large = [index for number, index in places if number == 1]
    assert len(set(large[:400])) == 400


def test_a_position_depends_on_the_seed_alone() -> None:
    mixture = Mixture([Source(samples("a", 50)), Source(samples("b", 50))])
    line = [sample_at(mixture, position, 3).key for position in range(1500)]
    again = Mixture([Source(samples("a", 50)), Source(samples("b", 50))])
    assert sample_at(again, 1234, 3).key == line[1234]
    assert [sample_at(mixture, position, 4).key for position in range(50)] != line[:50]
    plain = samples("a", 50)
    assert sample_at(plain, 12, 3) is plain[sample_index(12, 50, 3)]


def test_it_is_a_sequence_for_validation() -> None:
    mixture = Mixture([Source(samples("a", 2)), Source(samples("b", 3))])
    assert [mixture[i].key for i in range(len(mixture))] == ["a0", "a1", "b0", "b1", "b2"]
    with pytest.raises(IndexError):
        mixture[5]


def test_points_that_a_source_lacks_are_not_taught() -> None:
    mixture = Mixture([Source(samples("coco", 1, COCO_17))], keypoint_set=SAPIENS_308)
    sample = mixture[0]
    assert sample.keypoint_set is SAPIENS_308 and sample.keypoints is not None
    known = sample.keypoints[:, 2] > 0
    assert known.sum() == 17 and known[SAPIENS_308.index("left_wrist")]
    task = PoseTask(SAPIENS_308)
    targets = task.prepare_targets([sample])
    assert (targets["weights"][0].numpy() > 0).tolist() == known.tolist()
    maps = torch.ones(1, 308, 8, 8, requires_grad=True)
    sum(task.losses(maps, targets).values()).backward()  # type: ignore[union-attr]
    assert maps.grad is not None
    assert (maps.grad[0].abs().amax(dim=(1, 2)) > 0).tolist() == known.tolist(), "no gradient for what is not labeled"


def test_parts_are_renamed_and_the_rest_is_ignored() -> None:
    own = part_set_of_categories(
        "own", [{"id": 1, "name": "hair"}, {"id": 2, "name": "hat"}, {"id": 3, "name": "coat"}]
    )
    sample = samples("a", 1)[0]
    sample.part_set, sample.labels[PARTS] = own, np.arange(4, dtype=np.uint8).repeat(8)[:, None].repeat(32, axis=1)
    mixture = Mixture([Source([sample], renamed_parts={"coat": "Upper_Clothing"})], part_set=SAPIENS_28)
    parts = mixture[0].parts
    assert parts is not None and mixture[0].part_set is SAPIENS_28
    assert parts[::8, 0].tolist() == [0, SAPIENS_28.index("Hair"), 255, SAPIENS_28.index("Upper_Clothing")]


def test_mixtures_that_cannot_be() -> None:
    for wrong in (
        [],
        [Source(samples("a", 1), 0)],
        [Source([])],
        [Source(samples("a", 1), 1), Source(samples("b", 1), 1e-9)],
    ):
        with pytest.raises(ValueError):
            Mixture(wrong)
