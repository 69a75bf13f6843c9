"""The page as visitors have it: what they can fetch from the server, and what they see in a browser."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from opensapiens.app.options import AppOptions
from opensapiens.app.predicting import PredictedVideo
from opensapiens.app.serve import AppError, start
from opensapiens.app.sessions import Session
from opensapiens.app.views import Look
from opensapiens.storage.pictures import read_image

from .conftest import write_clip

pytest.importorskip("gradio", reason="the page needs the extra app")
pytest.importorskip("av", reason="videos on the page need the extra video")

ROOT = Path(__file__).parent.parent.parent
PHOTO = ROOT / "examples" / "photos" / "eileen_collins.jpg"
TIMEOUT = 60_000  # milliseconds, on a machine that is busy with other things


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Any]:
    """The page with nano, on a port of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
            patch.setenv(variable, os.environ.get(variable, ""))  # start() sets them: put back at the end
        patch.setenv("GRADIO_ALLOWED_PATHS", "/etc")
        patch.setenv("GRADIO_SHARE", "True")
        page, sessions = start(AppOptions(port=free_port(), device="cpu"), folder)
        yield page
        page.close(verbose=False)
        sessions.end()


def fetch(url: str, data: dict | None = None) -> tuple[int, str]:
    """The status and the text that a server answers with."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, None if data is None else json.dumps(data).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def test_it_is_served_to_this_computer_alone_and_tells_nobody(served: Any) -> None:
    assert served.local_url.startswith("http://127.0.0.1:") and served.share_url is None and not served.share
    assert served.allowed_paths == [] and not served.analytics_enabled
    assert fetch(served.local_url)[0] == 200


@pytest.mark.parametrize("way", ["gradio_api/file={}", "file={}", "gradio_api/file/{}", "static/{}", "assets/{}", "{}"])
def test_no_file_of_the_server_can_be_fetched(way: str, served: Any, folder: Path) -> None:
    secret = folder / "visitors" / "secret.txt"
    secret.write_text("a secret of somebody else")
    own = ROOT / "pyproject.toml"  # Gradio serves files of the working folder in some versions
    paths = ["/etc/passwd", *("../" * depth + "etc/passwd" for depth in (3, 12)), str(own), str(secret), secret.name]
    for path in [*paths, *(quote(path, safe="") for path in paths)]:
        status, text = fetch(served.local_url + way.format(path))
        assert status >= 400, (path, status)
        assert not any(content in text for content in ("root:", "[project]", "a secret of")), path


def test_the_server_fetches_nothing_for_a_visitor(served: Any) -> None:
    inside = served.local_url + "gradio_api/startup-events"
    for way in ("gradio_api/file=", "gradio_api/proxy="):
        assert fetch(served.local_url + way + inside)[0] >= 400


def test_a_file_that_was_not_uploaded_is_not_predicted(served: Any) -> None:
    index = next(number for number, function in served.fns.items() if function.name == "predict")
    named = {"path": str(PHOTO), "orig_name": "photo.png", "meta": {"_type": "gradio.FileData"}}
    data = [[named], None, "all together", "pose", "pose", ["pose"], 0.3, 0, None]
    session = {"session_hash": "stranger", "fn_index": index, "data": data}
    assert fetch(served.local_url + "gradio_api/queue/join", session)[0] == 200
    _, told = fetch(served.local_url + "gradio_api/queue/data?session_hash=stranger")
    assert '"success":false' in told.replace(" ", "") and "person" not in told


def test_a_port_that_is_taken_is_an_error_that_says_so(served: Any, tmp_path: Path) -> None:
    with pytest.raises(AppError, match=f"port {served.server_port} cannot be used"):
        start(AppOptions(port=served.server_port, device="cpu"), tmp_path)


def test_names_of_files_are_no_markup(served: Any, folder: Path) -> None:
    from opensapiens.app.page import _told  # needs the extra

    overlay = folder / "overlay.mp4"
    video = PredictedVideo("<i>clip", [], overlay, note="<i>clip.mp4: stopped")
    told = _told(Session(folder, items=[video], problems=["<i>photo.png: damaged"]), Look("pose", ("pose",)))
    assert "<i>" not in told and told.count("&lt;i&gt;") == 3


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def browser_page(served: Any) -> Iterator[Any]:
    """The opened page; fails at the end if it has asked another computer for anything."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as running:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = running.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *camera])
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.local_url)
        yield page
        browser.close()
    assert all(url.startswith((served.local_url, "data:", "blob:")) for url in asked)


