"""Networks against the numbers of the published code, with its own weights read through the name maps."""

from typing import Any

import numpy as np
import pytest
import torch

from opensapiens.backbones.position_embedding import sincos_2d
from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig
from opensapiens.checkpoints.sapiens_files import from_published, to_published
from opensapiens.checkpoints.strict_loading import load_strictly
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder, draw_masking, unpatchify
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.tasks import TASKS
from opensapiens.tasks.masked_pretraining import reconstruction_error

from .cases import Case, cases, name_of

TASK_OF_KIND = {
    "pose_model": "pose",
    "pose_topdown_photo": "pose",
    "seg_model": "segmentation",
    "depth_model": "depth",
    "normal_model": "normals",
}


def vit_config(case: Case, **changes: Any) -> SapiensConfig:
    """The backbone of a case; `changes` go over what its JSON says."""
    config = case.config
    said: dict[str, Any] = {"image_size": tuple(config["img"]), "patch_padding": case.description["patch_padding"]}
    return SapiensConfig(
        embed_dim=config["embed"], layers=config["layers"], heads=config["heads"], **{**said, **changes}
    )


def backbone_of(case: Case, config: SapiensConfig, trained: SapiensConfig | None = None) -> SapiensBackbone:
    """A backbone with the case's weights, fitted to it; trained: what they are of, where it is another shape."""
    backbone = SapiensBackbone(config).eval()
    # Bare as in the pretrained files, or as part of a model.
    bare = {name.removeprefix("backbone."): tensor for name, tensor in case.under("weights.").items()}
    load_strictly(backbone, backbone.fitted(from_published(bare, "backbone"), trained or config), case.name)
    return backbone


def task_model(case: Case) -> HumanModel:
    """The model of a task's case: its head's depth is the published one of the task, its widths are the case's."""
    task = TASK_OF_KIND[case.kind]
    tensors = from_published(case.under("weights."), task)
    published, width = TASKS[task].published, case.config["head_ch"]
    head = UpsamplingHead(
        case.config["embed"],
        tensors[f"heads.{task}.output.weight"].shape[0],
        [width] * len(published.deconv_channels),
        [width] * len(published.conv_channels),
        published.dropout,
    )
    model = HumanModel(SapiensBackbone(vit_config(case)), {task: head}).eval()
    load_strictly(model, tensors, case.name)
    return model


def flip_average(model: HumanModel, images: torch.Tensor, flip_indices: torch.Tensor) -> torch.Tensor:
    """Heatmaps averaged with those of the mirrored images, mirrored back and left for right."""
    return (model(images)["pose"] + model(images.flip(-1))["pose"].flip(-1)[:, flip_indices]) / 2


@pytest.mark.parametrize("case", cases("backbone_square"), ids=name_of)
@torch.no_grad()
def test_square_backbone_with_class_token(case: Case) -> None:
    backbone = backbone_of(case, vit_config(case, class_token=True))
    images = case.tensor("input.image")
    tokens = backbone.tokens(images)
    entering = backbone.embed(images)[0]
    case.assert_close("output.patch_tokens", backbone.patch_tokens(images)[0])
    case.assert_close("output.after_pos", entering)
    case.assert_close("output.after_layer0", backbone.blocks[0](entering))
    case.assert_close("output.tokens", tokens)
    case.assert_close("output.cls_token", tokens[:, 0])
    case.assert_close("output.featmap", backbone(images))


@pytest.mark.parametrize("case", cases("backbone_square_to_4x3"), ids=name_of)
@torch.no_grad()
def test_square_checkpoint_in_another_shape(case: Case) -> None:
    square = (case.config["square"],) * 2
    trained = vit_config(case, image_size=square, patch_padding=0, class_token=True)
    source = backbone_of(case, trained)
    case.assert_close("output.square_tokens", source.tokens(case.tensor("input.image_square")))
    for suffix, padding in case.description["patch_padding"].items():
        target = backbone_of(case, vit_config(case, patch_padding=padding), trained)
        case.assert_close("output.pos_embed_resized", target.position_embedding)
        case.assert_close(f"output.featmap{suffix}", target(case.tensor("input.image")))


