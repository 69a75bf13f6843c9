"""Loads the models, then serves the page on this computer alone until it is interrupted."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.app.options import LARGEST_FILE, AppOptions
from opensapiens.app.sessions import Sessions
from opensapiens.inference.loading import load

ADDRESS = "127.0.0.1"
BATCH = 2  # views: a video tells its progress, and can be stopped, between batches
FONTS = ["system-ui", "sans-serif"]  # of the visitor's system: nothing is loaded from elsewhere


class AppError(ValueError):
    """The page cannot be served; the message says why."""


def serve(options: AppOptions) -> None:
    """Serve the page, and say where it is. Deletes all files of visitors at the end.

    Raises AppError for a port that cannot be used, ModuleNotFoundError without the extra "app", and what load() raises.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or nothing would be deleted
    with tempfile.TemporaryDirectory(prefix="opensapiens-app-") as folder:
        page, sessions = start(options, Path(folder))
        print(f"open {page.local_url} in a browser; Ctrl+C ends it", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)
            sessions.end()


def start(options: AppOptions, folder: Path) -> tuple[Any, Sessions]:
    """The served page (Gradio's Blocks), whose models are loaded and warm, and its visitors. folder: for their files.

    Raises as `serve`.
    """
    _check_port(options.port)
    # Read when Gradio is imported or when it launches. It sends usage statistics unless told not to.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder / "gradio")}
    for variable in ("GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH"):
        os.environ.pop(variable, None)
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the page needs Gradio: pip install opensapiens[app]", name="gradio") from error
    from opensapiens.app.layout import STYLE
    from opensapiens.app.page import build_page

    people = load(options.model, options.device, batch_size=BATCH, runtime="auto")
    people(np.zeros((64, 64, 3), np.uint8), boxes=[[0, 0, 64, 64]])
    people.detector(np.zeros((64, 64, 3), np.uint8))
    (folder / "visitors").mkdir(parents=True)
    sessions = Sessions(folder / "visitors")
    page = build_page(people, sessions)
    page.queue(max_size=20, api_open=False).launch(
        server_name=ADDRESS, server_port=options.port, share=False, quiet=True, prevent_thread_lock=True,
        allowed_paths=[], max_file_size=LARGEST_FILE * 1_000_000, footer_links=[], run_history=False,
        enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False, show_error=False,
        theme=gradio.themes.Default(font=FONTS, font_mono=["monospace"]), css=STYLE,
    )  # fmt: skip
    return page, sessions


def _check_port(port: int) -> None:
    """Raises AppError for a port that cannot be listened on: here, since Gradio would when the models are loaded."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, port))
        except (OSError, OverflowError) as error:
            raise AppError(f"port {port} cannot be used, it is taken perhaps: choose another --port") from error
