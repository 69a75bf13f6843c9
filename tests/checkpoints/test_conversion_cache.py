"""Published models by name, downloaded from a hub that runs in this test and speaks as the real one does."""

import hashlib
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from opensapiens.backbones.sapiens import PUBLISHED_SIZES
from opensapiens.checkpoints import conversion_cache
from opensapiens.checkpoints.catalog import ModelNotFound, list_models, model_folder, summarize
from opensapiens.checkpoints.model_folder import build_model, load_model, read_description
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS, TERMS
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.cli import main
from opensapiens.tasks import TASKS

from .conftest import published_tensors

NAME = "sapiens-1b-pose308"
FILE = "sapiens_1b_goliath_best_goliath_AP_639.pth"
REPO = "facebook/sapiens-pose-1b"
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Files by "repository/path"; requests that came; what the hub says their hashes are, if not the truth."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.stated_hash = ""
        self.stops_after = 0  # bytes of the next answer, 0 for all


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, an empty cache, and no other way to any weights."""
    state = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.strip("/").partition("?")[0].replace("/resolve/main/", "/")
            name = name.replace(f"/resolve/{REVISION}/", "/")
            state.requests.append((self.command, name, self.headers.get("Range", "")))
            content = state.files.get(name)
            if content is None:
                self.send_response(404)
                code = "EntryNotFound" if any(known.startswith(name[:20]) for known in state.files) else "RepoNotFound"
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0] or 0)
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{state.stated_hash or hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            if self.command == "GET":
                last, state.stops_after = (first + state.stops_after) if state.stops_after else len(content), 0
                self.wfile.write(content[first:last])
                if last < len(content):
                    self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)  # both are what HF_ENDPOINT sets when it is imported
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(conversion_cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(conversion_cache.WEIGHTS_VARIABLE, raising=False)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def weights(tmp_path: Path, small_family: None) -> Path:
    """The published file of NAME at toy size."""
    path = tmp_path / FILE
    torch.save({"meta": {}, "state_dict": published_tensors("pose308", "1b")}, path)
    return path


def test_a_model_is_downloaded_converted_and_kept(hub: Hub, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.files[f"{REPO}/{FILE}"] = weights.read_bytes()
    folder = model_folder(NAME)
    assert "under CC-BY-NC-4.0 (no commercial use)" in capsys.readouterr().err
    description = read_description(folder)
    assert description.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert description.source == f"https://huggingface.co/{REPO}/blob/{REVISION}/{FILE}"
    assert description.name == NAME and set(load_model(folder)[0].heads) == {"pose"}
    assert {path.name for path in folder.parent.iterdir()} == {NAME}
    asked = len(hub.requests)
    assert model_folder(NAME) == folder and len(hub.requests) == asked, "the second time nothing is asked"


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what has not filled a chunk yet is lost
    content = weights.read_bytes()
    hub.files[f"{REPO}/{FILE}"] = content
    hub.stops_after = len(content) // 2
    model_folder(NAME)
    ranges = [int(r.removeprefix("bytes=").split("-")[0]) for method, _, r in hub.requests if method == "GET" and r]
    assert any(first > 0 for first in ranges), hub.requests


def test_the_next_place_is_tried(hub: Hub, weights: Path) -> None:
    hub.files["facebook/sapiens/sapiens_host/pose/checkpoints/sapiens_1b/" + FILE] = weights.read_bytes()
    assert "/facebook/sapiens/blob/" in read_description(model_folder(NAME)).source


def test_a_file_that_is_not_what_the_hub_says(hub: Hub, weights: Path) -> None:
    hub.files[f"{REPO}/{FILE}"] = weights.read_bytes()
    hub.stated_hash = "ab" * 32
    with pytest.raises(CheckpointError, match=rf"{FILE} is not what the hub says it is \(SHA-256 (ab)+\); removed"):
        model_folder(NAME)
    assert not conversion_cache.converted_folder(NAME).exists()
    hub.stated_hash = ""
    assert model_folder(NAME) == conversion_cache.converted_folder(NAME)


def test_another_model_under_this_name(hub: Hub, weights: Path) -> None:
    torch.save({"state_dict": published_tensors("pose17", "1b")}, weights)
    hub.files[f"{REPO}/{FILE}"] = weights.read_bytes()
    with pytest.raises(CheckpointError, match="holds sapiens-1b-pose17, not sapiens-1b-pose308"):
        model_folder(NAME)
    assert not list((conversion_cache.cache_folder() / "models").iterdir())


def test_without_a_network_it_says_which_file_to_put_where(
    hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = rf"Put {FILE} from https://huggingface\.co/{REPO} into .*cache/published \(.*OPENSAPIENS_WEIGHTS\)$"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=rf"{NAME} is not on this disk and could not .* \(.*\)\. {said}"):
        model_folder(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def broken(repo: str, file: str, **_: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    with pytest.raises(CheckpointError, match=rf"\(no route\)\. {said}"):
        model_folder(NAME)
    conversion_cache.weights_folder().mkdir(parents=True)
    shutil.copy(weights, conversion_cache.weights_folder() / FILE)
    assert conversion_cache.on_disk(PUBLISHED_MODELS[NAME])
    assert model_folder(NAME) == conversion_cache.converted_folder(NAME)
    assert not hub.requests


@pytest.mark.parametrize(
    "place", ["", "pose/checkpoints/sapiens_1b", "sapiens_lite_host/torchscript/pose/checkpoints/sapiens_1b"]
)
def test_a_folder_of_published_files(
    place: str, hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = FILE.replace(".pth", "_torchscript.pt2") if "torchscript" in place else FILE
    (tmp_path / "mine" / place).mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, tmp_path / "mine" / place / name)
    monkeypatch.setenv(conversion_cache.WEIGHTS_VARIABLE, str(tmp_path / "mine"))
    on_disk = {summary.name for summary in list_models() if summary.on_disk}
    assert on_disk == {"detector", "nano", NAME} & on_disk | {NAME}
    assert name in read_description(model_folder(NAME)).source and not hub.requests


def test_a_model_that_is_nowhere(hub: Hub) -> None:
    said = rf"{NAME}: not found at {REPO}/{FILE} \(RepositoryNotFoundError\), facebook/sapiens/.* HF_TOKEN\. Put {FILE}"
    with pytest.raises(CheckpointError, match=said):
        model_folder(NAME)


def test_a_model_without_known_files(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"opensapiens convert FILE .*models/sapiens-2b-seg28$"):
        model_folder("sapiens-2b-seg28")


def test_a_published_file_as_a_model(hub: Hub, weights: Path) -> None:
    folder = model_folder(weights)
    assert read_description(folder).name == NAME
    made = (folder / "config.json").stat().st_mtime_ns
    assert model_folder(str(weights)) == folder and (folder / "config.json").stat().st_mtime_ns == made
    torch.save({"state_dict": published_tensors("pose308", "1b", seed=1)}, weights)
    assert model_folder(weights) != folder, "the file has changed"


def test_a_damaged_conversion_is_made_anew(hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a process of the same number was killed while it converted, as happens in containers."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    folder = model_folder(weights)
    folder.with_name(f"{folder.name}.part7").mkdir()
    stored = folder / "model.safetensors"
    whole = stored.read_bytes()
    for damaged in (whole[:-1000], whole[:-1000] + bytes(1000), b""):
        stored.write_bytes(damaged)
        assert model_folder(weights) == folder and stored.read_bytes() == whole


def test_what_is_not_a_model(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean sapiens-1b-pose308"):
        model_folder("sapiens-1b-pose38")
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        model_folder(tmp_path)
    with pytest.raises(CheckpointError, match="no published model 'nano'; there are sapiens"):
        conversion_cache.resolve("nano")


def test_the_list_says_what_the_paper_says() -> None:
    summaries = {summary.name: summary for summary in list_models()}
    assert set(PUBLISHED_MODELS) <= set(summaries)
    # Backbone and head, as counted in the published code.
    for name, count in (
        ("sapiens-0.3b-pose17", 306_244_608 + 23_214_353),
        ("sapiens-0.6b-seg28", 634_597_120 + 36_396_316),
        ("sapiens-1b-pose308", 1_139_163_648 + 29_729_588),
        ("sapiens-2b-depth", 2_131_943_040 + 19_170_433),
        ("sapiens-2b-normals", 2_131_943_040 + 44_241_411),
        ("sapiens-2b-pretrain", 2_133_912_960),
    ):
        assert summaries[name].parameters == count, name
    assert summaries["sapiens-1b-pretrain"].tasks == () and summaries["sapiens-1b-pretrain"].input_size == (1024, 1024)
    assert summaries[NAME].input_size == (1024, 768) and summaries[NAME].license == "CC-BY-NC-4.0"


def test_the_table_holds_together() -> None:
    locations = [place for model in PUBLISHED_MODELS.values() for place in model.locations()]
    assert len(set(locations)) == len(locations)
    assert {model.license for model in PUBLISHED_MODELS.values()} == set(TERMS)
    family = {name: model for name, model in PUBLISHED_MODELS.items() if model.family == "sapiens"}
    assert len(family) == 4 * 7
    for name, model in family.items():
        description = model.description()
        assert name == description.name == f"sapiens-{model.size}-{name.rpartition('-')[2]}"
        assert all(f"sapiens_{model.size}_" in file for file in model.files.values())
        assert all(file.endswith((".pth", "_torchscript.pt2", "_bfloat16.pt2")) for file in model.files.values())
        padded = model.task in ("pose", "normals")
        assert model.patch_padding == 2 * padded and description.backbone.embed_dim in (1024, 1280, 1536, 1920)
    assert PUBLISHED_MODELS["sapiens-2b-normals"].locations() == [
        ("facebook/sapiens-normal-2b", "sapiens_2b_normal_render_people_epoch_70.pth"),
        (
            "facebook/sapiens",
            "sapiens_host/normal/checkpoints/sapiens_2b/sapiens_2b_normal_render_people_epoch_70.pth",
        ),
        ("facebook/sapiens-normal-2b-torchscript", "sapiens_2b_normal_render_people_epoch_70_torchscript.pt2"),
        (
            "facebook/sapiens",
            "sapiens_lite_host/torchscript/normal/checkpoints/sapiens_2b/"
            "sapiens_2b_normal_render_people_epoch_70_torchscript.pt2",
        ),
        ("facebook/sapiens-normal-2b-bfloat16", "sapiens_2b_normal_render_people_epoch_70_bfloat16.pt2"),
        (
            "facebook/sapiens",
            "sapiens_lite_host/bfloat16/normal/checkpoints/sapiens_2b/"
            "sapiens_2b_normal_render_people_epoch_70_bfloat16.pt2",
        ),
    ]


def test_the_command_lists_them(hub: Hub, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_folder(weights)
    conversion_cache.weights_folder().mkdir(parents=True)
    shutil.copy(weights, conversion_cache.weights_folder() / FILE)
    capsys.readouterr()
    assert main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert all(f"{terms}." in lines[f"{license_name}:"] for license_name, terms in TERMS.items())
    assert set(PUBLISHED_MODELS) | {"NAME"} <= set(lines)
    assert lines[NAME].endswith("yes") and lines["sapiens-0.3b-depth"].endswith("no")
    assert "features" in lines["sapiens-2b-pretrain"] and "CC-BY-NC-4.0" in lines["sapiens-2b-pretrain"]
    assert lines["sapiens-2b-seg28"].endswith("its location is unknown")
    assert str(conversion_cache.weights_folder()) in lines["Converted"]


def test_the_summary_counts_parameters(small_family: None) -> None:
    assert PUBLISHED_SIZES["1b"]["embed_dim"] == 32 and TASKS["pose"].published.conv_channels == (8, 8)
    description = replace(PUBLISHED_MODELS[NAME].description((64, 48)), name="mine")
    summary = summarize("mine", description)
    assert summary.parameters == sum(parameter.numel() for parameter in build_model(description).parameters())
    assert summary.flops > summary.parameters and summary.input_size == (64, 48) and summary.tasks == ("pose",)
