"""Exported files answer as the network does, at every batch, size and choice of heads; wrong ones are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from opensapiens.backbones.nano import NanoConfig
from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.export import cache
from opensapiens.export import export as export_module
from opensapiens.export.cache import cached_conversion, fingerprint
from opensapiens.export.description import KEY, describe_file
from opensapiens.export.export import export_network, report_of
from opensapiens.export.formats import ENDINGS, ExportError, Format, open_session
from opensapiens.export.graph import extra_inputs
from opensapiens.geometry.heatmaps import BLUR_KERNEL, BLUR_SIGMA
from opensapiens.inference.runtimes import ONNXRuntime, OpenVINORuntime
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.models.human_model import HumanModel
from opensapiens.recipes.nano import describe

SIZE = (64, 48)
LIBRARIES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torch": ()}


@pytest.fixture(
    scope="module",
    params=[SapiensConfig(SIZE, 24, 2, 2), NanoConfig(SIZE, 24, 2, 2, (8, 16, 24))],
    ids=["sapiens", "nano"],
)
def description(request: pytest.FixtureRequest) -> ModelDescription:
    return describe(request.param, (8, 8), (8, 8))


@pytest.fixture(scope="module")
def network(description: ModelDescription) -> HumanModel:
    torch.manual_seed(0)
    network = build_model(description).eval()
    for parameter in network.parameters():  # a fresh head answers with nothing but small numbers
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=list(ENDINGS))
def exported(
    request: pytest.FixtureRequest,
    network: HumanModel,
    description: ModelDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A file of each format that takes any size."""
    file_format: Format = request.param
    for library in LIBRARIES[file_format]:
        pytest.importorskip(library)
    yield export_network(network, description, file_format, tmp_path_factory.mktemp("exported"), any_size=True)


def beside(network: HumanModel, images: Tensor) -> dict[str, Tensor]:
    """What the network wants beside these images: of nano their places."""
    return extra_inputs(network.backbone.config, SIZE, len(images))


