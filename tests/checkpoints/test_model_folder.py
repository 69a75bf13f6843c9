"""Our model folders: what goes in comes out, and what does not fit is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model, load_model, read_description, save_model
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.geometry.view import Preprocessing

DESCRIPTION = ModelDescription(
    name="tiny",
    backbone=SapiensConfig((64, 48), 16, 1, 2),
    heads={
        "pose": HeadDescription(17, (8, 6), (6,), "coco_17"),
        "segmentation": HeadDescription(28, (8,), (), "sapiens_28", dropout=0.1),
        "depth": HeadDescription(1, (4,), ()),
        "normals": HeadDescription(3, (4,), ()),
    },
    preprocessing=Preprocessing((64, 48)),
    license="Apache-2.0",
    source="a test",
    metrics={"pose": {"AP": 0.5}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "tiny", build_model(DESCRIPTION), DESCRIPTION)
    return tmp_path / "tiny"


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_model_comes_back_as_it_was(folder: Path) -> None:
    torch.manual_seed(0)
    model = build_model(DESCRIPTION).eval()
    loaded, description = load_model(folder)
    assert description == DESCRIPTION
    assert not loaded.training and all(p.requires_grad and not p.is_meta for p in loaded.parameters())
    images = torch.randn(1, 3, 64, 48)
    for task, maps in model(images).items():
        assert torch.equal(loaded(images)[task], maps)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_half_precision_storage(folder: Path, tmp_path: Path) -> None:
    model, _ = load_model(folder)
    save_model(tmp_path / "half", model, DESCRIPTION, dtype=torch.float16)
    assert {t.dtype for t in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.float16}
    loaded, _ = load_model(tmp_path / "half")
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[name].half().float()), name
    assert next(load_model(tmp_path / "half", dtype=torch.bfloat16)[0].parameters()).dtype == torch.bfloat16
    assert next(model.parameters()).dtype == torch.float32


def test_a_channels_last_model_can_be_saved(folder: Path, tmp_path: Path) -> None:
    model, _ = load_model(folder)
    save_model(tmp_path / "last", model.to(memory_format=torch.channels_last), DESCRIPTION)
    loaded, _ = load_model(tmp_path / "last")
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in loaded.state_dict().items())


def test_values_that_half_precision_cannot_hold_are_refused(folder: Path, tmp_path: Path) -> None:
    model, _ = load_model(folder)
    with torch.no_grad():
        model.backbone.norm.weight[3] = 1e6
    with pytest.raises(CheckpointError, match=r"backbone\.norm\.weight is not finite as torch\.float16"):
        save_model(tmp_path / "half", model, DESCRIPTION, dtype=torch.float16)
    assert not (tmp_path / "half").exists()


def test_a_failed_save_leaves_the_old_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model, _ = load_model(folder)
    torch.nn.init.zeros_(model.backbone.norm.weight)

    def full_disk(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("opensapiens.checkpoints.model_folder.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_model(folder, model, DESCRIPTION)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_must_match_its_description(tmp_path: Path) -> None:
    other = replace(DESCRIPTION, backbone=replace(DESCRIPTION.backbone, layers=2))
    with pytest.raises(CheckpointError, match=r"12 missing: backbone\.blocks\.1\.norm1\.weight"):
        save_model(tmp_path / "tiny", build_model(DESCRIPTION), other)
    assert not (tmp_path / "tiny").exists()


def test_build_on_meta_takes_no_memory() -> None:
    with torch.device("meta"):
        model = build_model(DESCRIPTION)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.heads["segmentation"].dropout == 0.1 and model.heads["pose"].dropout == 0


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model folder .*nowhere"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"is no model folder: it has no config\.json"):
        load_model(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no weights file .*model\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_weights(folder: Path, damage: str) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-10], "garbage": b"\xff" * 1000, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or not a safetensors file"):
        load_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    change_weights(folder, lambda tensors: tensors["heads.depth.output.bias"].fill_(value))
    with pytest.raises(CheckpointError, match=r"1 of .* tensors of .*model\.safetensors .* not finite.*: heads\.depth"):
        load_model(folder)


def test_damaged_config(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        read_description(folder)
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"config\.json: UTF-16"):
        read_description(folder)


def test_every_tensor_that_does_not_fit_is_listed(folder: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["backbone.norm.bias"]
        tensors["heads.hair.output.bias"] = torch.zeros(1)
        tensors["heads.pose.output.bias"] = torch.zeros(18)

    change_weights(folder, spoil)
    with pytest.raises(CheckpointError) as raised:
        load_model(folder)
    for said in (
        "1 missing: backbone.norm.bias",
        "1 unexpected: heads.hair.output.bias",
        "1 of the wrong shape: heads.pose.output.bias is (18,) instead of (17,)",
    ):
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(nmae="x", color=1), r"config\.json: unknown key 'nmae', 'color'; known are name, back"),
        (lambda c: c.pop("backbone"), "missing key 'backbone'"),
        (lambda c: c.update(vit=c.pop("backbone")), "in a format that this version does not read: convert"),
        (
            lambda c: c["backbone"].update(family="swin"),
            "backbone: no family 'swin'; known are sapiens, sapiens2, nano",
        ),
        (lambda c: c["backbone"].pop("family"), "backbone: no family None; known are sapiens, sapiens2, nano"),
        (lambda c: c.update(backbone=[]), "backbone: no family None"),
        (lambda c: c["backbone"].update(depth=3), "backbone: unknown key 'depth'; known are image_size"),
        (lambda c: c["backbone"].update(embed_dim="16"), "backbone: embed_dim cannot be '16'"),
        (lambda c: c["backbone"].update(image_size=[64]), r"backbone: image_size cannot be \[64\]"),
        (lambda c: c["backbone"].update(heads=3), "backbone: embed_dim 16 is not divisible by 3 heads"),
        (lambda c: c["backbone"].update(class_token=1), "class_token cannot be 1"),
        (lambda c: c["backbone"].update(layers=10**9), "layers must be between 1 and 1,024, not 1000000000"),
        (lambda c: c["backbone"].update(embed_dim=10**6), "embed_dim must be between 1 and 65,536"),
        (lambda c: c["backbone"].update(image_size=[10**9, 64]), "image_size must be .* one patch of 16 to 32,768"),
        (lambda c: c["backbone"].update(patch_size=10**9), "patch_size must be between 1 and 1,024"),
        (lambda c: c["backbone"].update(patch_padding=-1), "patch_padding must be between 0 and 16"),
        (lambda c: c["backbone"].update(mlp_ratio=10**9), "mlp_ratio must be between 1 and 64"),
        (lambda c: c["backbone"].update(heads=0), "heads must be between 1 and"),
        (
            lambda c: c.update(decoder={"embed_dim": 16, "layers": 10**9, "heads": 1}),
            "layers must be between 1 and 1,024",
        ),
        (lambda c: c.update(decoder={"embed_dim": 10**9, "layers": 1, "heads": 1}), "embed_dim must be between 1"),
        (lambda c: c["heads"]["pose"].update(strides=2), "heads, pose: unknown key 'strides'"),
        (lambda c: c["heads"]["pose"].update(kind="pixels"), "no kind of head 'pixels'; there are upsampling, sloped"),
        (lambda c: c["heads"]["pose"].update(labels="coco_18"), "no label set 'coco_18'; there are"),
        (lambda c: c["heads"]["pose"].update(labels="sapiens_28"), "17 output channels, but sapiens_28 has 28"),
        (lambda c: c["heads"]["pose"].update(labels=[17]), r"labels cannot be \[17\]"),
        (lambda c: c["heads"]["pose"].update(out_channels=18), "18 output channels, but coco_17 has 17"),
        (lambda c: c["heads"]["pose"].update(deconv_channels=[0]), "channels must be between 1 and 65,536, not 0"),
        (
            lambda c: c["heads"]["pose"].update(conv_channels=[10**6]),
            "channels must be between 1 and 65,536, not 1000000",
        ),
        (
            lambda c: c["heads"]["pose"].update(deconv_channels=[8] * 30),
            "deconvolutions must be between 0 and 8, not 30",
        ),
        (lambda c: c["heads"]["pose"].update(deconv_channels=8), "deconv_channels cannot be 8"),
        (lambda c: c["heads"]["depth"].update(dropout=1.5), r"dropout must be in \[0, 1\), not 1.5"),
        (lambda c: c.update(heads=[]), r"heads cannot be \[\]"),
        (lambda c: c["heads"].update(pose=[1]), r"heads, pose must be an object, not \[1\]"),
        (lambda c: c["preprocessing"].update(crop=1), "preprocessing: unknown key 'crop'"),
        (lambda c: c["preprocessing"].update(resize="stretch"), "resize cannot be 'stretch'"),
        (lambda c: c["preprocessing"].update(std=[0, 1, 1]), r"std cannot be \(0.0, 1.0, 1.0\)"),
        (lambda c: c["preprocessing"].update(mean=[1, 2]), r"mean cannot be \[1, 2\]"),
        (lambda c: c["preprocessing"].update(input_size=[64, 0]), r"input_size cannot be \(64, 0\)"),
        (lambda c: c["preprocessing"].update(input_size=[10**9, 64]), r"input_size cannot be \(1000000000, 64\)"),
        (lambda c: c["preprocessing"].update(box_padding="1"), "box_padding cannot be '1'"),
        (lambda c: c.update(name=3), "name cannot be 3"),
        (lambda c: c.update(metrics=[]), r"metrics cannot be \[\]"),
    ],
)
def test_a_config_that_does_not_hold_together(folder: Path, change: Callable[[dict], Any], message: str) -> None:
    change_config(folder, change)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_model(folder)
    assert "config.json" in str(raised.value)
