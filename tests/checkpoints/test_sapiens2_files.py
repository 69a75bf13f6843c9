"""Sapiens2's published files: sizes to the unit, names, and files written here that become folders and go back."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.convert import convert
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import BACKBONE, build_model, load_model, read_description
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS
from opensapiens.checkpoints.sapiens2_files import HEAD_OF_TASK, LAYOUTS, ROWS, layout_of, to_published
from opensapiens.checkpoints.strict_loading import CheckpointError, read_metadata, read_tensors
from opensapiens.checkpoints.tensor_names import UnmappedNamesError
from opensapiens.models.cost import parameters
from opensapiens.models.upsampling_head import ScaleBranch

CONFIG = Sapiens2Config((1024, 768), 16, 3, 2, (2, 1, 2), 24)
UP, CONVS = (8, 8, 4, 4), (4, 4, 4)
HEADS = {
    "pose": HeadDescription(308, (8, 8), CONVS, "sapiens_308"),
    "segmentation": HeadDescription(29, UP, (4, 4), "sapiens_29"),
    "normals": HeadDescription(3, UP, CONVS, kind="pixel_shuffle"),
    "pointmap": HeadDescription(3, UP, CONVS, kind="pointmap", scale=ScaleBranch((8, 8, 4), 192, (6, 5))),
    "matting": HeadDescription(4, UP, CONVS, kind="pixel_shuffle"),
    "albedo": HeadDescription(3, UP, CONVS, kind="pixel_shuffle_rms"),
}
# The heads' parameters, in millions, in the order 0.4b, 0.8b, 1b, 5b.
MILLIONS = {
    "pose": [30.2, 34.4, 64.3, 53.3],
    "segmentation": [11.15, 13.25, 15.35, 22.69],
    "normals": [57.9, 70.3, 83.9, 249.5],
    "pointmap": [133, 153, 174, 281],
}


def published_tensors(task: str | None, config: Sapiens2Config = CONFIG) -> dict[str, Tensor]:
    """Random tensors by their published names, of a toy-size model of a task, or of a backbone."""
    base = PUBLISHED_MODELS["sapiens2-1b-pretrain"].description()
    heads = {task: HEADS[task]} if task else {}
    torch.manual_seed(0)
    state = build_model(replace(base, backbone=config, heads=heads)).state_dict()
    tensors = {name: torch.randn_like(tensor) for name, tensor in state.items()}
    if task is None:
        return to_published({name.removeprefix(BACKBONE): tensor for name, tensor in tensors.items()}, "backbone")
    return to_published(tensors, task)


def network_of(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return build_model(PUBLISHED_MODELS[name].description())


def test_the_table_holds_together() -> None:
    assert len(ROWS) == 6 + 4 * 5 + 1
    for row in ROWS:
        assert row.name == row.description().name and row.size_name in row.name
        assert row.license == "LicenseRef-Sapiens2"
        if row.files:  # no weights of albedo were released
            stem = row.name.replace("-", "_")
            assert row.files == {"original": f"{stem}.safetensors"}
            first, second = row.locations()
            assert first[0] == second[0] == row.repo and second[1] == "model.safetensors"
        else:
            assert row.task == "albedo" and row.locations() == []
    assert PUBLISHED_MODELS["sapiens2-1b-4k-pretrain"].description().preprocessing.input_size == (4096, 3072)


@pytest.mark.parametrize("task", MILLIONS)
def test_head_parameters_are_the_published_ones(task: str) -> None:
    for size, millions in zip(("0.4b", "0.8b", "1b", "5b"), MILLIONS[task], strict=True):
        row = next(row for row in ROWS if (row.size, row.task) == (size, task))
        head = network_of(row.name).get_submodule("heads")
        digits = len(str(millions).partition(".")[2])
        assert round(parameters(head) / 1e6, digits) == millions, size


# Of the published files, in bytes: that of pose for 5b is known, the others were computed from the published code's
# names and shapes.
BYTES = {
    "pretrain": {"0.1b": 455_993_616, "0.4b": 1_581_841_336, "0.8b": 3_257_187_560, "1b": 5_821_963_608,
                 "1b-4k": 6_426_428_808, "5b": 20_267_706_756},
    "pose": {"0.4b": 1_702_754_120, "0.8b": 3_394_878_784, "1b": 6_079_194_752, "5b": 20_480_899_148},
    "seg": {"0.4b": 1_626_451_436, "0.8b": 3_310_187_492, "1b": 5_883_353_380, "5b": 20_358_459_120},
    "normal": {"0.4b": 1_813_476_476, "0.8b": 3_538_370_164, "1b": 6_157_412_276, "5b": 21_265_538_584},
    "pointmap": {"0.4b": 2_114_748_360, "0.8b": 3_869_526_464, "1b": 6_518_452_992, "5b": 21_393_490_292},
}  # fmt: skip


def file_size(shapes: dict[str, list[int]]) -> int:
    """Bytes of a safetensors file of float32 tensors of these names and shapes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        start, end = end, end + 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + -(-text // 8) * 8 + end


@pytest.mark.parametrize(("ending", "size"), [(ending, size) for ending, sizes in BYTES.items() for size in sizes])
def test_a_file_written_here_has_the_published_size(ending: str, size: str) -> None:
    row = PUBLISHED_MODELS[f"sapiens2-{size}-{ending}"]
    state = network_of(row.name).state_dict()
    if not row.head:
        state = {name.removeprefix(BACKBONE): tensor for name, tensor in state.items()}
    published = to_published(state, row.task if row.head else "backbone")
    assert file_size({name: list(tensor.shape) for name, tensor in published.items()}) == BYTES[ending][size]


@pytest.mark.parametrize("task", [None, *HEADS])
def test_a_file_becomes_a_folder_and_goes_back(task: str | None, tmp_path: Path) -> None:
    tensors = published_tensors(task)
    file, folder, back = tmp_path / "sapiens2_toy.safetensors", tmp_path / "folder", tmp_path / "back.safetensors"
    save_file(tensors, file, metadata={"format": "pt"})
    description = convert(file, folder)
    assert replace(description.backbone, image_size=CONFIG.image_size) == CONFIG  # type: ignore[type-var]
    assert description.heads == ({task: HEADS[task]} if task else {})
    assert (
        description.license == description.source[:0] == "" and description.name == f"sapiens2-{task or 'pretraining'}"
    )
    row = next(row for row in ROWS if row.task == (task or "pretraining"))
    assert description.preprocessing == row.description().preprocessing
    network, _ = load_model(folder)
    assert network.backbone.state_dict()["periods"].equal(
        tensors["backbone.rope_embed.periods" if task else "rope_embed.periods"]
    )
    convert(folder, back)
    written = read_tensors(back)
    assert written.keys() == tensors.keys() and all(written[name].equal(tensors[name]) for name in tensors)
    assert read_metadata(back) == {"format": "pt"}


def test_a_tokenizer_is_told_from_the_shapes(tmp_path: Path) -> None:
    config = replace(CONFIG, image_size=(4096, 3072), patch_size=64, window=4, tokenizer_layers=2)
    save_file(published_tensors(None, config), tmp_path / "4k.safetensors")
    assert convert(tmp_path / "4k.safetensors", tmp_path / "folder").backbone == config


def test_a_head_with_other_outputs_has_placeholders(tmp_path: Path) -> None:
    tensors = published_tensors("segmentation")
    for kind in ("weight", "bias"):
        tensors[f"decode_head.conv_seg.{kind}"] = tensors[f"decode_head.conv_seg.{kind}"][:5]
    save_file(tensors, tmp_path / "own.safetensors")
    head = convert(tmp_path / "own.safetensors", tmp_path / "folder").heads["segmentation"]
    assert head.label_set is not None and head.label_set.names[4] == "part_4"


def test_the_task_comes_from_names_and_never_from_channels(tmp_path: Path) -> None:
    assert {task: layout_of(published_tensors(task), Path("x"), None) for task in HEADS} == {
        task: task for task in HEADS
    }
    assert set(HEADS) == set(HEAD_OF_TASK) == set(LAYOUTS) - {"backbone"}
    with pytest.raises(CheckpointError, match="its head is of normals, not of matting"):
        layout_of(published_tensors("normals"), Path("x"), "matting")
    strange = {name.replace("conv_normal", "conv_mystery"): t for name, t in published_tensors("normals").items()}
    with pytest.raises(CheckpointError, match=r"no head of a known task.*conv_pointmap \(pointmap\)"):
        layout_of(strange, Path("x"), None)


@pytest.mark.parametrize(("missing", "added"), [("backbone.blocks.1.ln2.weight", ""), ("", "decode_head.extra.weight")])
def test_loading_is_strict(missing: str, added: str, tmp_path: Path) -> None:
    tensors = published_tensors("pose")
    tensors.pop(missing, None)
    if added:
        tensors[added] = torch.zeros(2)
    save_file(tensors, tmp_path / "pose.safetensors")
    with pytest.raises(
        CheckpointError, match=r"blocks\.1\.norm2\.weight" if missing else r"decode_head\.extra"
    ) as raised:
        convert(tmp_path / "pose.safetensors", tmp_path / "folder")
    assert isinstance(raised.value, UnmappedNamesError) == bool(added) and not (tmp_path / "folder").exists()


def test_a_repository_of_the_hub_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "sapiens2-normal-toy"
    repository.mkdir()
    save_file(published_tensors("normals"), repository / "model.safetensors")
    (repository / "config.json").write_text(json.dumps({"model_type": "sapiens2", "hidden_size": 16}))
    (repository / "preprocessor_config.json").write_text("{}")
    assert list(read_description(model_folder(repository)).heads) == ["normals"]


@pytest.mark.usefixtures("monkeypatch")
def test_a_name_finds_the_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENSAPIENS_WEIGHTS", str(tmp_path))
    (tmp_path / "pointmap").mkdir()
    save_file(published_tensors("pointmap"), tmp_path / "pointmap" / "sapiens2_1b_pointmap.safetensors")
    with pytest.raises(
        CheckpointError, match="holds sapiens2-pointmap, not sapiens2-1b-pointmap"
    ):  # a toy in its place
        model_folder("sapiens2-1b-pointmap")


def test_a_file_of_one_family_does_not_end_as_the_other(tmp_path: Path) -> None:
    save_file(published_tensors("pose"), tmp_path / "pose.safetensors")
    convert(tmp_path / "pose.safetensors", tmp_path / "folder")
    with pytest.raises(CheckpointError, match=r"a published sapiens2 file ends in \.safetensors"):
        convert(tmp_path / "folder", tmp_path / "pose.pth")


def test_a_description_with_a_scale_branch_is_read_back() -> None:
    description = PUBLISHED_MODELS["sapiens2-0.4b-pointmap"].description()
    assert ModelDescription.from_json(json.loads(json.dumps(description.to_json()))) == description
