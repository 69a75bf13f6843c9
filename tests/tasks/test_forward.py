"""The flip test."""

import pytest
import torch
from torch import Tensor, nn

from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.forward import FlipRule, NotFinite, maps
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask


class Toy(nn.Module):
    """Two heads that give back fixed functions of the image's columns, and remember what they were called with."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.calls: list[Tensor] = []

    def forward(self, images: Tensor, heads: list[str] | None = None, inputs: object = None) -> dict[str, Tensor]:
        self.calls.append(images)
        outputs = {"a": images * self.weight, "b": images * torch.arange(1.0, 4.0)[:, None, None]}
        return {head: outputs[head] for head in heads or outputs}


def test_without_flip_the_model_runs_once_and_without_gradients() -> None:
    model, images = Toy(), torch.rand(2, 3, 4, 5)
    result = maps(model, images)
    assert len(model.calls) == 1
    assert not result["a"].requires_grad
    torch.testing.assert_close(result["a"], images)
    assert set(maps(model, images, heads=["b"])) == {"b"}


def test_flip_averages_with_the_mirrored_maps() -> None:
    model, images = Toy(), torch.rand(2, 3, 4, 5)
    rules = {"a": FlipRule(), "b": FlipRule(permutation=[1, 0, 2], negated=(2,))}
    result = maps(model, images, flip=True, flip_rules=rules)
    assert torch.equal(model.calls[1], images.flip(-1))
    torch.testing.assert_close(result["a"], images)  # a map that follows its image is the same from both sides
    first, second, third = images.unbind(1)
    # Head b multiplies its channels by 1, 2, 3; the mirrored pass swaps the first two and negates the third.
    torch.testing.assert_close(result["b"][:, 0], (first + 2 * second) / 2)
    torch.testing.assert_close(result["b"][:, 1], (2 * second + first) / 2)
    torch.testing.assert_close(result["b"][:, 2], torch.zeros_like(third))


def test_undoing_twice_changes_nothing_and_leaves_its_input_alone() -> None:
    values = torch.rand(1, 3, 2, 4)
    before = values.clone()
    for rule in (FlipRule(), FlipRule([2, 1, 0]), FlipRule(negated=(0,))):
        torch.testing.assert_close(rule.undo(rule.undo(values)), values)
        assert torch.equal(values, before)


def test_the_tasks_rules() -> None:
    tasks = (PoseTask(COCO_17), SegmentationTask(SAPIENS_28), DepthTask(), NormalsTask())
    rules = {task.name: task.flip_rule for task in tasks}
    left, right = COCO_17.index("left_wrist"), COCO_17.index("right_wrist")
    mirrored = torch.zeros(1, 17, 2, 3)
    mirrored[0, left, 0, 0] = 1
    undone = rules["pose"].undo(mirrored)
    assert undone[0, right, 0, 2] == 1 and undone.sum() == 1
    left, right = SAPIENS_28.index("Left_Hand"), SAPIENS_28.index("Right_Hand")
    mirrored = torch.zeros(1, 28, 2, 3)
    mirrored[0, left, 0, 0] = 1
    assert rules["segmentation"].undo(mirrored)[0, right, 0, 2] == 1
    vectors = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None]
    assert rules["normals"].undo(vectors).flatten().tolist() == [-1, 2, 3]
    assert rules["depth"].undo(torch.tensor([[[[1.0, 2.0]]]])).tolist() == [[[[2, 1]]]]


def test_a_missing_or_wrong_rule_is_an_error() -> None:
    images = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="flip rule for b"):
        maps(Toy(), images, flip=True, flip_rules={"a": FlipRule()})
    with pytest.raises(ValueError, match="17 channels"):
        maps(Toy(), images, flip=True, flip_rules={"a": FlipRule(COCO_17.flip_indices.tolist())}, heads=["a"])


def test_an_answer_that_is_not_finite_is_an_error_of_its_head() -> None:
    images = torch.rand(2, 3, 4, 5)
    images[1, 0, 2, 3] = torch.inf
    with pytest.raises(NotFinite, match="for a, b is not finite, computed in float32"):
        maps(Toy(), images)