def drop(page: Any, *files: Path) -> None:
    """Drop files onto the page, if any, in place of those that lie there."""
    if page.locator("#uploads button[aria-label='Clear']").count():
        page.locator("#uploads button[aria-label='Clear']").click()
    if files:
        page.locator("#uploads input[type=file]").set_input_files(list(files))


def test_a_visit(browser_page: Any, folder: Path, tmp_path: Path) -> None:
    page, others = browser_page, set((folder / "visitors").iterdir())
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(PHOTO.read_bytes()[:5000])

    drop(page, PHOTO, damaged)
    overlay = page.locator("#slider img").last
    overlay.wait_for()
    page.locator("#told .problems").get_by_text("truncated or damaged").wait_for()
    assert page.locator("#told .problems").inner_text().startswith("damaged.png: ")
    assert page.locator("#told b").inner_text() == "eileen_collins"

    def overlay_after(act: Any) -> str:
        """The address of the overlay when something has changed it."""
        before = overlay.get_attribute("src")
        act()
        page.wait_for_function(f"[...document.querySelectorAll('#slider img')].at(-1).src != {before!r}")
        return str(overlay.get_attribute("src"))

    pose = str(overlay.get_attribute("src"))
    fewer = overlay_after(lambda: page.locator("#points input[type=number]").fill("0.95"))
    parts = overlay_after(lambda: page.locator("#task label", has_text="segmentation").click())
    assert len({pose, fewer, parts}) == 3
    assert page.locator("#legend li").count() > 3

    page.get_by_role("tab", name="People").click()
    page.locator("#drawing circle").first.hover(force=True)
    page.locator("#drawing .told", has_text="score").wait_for()
    page.locator("#drawing [data-person='1'] rect").dispatch_event("click")
    page.locator("#person label.selected", has_text="1: score").wait_for()
    page.locator("#person label", has_text="everybody").click()
    page.locator("#person label.selected", has_text="everybody").wait_for()

    page.get_by_role("tab", name="3D").click()
    page.locator("#cloud canvas").wait_for()

    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert {"eileen_collins_keypoints.json", "eileen_collins_depth.npz"} <= set(archive.namelist())

    clip = write_clip(tmp_path / "clip.mp4", read_image(PHOTO)[::4, ::4], 100, 10)
    drop(page, clip)
    page.get_by_text("s to go").wait_for()
    page.locator("#stop").click()
    page.locator("#told .problems", has_text="clip.mp4: stopped after").wait_for()
    page.locator("#video video").wait_for()
    page.locator("#start:not([disabled])").wait_for()

    Image.new("RGB", (200, 200), "gray").save(tmp_path / "empty.png")
    drop(page, tmp_path / "empty.png")
    page.locator("#told", has_text="nobody found").wait_for()
    page.locator("#start:not([disabled])").wait_for()
    overlay_after(lambda: page.locator("#task label", has_text="depth").click())
    assert page.locator(".toast-body.error").count() == 0

    drop(page)
    page.get_by_text("Take a picture with the webcam").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#webcam video')?.currentTime > 0.5")
    page.locator("#webcam button[aria-label='capture photo']").click()
    page.locator("#told .problems", has_text="scaled from").wait_for()  # the camera's pictures are large
    page.locator("#start:not([disabled])").wait_for()

    (own,) = set((folder / "visitors").iterdir()) - others
    page.close()
    deadline = time.monotonic() + 30
    while own.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not own.exists()
