"""Every case in the folder of parity cases is of a kind that a test knows: a new kind must not be overlooked."""

from pathlib import Path

import pytest

from .cases import all_cases
from .sapiens2_models import TASK_OF_KIND

# kind -> the modules beside this one that test it
TESTED = {
    "backbone_square": ["test_models"],
    "backbone_square_to_4x3": ["test_models"],
    "backbone_dynamic_size": ["test_models"],
    "mae": ["test_models"],
    "pose_model": ["test_models"],
    "pose_codec": ["test_codec"],
    "pose_topdown_photo": ["test_codec", "test_models", "test_inference"],
    "pose_losses": ["test_losses"],
    "seg_model": ["test_models", "test_inference"],
    "seg_losses": ["test_losses"],
    "depth_model": ["test_models", "test_inference"],
    "depth_losses": ["test_losses"],
    "normal_model": ["test_models", "test_inference"],
    "normal_losses": ["test_losses"],
    "iou_metric": ["test_losses"],
    "optimizer_groups": ["test_training"],
    "train_step": ["test_training"],
    "transforms": ["test_transforms"],
    "random_transform_parameters": ["test_transforms"],
    "coco_metric": ["test_average_precision"],
    "coco_wholebody_metric": ["test_average_precision"],
    "goliath_metric": ["test_codec", "test_average_precision"],
    "backbone": ["test_sapiens2_backbones"],
    "v1 backbone": ["test_sapiens2_backbones"],
    **{kind: ["test_sapiens2_models"] for kind in TASK_OF_KIND},
    "losses": ["test_sapiens2_losses"],
    "evaluator metrics": ["test_sapiens2_losses"],
    "image preprocessing": ["test_sapiens2_images"],
    "end-to-end via official vis_seg/vis_normal/vis_pointmap main()": ["test_sapiens2_images"],
    "vis_pose.process_one_image": ["test_sapiens2_images"],
    "pose codec UDPHeatmap": ["test_sapiens2_images"],
    "HF Sapiens2ImageProcessor preprocess + post_process_*": ["test_sapiens2_images"],
    "agreement of two programs": ["test_sapiens2_images"],
    "optimizer groups by task": ["test_sapiens2_training"],
    "training steps": ["test_sapiens2_training"],
}


def test_every_kind_is_known() -> None:
    unknown = {case.kind: case.name for case in all_cases() if case.kind not in TESTED}
    assert not unknown, f"no parity test knows these kinds: {unknown}"


@pytest.mark.parametrize("kind", TESTED)
def test_the_module_of_a_kind_runs_it(kind: str) -> None:
    for module in TESTED[kind]:
        source = (Path(__file__).parent / f"{module}.py").read_text()
        # A test of many kinds names the table that lists them.
        assert f'"{kind}"' in source or (kind in TASK_OF_KIND and "cases(*TASK_OF_KIND)" in source), (
            f"{module} does not run the cases of kind {kind}"
        )
