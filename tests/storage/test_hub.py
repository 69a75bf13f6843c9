"""Without a network nothing waits; what is in the hub's cache needs none."""

import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from opensapiens.storage.hub import HubUnreachable, hub_file, hub_folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No host has an address. The list of downloads that were tried nevertheless."""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    tried: list[Any] = []

    def download(*arguments: Any, local_files_only: bool = False, **_: Any) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("nothing here")
        tried.append(arguments)
        return ""

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return tried


def test_offline_is_one_sentence_at_once(offline: list[Any]) -> None:
    with pytest.raises(HubUnreachable, match=r"no connection to https?://.*Name or service not known"):
        hub_file("a/b", "c")
    with pytest.raises(HubUnreachable, match="no connection"):
        hub_folder("a/b", ["*.json"])
    assert not offline, "no download is tried, and tried again"


def test_what_is_on_this_disk_needs_no_network(
    offline: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    (tmp_path / "config.json").touch()
    assert hub_folder("a/b", ["*.json"]) == tmp_path
    with pytest.raises(HubUnreachable):  # its weights are not there
        hub_folder("a/b", ["*.json", "*.safetensors"])
