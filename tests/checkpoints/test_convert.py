"""Published files of every form, written here in the layouts that the published code and PyTorch write, become folders
and go back; no file that was really downloaded was seen by these tests."""

import io
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from opensapiens.checkpoints.convert import convert
from opensapiens.checkpoints.model_description import DecoderDescription
from opensapiens.checkpoints.model_folder import load_masked_autoencoder, load_model, read_description
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS
from opensapiens.checkpoints.sapiens_files import layout_of
from opensapiens.checkpoints.strict_loading import CheckpointError, read_tensors
from opensapiens.checkpoints.tensor_names import UnmappedNamesError
from opensapiens.checkpoints.torch_files import read_torch_file
from opensapiens.cli import main
from opensapiens.storage.files import sha256_of

from .conftest import KINDS, autoencoder_tensors, published_tensors

pytestmark = pytest.mark.usefixtures("small_family")

LABELS = {"pose17": "coco_17", "pose133": "wholebody_133", "pose308": "sapiens_308", "seg28": "sapiens_28"}


class Holder(nn.Module):
    """A module whose state dict is the tensors, as a traced or exported model has it; it computes nothing."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in {**tensors, "data_preprocessor.mean": torch.zeros(3, 1, 1)}.items():
            module: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, Empty())
                module = module._modules[part]  # type: ignore[assignment]
            module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        return x + sum(parameter.sum() for parameter in self.parameters())


class Empty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.fixture
def mmengine_classes() -> Iterator[types.ModuleType]:
    """What a real `meta` pickles: a class of a library that is not installed where the file is read."""
    module = types.ModuleType("mmengine_like.config")

    class ConfigDict(dict):
        pass

    ConfigDict.__module__, ConfigDict.__qualname__ = module.__name__, "ConfigDict"
    module.ConfigDict = ConfigDict  # type: ignore[attr-defined]
    sys.modules["mmengine_like"] = types.ModuleType("mmengine_like")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__], sys.modules["mmengine_like"]


def with_meta(tensors: dict[str, Tensor], module: types.ModuleType) -> dict[str, Any]:
    dataset = module.ConfigDict(sigmas=np.full(17, 0.1, np.float32), names=["nose"])
    return {"meta": {"epoch": 3, "cfg": "model = dict()", "dataset_meta": dataset}, "state_dict": OrderedDict(tensors)}


def exported_by_torch_2_3(tensors: dict[str, Tensor], path: Path) -> None:
    """The archive that torch.export.save of PyTorch 2.2 to 2.7 writes, made by hand."""
    state = io.BytesIO()
    torch.save({name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}, state)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", b'{"graph_module": {}}')
        archive.writestr("serialized_state_dict.pt", state.getvalue())
        archive.writestr("serialized_constants.pt", b"")
        archive.writestr("version", "5.1")


def save_trace(tensors: dict[str, Tensor], path: Path) -> None:
    torch.jit.trace(Holder(tensors), torch.zeros(1)).save(str(path))


def save_export(tensors: dict[str, Tensor], path: Path) -> None:
    torch.export.save(torch.export.export(Holder(tensors), (torch.zeros(1),)), path)


def save_legacy(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({"meta": {}, "state_dict": tensors}, path, _use_new_zipfile_serialization=False)


def check_folder(folder: Path, tensors: dict[str, Tensor], kind: str, tmp_path: Path) -> None:
    """The folder loads and predicts, and as a published file again has the same bytes of every tensor."""
    model, description = load_model(folder)
    size = 64 if kind == "pretrain" else 48
    with torch.inference_mode():
        maps = model(torch.zeros(1, 3, 64, size))
        assert all(torch.isfinite(one).all() for one in maps.values())
    assert description.name.endswith(kind) and description.backbone.image_size == (64, size)
    assert description.backbone.patch_padding == (2 if KINDS[kind] in ("pose", "normals") else 0)
    assert description.backbone.class_token == (kind == "pretrain")
    assert [head.labels for head in description.heads.values()] == [LABELS.get(kind)] * (kind != "pretrain")
    assert description.preprocessing.resize == ("person_crop" if KINDS[kind] == "pose" else "squash")
    assert description.preprocessing.flip_test == (KINDS[kind] == "pose")
    assert description.preprocessing.interpolation == ("bicubic" if kind == "pretrain" else "linear")
    assert description.license == "CC-BY-NC-4.0"
    convert(folder, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    back = back if kind == "pretrain" else back["state_dict"]
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name].view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_in_its_published_layout(kind: str, tmp_path: Path, mmengine_classes: types.ModuleType) -> None:
    tensors = published_tensors(kind)
    file = tmp_path / PUBLISHED_MODELS[f"sapiens-0.3b-{kind}"].files["original"]
    torch.save(tensors if kind == "pretrain" else with_meta(tensors, mmengine_classes), file)
    with pytest.MonkeyPatch.context() as patch:  # read where the library is missing
        patch.setitem(sys.modules, "mmengine_like.config", None)
        description = convert(file, tmp_path / "folder")
    assert description == read_description(tmp_path / "folder")
    assert description.sha256 == sha256_of(file) and description.source == file.name
    check_folder(tmp_path / "folder", tensors, kind, tmp_path)


@pytest.mark.parametrize("save", [save_trace, save_export, exported_by_torch_2_3, save_legacy])
def test_every_form_of_file(save: Callable[[dict[str, Tensor], Path], None], tmp_path: Path) -> None:
    for kind, dtype in (("pose17", torch.float32), ("pretrain", torch.bfloat16)):
        tensors = {name: tensor.to(dtype) for name, tensor in published_tensors(kind).items()}
        # A traced or exported backbone keeps the prefix that the flat file lacks.
        prefix = "backbone." if kind == "pretrain" else ""
        save({prefix + name: tensor for name, tensor in tensors.items()}, tmp_path / "weights.pt2")
        convert(tmp_path / "weights.pt2", tmp_path / kind)
        assert {t.dtype for t in read_tensors(tmp_path / kind / "model.safetensors").values()} == {dtype}
        check_folder(tmp_path / kind, tensors, kind, tmp_path)


def test_a_training_checkpoint_with_optimizer_and_averaged_weights(tmp_path: Path) -> None:
    tensors = published_tensors("depth", "1b")
    averaged = {f"module.{name}": tensor + 1 for name, tensor in tensors.items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {"meta": {"iter": 5}, "state_dict": tensors, "ema_state_dict": averaged, "optimizer": optimizer}
    torch.save({**content, "message_hub": {"loss": np.arange(4.0)}, "param_schedulers": []}, tmp_path / "epoch_5.pth")
    assert convert(tmp_path / "epoch_5.pth", tmp_path / "folder", task="depth").name == "sapiens-1b-depth"
    check_folder(tmp_path / "folder", tensors, "depth", tmp_path)


def test_a_masked_autoencoder_keeps_its_decoder(tmp_path: Path) -> None:
    tensors = autoencoder_tensors()
    torch.save({"meta": {}, "state_dict": tensors, "optimizer": {}}, tmp_path / "epoch_1.pth")
    description = convert(tmp_path / "epoch_1.pth", tmp_path / "folder")
    assert description.decoder == DecoderDescription(32, 2, 16) and description.license == ""
    autoencoder, _ = load_masked_autoencoder(tmp_path / "folder")
    backbone = load_model(tmp_path / "folder")[0].backbone
    for network, ours, published in (
        (autoencoder, "decoder.blocks.1.mlp.fc2.weight", "neck.decoder_blocks.1.ffn.layers.1.weight"),
        (autoencoder, "backbone.class_token", "backbone.cls_token"),
        (backbone, "norm.bias", "backbone.ln1.bias"),
    ):
        assert torch.equal(network.state_dict()[ours], tensors[published])
    convert(tmp_path / "folder", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_images_of_another_size(tmp_path: Path) -> None:
    tensors = published_tensors("seg28")
    for patches, size in ((48, (128, 96)), (25, (80, 80))):
        torch.save({"state_dict": {**tensors, "backbone.pos_embed": torch.zeros(1, patches, 32)}}, tmp_path / "a.pth")
        assert convert(tmp_path / "a.pth", tmp_path / "folder", task="segmentation").backbone.image_size == size
        assert read_description(tmp_path / "folder").preprocessing.input_size == size


def test_a_failed_conversion_leaves_the_old_folder(tmp_path: Path) -> None:
    tensors = published_tensors("depth")
    torch.save({"state_dict": tensors}, tmp_path / "good.pth")
    torch.save(
        {"state_dict": {**tensors, "backbone.ln1.weight": torch.full((32,), float("nan"))}}, tmp_path / "bad.pth"
    )
    convert(tmp_path / "good.pth", tmp_path / "folder", task="depth")
    before = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
    with pytest.raises(CheckpointError, match=r"backbone\.norm\.weight is not finite"):
        convert(tmp_path / "bad.pth", tmp_path / "folder", task="depth")
    assert {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()} == before


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("pose17", {"head.final_layer.bias": torch.zeros(20)}, "1 of the wrong shape: heads.pose.output.weight"),
        ("seg28", {"decode_head.conv_seg.weight": None}, "1 missing: heads.segmentation.output.weight"),
        ("normals", {"decode_head.conv_seg.bias": torch.zeros(2)}, "a normals head with 2 outputs; there are 3"),
        ("depth", {"backbone.ln1.weight": torch.zeros(48)}, "a backbone of width 48 with 1 layers; the published ones"),
        ("depth", {"backbone.ln1.weight": None}, "no tensor backbone.norm.weight of 1 axes"),
        ("depth", {"backbone.ln1.bias": None}, "1 missing: backbone.norm.bias"),
        ("depth", {"backbone.ln1.bias": torch.zeros(31)}, "1 of the wrong shape: backbone.norm.bias is"),
        ("depth", {"backbone.pos_embed": torch.zeros(1, 50, 32)}, "for 50 patches, of neither a 4:3 nor a square"),
        ("depth", {"backbone.pos_embed": torch.zeros(1, 0, 32)}, "for 0 patches, of neither a 4:3 nor a square grid"),
        ("depth", {"auxiliary.weight": torch.zeros(1)}, "1 tensors are not of the layout 'depth': auxiliary.weight"),
        ("depth", {"head.final_layer.weight": torch.zeros(1)}, "tensors are not of the layout 'depth': head.final"),
        (
            "depth",
            {f"decode_head.deconv_layers.{3 * number}.weight": torch.zeros(8, 8, 4, 4) for number in range(9)},
            "weights.pth: deconvolutions must be between 0 and 8, not 9",
        ),
        ("pretrain", {"layers.0.ln1.gamma": torch.zeros(1)}, "not of the layout 'backbone': layers.0.ln1.gamma"),
        ("pretrain", {"backbone": "resnet"}, "entries of its state_dict are no tensors: backbone"),
    ],
)
def test_tensors_that_do_not_fit(kind: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    tensors = {name: value for name, value in {**published_tensors(kind), **change}.items() if value is not None}
    torch.save(tensors if kind == "pretrain" else {"state_dict": tensors}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError) as raised:
        convert(tmp_path / "weights.pth", tmp_path / "folder", task=None if kind == "pretrain" else KINDS[kind])
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "folder").exists()


def test_unmapped_names_are_all_listed(tmp_path: Path) -> None:
    torch.save({**published_tensors("pretrain"), "b.c": torch.ones(1), "a": torch.ones(1)}, tmp_path / "weights.pth")
    with pytest.raises(UnmappedNamesError, match=r"weights\.pth: 2 tensors .*: a, b\.c$") as raised:
        convert(tmp_path / "weights.pth", tmp_path / "folder")
    assert raised.value.names == ["a", "b.c"]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151.pth", ["segmentation"]),
        ("sapiens_0.3b_goliath_best_goliath_mIoU_1_epoch_2_torchscript.pt2", ["segmentation"]),
        ("sapiens_2b_render_people_epoch_25_bfloat16.pt2", ["depth"]),
        ("sapiens_2b_normal_render_people_epoch_70 (1).pth", ["normals"]),
        ("epoch_5.pth", []),
        ("my_normals.pth", []),
    ],
)
def test_the_name_of_a_file_says_for_which_task_it_is(name: str, tasks: list[str], tmp_path: Path) -> None:
    tensors = published_tensors("normals")  # whose three outputs do not
    if tasks:
        assert [layout_of(tensors, tmp_path / name, None)] == tasks
        return
    with pytest.raises(CheckpointError, match=r"may be of segmentation, depth or normals, .* --task segmentation"):
        layout_of(tensors, tmp_path / name, None)


def test_a_task_that_the_head_is_not_of(tmp_path: Path) -> None:
    torch.save({"state_dict": published_tensors("depth")}, tmp_path / "weights.pth")
    messages = {"pose": "a decode_head, of segmentation or depth or normals, not of pose", "hair": "no task 'hair'"}
    for task, message in messages.items():
        with pytest.raises(CheckpointError, match=message):
            convert(tmp_path / "weights.pth", tmp_path / "folder", task=task)


def as_state_dict(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)


def as_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("save", "ending"), [(as_state_dict, ".pth"), (as_safetensors, ".safetensors")], ids=["module.", "safetensors"]
)
def test_a_fine_tuned_file_for_other_labels(
    save: Callable[[dict[str, Tensor], Path], None], ending: str, tmp_path: Path
) -> None:
    pose = published_tensors("pose17")
    pose |= {f"head.final_layer.{kind}": pose[f"head.final_layer.{kind}"][:5] for kind in ("weight", "bias")}
    parts = published_tensors("seg28")
    parts |= {f"decode_head.conv_seg.{kind}": parts[f"decode_head.conv_seg.{kind}"][:3] for kind in ("weight", "bias")}
    for task, tensors, name in (("pose", pose, "point_4"), ("segmentation", parts, "part_2")):
        save(tensors, tmp_path / f"mine{ending}")
        description = convert(tmp_path / f"mine{ending}", tmp_path / task, task=task)
        labels = description.heads[task].label_set
        assert labels is not None and labels.names[-1] == name and description.license == ""
        assert load_model(tmp_path / task)[1] == description
        convert(tmp_path / task, tmp_path / "back.pth")
        assert convert(tmp_path / "back.pth", tmp_path / f"{task}_again").heads == description.heads


def test_what_no_published_file_can_hold(tmp_path: Path) -> None:
    tensors = published_tensors("depth")
    torch.save({"state_dict": tensors}, tmp_path / "weights.pth")
    convert(tmp_path / "weights.pth", tmp_path / "folder", task="depth")
    (tmp_path / "taken").mkdir()
    with pytest.raises(CheckpointError, match="taken is a folder; a model folder is converted into a file"):
        convert(tmp_path / "folder", tmp_path / "taken")
    with pytest.raises(CheckpointError, match=r"weights\.pth is a file; a published file is converted into a folder"):
        convert(tmp_path / "weights.pth", tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"taken is no model folder: it has no config\.json"):
        convert(tmp_path / "taken", tmp_path / "out.pth")
    config = tmp_path / "folder" / "config.json"
    text = config.read_text()
    normals = '"normals": {"out_channels": 3, "deconv_channels": [4], "conv_channels": [], "labels": null}, "depth"'
    config.write_text(text.replace('"depth"', normals, 1))
    with pytest.raises(CheckpointError, match=r"several heads \(normals, depth\)"):
        convert(tmp_path / "folder", tmp_path / "out.pth")


def test_the_command_converts_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = published_tensors("normals")
    torch.save({"state_dict": tensors}, tmp_path / "weights.pth")
    assert main(["convert", str(tmp_path / "weights.pth"), str(tmp_path / "folder"), "--task", "normals"]) == 0
    assert "sapiens-0.3b-normals (normals, 0.0 M parameters)" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "folder"), str(tmp_path / "back.pth")]) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_tensors_are_mapped_not_copied(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(8, 3)}, file)
    tensor = read_torch_file(file)["a"]
    content = bytearray(file.read_bytes())
    with file.open("r+b") as stream:  # what is mapped shows what is written into the file afterwards
        stream.seek(content.index(bytes(96)))
        stream.write(np.full(24, 7, np.float32).tobytes())
    assert torch.equal(tensor, torch.full((8, 3), 7.0))