@pytest.mark.parametrize("case", cases("backbone_dynamic_size"), ids=name_of)
@torch.no_grad()
def test_input_of_another_size(case: Case) -> None:
    backbone = backbone_of(case, vit_config(case))
    images = case.tensor("input.image")
    assert list(images.shape[2:]) == case.config["run_img"]
    case.assert_close(
        "output.pos_embed_used", backbone.positions(backbone.config.grid(tuple(case.config["run_img"])))[1]
    )
    case.assert_close("output.featmap", backbone(images))


@pytest.mark.parametrize("case", cases("mae"), ids=name_of)
@torch.no_grad()
def test_masked_autoencoder(case: Case) -> None:
    config = vit_config(case, class_token=True)
    sizes = {
        name: case.config[f"decoder_{key}"]
        for name, key in (("decoder_dim", "embed_dim"), ("decoder_layers", "depth"), ("decoder_heads", "num_heads"))
    }
    model = MaskedAutoencoder(config, **sizes, mask_ratio=case.config["mask_ratio"]).eval()
    for table, ours in (("encoder", model.backbone), ("decoder", model.decoder)):
        case.assert_close(f"output.sincos_pos_embed_{table}", ours.position_embedding)
        width = ours.position_embedding.shape[2]
        case.assert_close(f"output.sincos_pos_embed_{table}", sincos_2d(width, config.grid(), prefix=1))
    load_strictly(model, from_published(case.under("weights."), "masked_autoencoder"), case.name)

    rgb = case.tensor("input.image_bgr_uint8").flip(1).float()
    images = Preprocessing(config.image_size).normalize(rgb)
    case.assert_close("output.image", images)
    output = model.reconstruct(images, case.tensor("input.noise"))
    np.testing.assert_array_equal(output.masking.mask_BN, case.array("output.mask"))
    np.testing.assert_array_equal(output.masking.restore_BN, case.array("output.ids_restore"))
    case.assert_close("output.latent", output.latent_BKD)
    case.assert_close("output.pred", output.prediction_BNP)
    case.assert_close("output.target", output.target_BNP)
    errors = reconstruction_error(output.prediction_BNP, output.target_BNP, output.masking.mask_BN)
    case.assert_close("output.loss", (errors.sum() / output.masking.mask_BN.sum()).reshape(1))
    case.assert_close("output.reconstruction", unpatchify(output.prediction_BNP, config.grid(), config.patch_size))
    kept = draw_masking(case.tensor("input.noise"), case.config["mask_ratio"]).kept_BK
    assert kept.shape[1] == case.array("output.latent").shape[1] - 1


@pytest.mark.parametrize("case", cases("pose_model"), ids=name_of)
@torch.no_grad()
def test_pose_model(case: Case) -> None:
    model = task_model(case)
    images = case.tensor("input.image")
    case.assert_close("output.featmap", model.backbone(images))
    case.assert_close("output.heatmaps", model(images)["pose"])
    case.assert_close("output.heatmaps_of_flipped", model(images.flip(-1))["pose"])
    case.assert_close("output.heatmaps_flip_avg", flip_average(model, images, case.tensor("input.flip_indices")))


@pytest.mark.parametrize("case", cases("pose_topdown_photo"), ids=name_of)
@torch.no_grad()
def test_pose_model_on_photo_crops(case: Case) -> None:
    heatmaps = flip_average(task_model(case), case.tensor("output.crop_normalised"), case.tensor("input.flip_indices"))
    case.assert_close("output.heatmaps_flip_avg", heatmaps)


@pytest.mark.parametrize("case", cases("seg_model", "depth_model", "normal_model"), ids=name_of)
@torch.no_grad()
def test_dense_model(case: Case) -> None:
    model = task_model(case)
    images = case.tensor("output.image")
    case.assert_close("output.featmap", model.backbone(images))
    case.assert_close("output.logits", model(images)[TASK_OF_KIND[case.kind]])


@pytest.mark.parametrize("case", cases("mae", "pose_model", "seg_model", "depth_model", "normal_model"), ids=name_of)
def test_names_go_there_and_back(case: Case) -> None:
    layout = TASK_OF_KIND.get(case.kind, "masked_autoencoder")
    weights = case.under("weights.")
    back = to_published(from_published(weights, layout), layout)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
