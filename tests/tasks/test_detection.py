import numpy as np
import pytest
import torch

from opensapiens.data.sample import Sample
from opensapiens.geometry.boxes import box_iou
from opensapiens.geometry.view import crop_view
from opensapiens.tasks.detection import (
    DetectionMetric,
    DetectionTask,
    assign,
    average_precision,
    boxes_of_places,
    generalized_iou,
)

SIZE, STRIDE = (96, 128), 8
PEOPLE = [[10, 8, 50, 90, 1], [60, 20, 90, 80, 1], [100, 30, 124, 90, 0]]
TASK = DetectionTask()


def sample(people: list[list[float]] | None) -> Sample:
    known = None if people is None else np.array(people, np.float32).reshape(-1, 5)
    return Sample(image=np.zeros((*SIZE, 3), np.uint8), people=known)


def learned(people: list[list[float]] | None, steps: int = 150) -> torch.Tensor:
    """Maps (5, h, w) that minimize the loss."""
    torch.manual_seed(0)
    maps = torch.zeros(1, 5, SIZE[0] // STRIDE, SIZE[1] // STRIDE, requires_grad=True)
    targets, optimizer = TASK.prepare_targets([sample(people)]), torch.optim.Adam([maps], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack(list(TASK.losses(maps, targets).values())).sum().backward()
        optimizer.step()
    return maps.detach()[0]


def test_what_the_loss_wants_decodes_to_the_people() -> None:
    found = TASK.decode(learned(PEOPLE), crop_view(SIZE))
    sure = found[found[:, 4] > 0.5]
    assert len(sure) == 2
    overlaps = box_iou(np.array(PEOPLE)[:2, :4], sure[:, :4])
    assert (overlaps.max(axis=1) > 0.9).all() and (overlaps.max(axis=0) > 0.9).all()


def test_nobody_is_learned_too_but_not_where_somebody_may_be_missed() -> None:
    logits = learned([PEOPLE[2]], steps=60)[0]
    inside = torch.zeros_like(logits, dtype=torch.bool)
    inside[5:10, 13:15] = True  # well within the box
    assert (logits[inside] == 0).all() and (logits[:, :12] < -1).all()
    assert (learned(None, steps=5) == 0).all(), "a sample without labels teaches nothing"


def test_pieces_of_a_batch_add_up_to_the_whole() -> None:
    torch.manual_seed(1)
    maps = torch.randn(3, 5, SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    samples = [sample(PEOPLE), sample([]), sample(PEOPLE[:1])]
    targets = TASK.prepare_targets(samples)
    whole = TASK.losses(maps, targets)
    count = TASK.count(targets)
    assert count == 3
    pieces = [TASK.losses(maps[i : i + 1], TASK.prepare_targets(samples[i : i + 1]), count) for i in range(3)]
    for name, value in whole.items():
        assert sum(piece[name] for piece in pieces) == pytest.approx(float(value), rel=1e-5)


def test_each_person_has_places_and_a_place_one_person() -> None:
    people = torch.tensor([[[10.0, 8, 50, 90, 1], [30, 20, 70, 80, 1], [-1, -1, -1, -1, -1]]])
    grid = (SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    maps = torch.zeros(1, 5, *grid)
    wanted, owner, counted = assign(maps[:, 0].flatten(1), boxes_of_places(maps, STRIDE), people, grid, STRIDE)
    places = [int(((wanted > 0) & (owner == person)).sum()) for person in range(3)]
    assert min(places[:2]) >= 1 and max(places) <= 9 and places[2] == 0
    assert counted.all() and 0 < float(wanted.max()) <= 1


def test_somebody_smaller_than_a_place_has_one() -> None:
    people = torch.tensor([[[33.0, 33, 36, 38, 1]]])
    grid = (SIZE[0] // STRIDE, SIZE[1] // STRIDE)
    maps = torch.zeros(1, 5, *grid)
    wanted, _, _ = assign(maps[:, 0].flatten(1), boxes_of_places(maps, STRIDE), people, grid, STRIDE)
    assert (wanted > 0).any()


def test_generalized_iou_of_equal_and_of_distant_boxes() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]])
    assert generalized_iou(a, a).item() == pytest.approx(1)
    # 200 of the 1,000 around both are covered
    assert generalized_iou(a, torch.tensor([[90.0, 0, 100, 10]])).item() == pytest.approx(-0.8)


def test_mirrored_maps_give_mirrored_boxes() -> None:
    maps = learned(PEOPLE[:2])
    turned = TASK.flip_rule.undo(maps[None])[0]
    boxes, mirrored = (TASK.decode(each, crop_view(SIZE))[:2, :4] for each in (maps, turned))
    mirrored = np.stack([SIZE[1] - mirrored[:, 2], mirrored[:, 1], SIZE[1] - mirrored[:, 0], mirrored[:, 3]], axis=1)
    assert box_iou(boxes, mirrored).max(axis=1).min() > 0.99


def test_the_metric_on_a_picture_counted_by_hand() -> None:
    metric = DetectionMetric(threshold=0.5)
    found = np.array([
        [10, 8, 50, 90, 0.9],  # right
        [11, 8, 50, 90, 0.8],  # a double
        [101, 31, 123, 90, 0.7],  # somebody who may be missed
        [60, 20, 90, 80, 0.3],  # right, below the threshold
    ])  # fmt: skip
    assert metric.update(found, sample(PEOPLE)) == {"found": 1, "people": 2, "wrong": 1}
    metric.update(np.array([[0, 0, 20, 20, 0.6]]), sample([]))
    figures = metric.report()
    assert figures["recall"] == 0.5 and figures["precision"] == pytest.approx(1 / 3)
    assert figures["wrong_boxes_per_picture_without_people"] == 1 and figures["pictures_without_people"] == 1
    assert figures["recall_70_and_more"] == 1 and figures["recall_35_to_70"] == 0
    # Right, wrong, wrong, right: precision 1 up to half of the people, then 1/2.
    assert figures["AP50"] == pytest.approx((51 + 50 * 0.5) / 101)
    assert figures["whole_picture_AP50"] == 0


def test_the_metric_is_coco_s() -> None:
    coco = pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(0)
    metric = DetectionMetric(0.5)
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    results = []
    for image in range(1, 41):
        corners = rng.uniform(0, 60, (rng.integers(0, 4), 2))
        people = np.concatenate([corners, corners + rng.uniform(8, 36, corners.shape)], axis=1)
        around = np.repeat(people, 2, axis=0) + rng.normal(0, 3, (2 * len(people), 4))
        scores = np.sort(rng.choice(999, len(around), replace=False) / 1000)[::-1] + 0.0005
        metric.update(np.column_stack([around, scores]), sample([[*box, 1] for box in people]))
        truth["images"].append({"id": image})
        for box in people:
            size = box[2:] - box[:2]
            truth["annotations"].append({"id": len(truth["annotations"]) + 1, "image_id": image, "category_id": 1,
                                         "bbox": [*box[:2], *size], "area": size.prod(), "iscrowd": 0})  # fmt: skip
        results += [{"image_id": image, "category_id": 1, "bbox": [*box[:2], *(box[2:] - box[:2])], "score": score}
                    for box, score in zip(around, scores, strict=True)]  # fmt: skip
    loaded = coco.COCO(truth)
    evaluation = coco.COCOeval_faster(loaded, loaded.loadRes(results), iouType="bbox", print_function=lambda *_: None)
    evaluation.run()
    figures = metric.compute()
    assert figures["AP"] == pytest.approx(evaluation.stats[0], abs=0.01)
    assert figures["AP50"] == pytest.approx(evaluation.stats[1], abs=0.01)
    assert 0.1 < figures["AP"] < figures["AP50"] < 0.95, "a case that could go wrong"


def test_totals_add_up() -> None:
    found = np.array([[10, 8, 50, 90, 0.9], [60, 20, 90, 80, 0.6]])
    one, two, both = DetectionMetric(0.5), DetectionMetric(0.5), DetectionMetric(0.5)
    one.update(found, sample(PEOPLE))
    two.update(found[:1], sample(PEOPLE[:2]))
    both.update(found, sample(PEOPLE))
    both.update(found[:1], sample(PEOPLE[:2]))
    one.totals = one.totals + two.totals
    assert one.report() == pytest.approx(both.report(), nan_ok=True)


def test_average_precision_of_nothing() -> None:
    assert average_precision(np.zeros((10, 2)), 3) == 0
    assert np.isnan(average_precision(np.zeros((10, 2)), 0))


def test_a_detection_head_has_five_channels() -> None:
    with pytest.raises(ValueError, match="5 output channels"):
        DetectionTask.of_head(None, 4)
