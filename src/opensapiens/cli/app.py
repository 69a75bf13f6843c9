"""`opensapiens app`."""

from __future__ import annotations

from opensapiens.app.options import AppOptions
from opensapiens.cli.arguments import Flat


def app(options: Flat[AppOptions] = AppOptions()) -> int:
    """Open a page in the browser: drop photos or a video, look at the people in them, download the results.

    The page is served by this computer, for this computer alone: photos do not leave it. Needs the extra "app", and for
    videos the extra "video". The models are loaded first, then the address is printed; Ctrl+C ends it.

    On the page: photos (several at a time), a video or a picture of the webcam; each task's map with a slider between
    photo and map; people to pick out, by number; points with their names and scores; depth as a cloud to turn;
    thresholds; everything that was predicted as a ZIP file. What it cannot read it names, and goes on. docs/app.md says
    what the limits are.

    For example:
    $ opensapiens app
    $ opensapiens app --model sapiens-1b-pose308 --model sapiens-1b-seg28 --device cuda
    $ opensapiens app --port 8000
    """
    from opensapiens.app.serve import serve

    serve(options)
    return 0