def expected(network: HumanModel, images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return network(images, inputs=beside(network, images))


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for head, maps in wanted.items():
        torch.testing.assert_close(found[head], maps, rtol=1e-4, atol=1e-4)


def test_any_batch_and_any_size(exported: Path, network: HumanModel) -> None:
    session = open_session(exported, list(network.heads))
    for shape in ((1, 3, 64, 48), (3, 3, 64, 48), (2, 3, 96, 32), (1, 3, 48, 80)):
        images = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        assert_same(session(images, beside(network, images)), expected(network, images))


def test_the_report_says_how_exact_the_file_is(exported: Path, network: HumanModel) -> None:
    report = json.loads(report_of(exported).read_text())
    check = report["check"]
    assert check["passed"]
    places = {"place": ["batch", 2]} if network.backbone.config.family == "nano" else {}
    shapes = {name: given["shape"] for name, given in report["inputs"].items()}
    assert shapes == {"images": ["batch", 3, "16*rows", "16*columns"], **places}
    assert set(check["difference_from_pytorch"]) == set(network.heads) == set(report["outputs"])
    for head, figures in check["difference_from_pytorch"].items():
        assert 0 <= figures["mean"] <= figures["max"], head
        assert figures["relative"] < 1e-4, head
    assert check["difference_from_pytorch"]["segmentation"]["same_argmax"] > 0.999
    assert report["inputs"]["images"]["mean"] == pytest.approx([123.675, 116.28, 103.53])


def described_in(path: Path) -> str:
    """The description inside a file."""
    if path.suffix == ".onnx":
        import onnxruntime

        return str(onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map[KEY])
    if path.suffix == ".xml":
        import openvino

        return str(openvino.Core().read_model(path).get_rt_info([KEY]).astype(str))
    named = {KEY: ""}
    torch.export.load(path, extra_files=named)
    return str(named[KEY])


def test_files_in_one_folder_keep_their_own_descriptions(
    network: HumanModel, description: ModelDescription, tmp_path: Path
) -> None:
    for library in sum(LIBRARIES.values(), ()):
        pytest.importorskip(library)
    paths = [export_network(network, description, file_format, tmp_path) for file_format in ENDINGS]
    for path, file_format in zip(paths, ENDINGS, strict=True):
        beside_it = json.loads(report_of(path).read_text())
        assert beside_it.pop("check")["passed"]
        assert json.loads(described_in(path)) == beside_it and beside_it["format"] == file_format


def test_the_free_axes_of_an_onnx_file_have_names(
    network: HumanModel, description: ModelDescription, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    for any_size in (False, True):
        path = export_network(network, description, "onnx", tmp_path, any_size)
        graph, said = onnx.load(path).graph, json.loads(report_of(path).read_text())
        for values, given in ((graph.input, said["inputs"]), (graph.output, said["outputs"])):
            shapes = {
                value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
                for value in values
            }
            assert shapes == {name: about["shape"] for name, about in given.items()}
            assert {shape[0] for shape in shapes.values()} == {"batch"}
        assert any("rows" in str(side) for side in said["outputs"]["pose"]["shape"]) == any_size


def test_the_description_says_how_to_read_each_output(description: ModelDescription) -> None:
    shape = ["batch", 1, 8, 6]
    said = describe_file(description, {"images": shape, "other": shape}, dict.fromkeys(description.heads, shape))
    pose, parts, depth, normals = (said["outputs"][head] for head in ("pose", "segmentation", "depth", "normals"))
    assert pose["channels"] == list(SAPIENS_308.names)
    mirrored = pose["channels"][pose["flip_indices"][pose["channels"].index("left_ear")]]
    assert mirrored == "right_ear" and pose["decode"]["blur_kernel"] == 11 and pose["decode"]["blur_sigma"] == 2
    assert parts["channels"][0] == "Background" and len(parts["channels"]) == 28
    assert depth["channels"] == ["depth"] and normals["flip_negated"] == [0]
    assert said["view"]["aspect"] == 0.75 and said["view"]["box_padding"] == 1.25
    assert all(about["how"] for about in (*said["inputs"].values(), *said["outputs"].values(), said["view"]))
    assert pose["stride"] == 4
    for resize, border in (("squash", [0, 0, 0]), ("letterbox", [124, 116, 104])):
        whole = replace(description, preprocessing=replace(description.preprocessing, resize=resize))
        view = describe_file(whole, {}, {})["view"]
        assert "aspect" not in view and view["border"] == border and "whole image" in view["how"][1]


def test_the_blur_of_decoding_is_the_one_that_is_said(images: Tensor) -> None:
    heat = images[0, 0].numpy()
    blurred = [cv2.GaussianBlur(heat, (BLUR_KERNEL,) * 2, sigma) for sigma in (0, BLUR_SIGMA)]
    np.testing.assert_array_equal(*blurred)


def test_a_file_that_answers_differently_is_refused(
    network: HumanModel, description: ModelDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(path: Path, heads: list[str]) -> object:
        session = open_session(path, heads)
        return lambda images, inputs: {head: 2 * maps for head, maps in session(images, inputs).items()}

    monkeypatch.setattr(export_module, "open_session", doubled)
    with pytest.raises(ExportError, match="answers differently"):
        export_network(network, description, "torch", tmp_path)
    report = json.loads((tmp_path / f"{description.name}.pt2.json").read_text())["check"]
    assert not report["passed"]
    assert report["difference_from_pytorch"]["depth"]["relative"] == pytest.approx(1, rel=1e-3)


def test_not_a_number_is_a_difference(
    network: HumanModel, description: ModelDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        export_module,
        "open_session",
        lambda path, heads: lambda images, inputs: {h: m * torch.nan for h, m in expected(network, images).items()},
    )
    with pytest.raises(ExportError):
        export_network(network, description, "torch", tmp_path)


def test_a_class_token_and_patch_padding_survive(tmp_path: Path) -> None:
    description = describe(SapiensConfig(SIZE, 24, 2, 2, class_token=True, patch_padding=2), (8,), (8,))
    network = build_model(description).eval()
    path = export_network(network, description, "torch", tmp_path, any_size=True)
    images = torch.randn(2, 3, 96, 64)
    assert_same(open_session(path, list(network.heads))(images), expected(network, images))


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_runtime_gives_the_heads_asked_for(
    name: Format, network: HumanModel, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in LIBRARIES[name]:
        pytest.importorskip(library)
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    path = cached_conversion(network, SIZE, name)
    runtime = {"openvino": OpenVINORuntime, "onnx": ONNXRuntime}[name](path, list(network.heads))
    wanted = expected(network, images)
    first = runtime(images, inputs=beside(network, images))
    assert_same(first, wanted)
    one = runtime(images.flip(-1), ["depth"], beside(network, images))
    assert list(one) == ["depth"]
    torch.testing.assert_close(one["depth"], expected(network, images.flip(-1))["depth"], rtol=1e-4, atol=1e-4)
    runtime(images.flip(-1), None, beside(network, images))
    assert_same(first, wanted)  # later calls do not write into what earlier ones returned


def test_openvino_does_not_take_the_last_calls_place(
    network: HumanModel, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    if not beside(network, images):
        pytest.skip("it wants nothing beside images")
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    runtime = OpenVINORuntime(cached_conversion(network, SIZE, "openvino"), list(network.heads))
    runtime(images, inputs=beside(network, images))
    with pytest.raises(ValueError, match="wants place beside the images"):
        runtime(images)


def test_a_conversion_is_made_once(network: HumanModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    path = cached_conversion(network, SIZE, "torch")
    written = path.stat().st_mtime_ns
    assert cached_conversion(network, SIZE, "torch") == path
    assert path.stat().st_mtime_ns == written
    assert [folder.name for folder in tmp_path.iterdir()] == [path.parent.name], "no half-made folder stays"


def test_a_damaged_conversion_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path))
    made: list[Path] = []
    monkeypatch.setattr(cache, "network_graph", lambda *_: None)
    monkeypatch.setattr(
        cache, "write_graph", lambda _, heads, path, *__: (made.append(path), path.write_bytes(b"whole"))
    )
    network = build_model(describe(SapiensConfig(SIZE, 24, 2, 2), (8,), (8,)))
    for number, damage in enumerate((b"who", b"whale", None), start=1):
        path = cached_conversion(network, SIZE, "torch")
        assert cached_conversion(network, SIZE, "torch") == path and len(made) == number
        if damage is None:
            (path.parent / "identity.json").unlink()
        else:
            path.write_bytes(damage)
    assert cached_conversion(network, SIZE, "torch").read_bytes() == b"whole" and len(made) == 4


FULL_DISK = """
import resource, sys, warnings
import opensapiens
from opensapiens.inference.runtimes import runtime_of
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with warnings.catch_warnings(record=True) as caught:
    people = opensapiens.load(sys.argv[1], device="cpu", runtime="auto")
print(runtime_of(people.models[0].network), *[str(one.message) for one in caught])
"""


def test_a_full_disk_while_converting_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    description = describe(SapiensConfig(SIZE, 24, 2, 2), (8,), (8,))
    save_model(tmp_path / "model", build_model(description), description)
    monkeypatch.setenv("OPENSAPIENS_CACHE", str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "model")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch ") and "is the disk full?" in done.stdout
    assert not list((tmp_path / "cache").iterdir())


def test_what_changes_the_answer_changes_the_conversion(network: HumanModel, description: ModelDescription) -> None:
    prints = {fingerprint(network, SIZE, "torch"), fingerprint(network, (96, 48), "torch")}
    with torch.no_grad():
        other = build_model(description)
        other.load_state_dict(network.state_dict())
        assert fingerprint(other, SIZE, "torch") in prints
        other.heads["depth"].output.weight[0, 0] += 1e-3
    prints.add(fingerprint(other, SIZE, "torch"))
    assert len(prints) == 3


def test_openvino_reports_nothing_home() -> None:
    pytest.importorskip("openvino")
    code = (
        "from opensapiens.export.formats import installed; installed('openvino');"
        "from openvino.tools.ovc import telemetry; print(type(telemetry).__module__)"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


def test_the_portrait_is_in_the_package() -> None:
    from opensapiens.storage.pictures import read_image

    assert read_image(export_module.portrait()).shape == (375, 320, 3)
    assert np.ptp(read_image(export_module.portrait())) > 200
