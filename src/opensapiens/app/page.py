"""The page, and what happens when somebody touches it. Needs Gradio when it is imported."""

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from opensapiens.app import views
from opensapiens.app.download import save_zip
from opensapiens.app.layout import Inputs, Outputs, input_column, output_column
from opensapiens.app.predicting import Predicted, PredictedPhoto, PredictedVideo, predict_uploads
from opensapiens.app.sessions import Session, Sessions
from opensapiens.app.views import Look
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import people_in_words
from opensapiens.storage.videos import read_frames

# No annotations as strings in this file: by the types of its parameters a handler gets Request and EventData.

TOGETHER = "all together"
THUMBNAIL = 240  # pixels, the longer side
CLICK_ZIP = "() => document.querySelector('a#zip, #zip a, button#zip').click()"
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Updates = dict[Any, Any]
"""Component -> what it is to show."""


def build_page(people: People, sessions: Sessions) -> gr.Blocks:
    """The page, not served yet. people: all models together; the page offers each alone, too."""
    pipelines = {TOGETHER: people}
    if len(people.models) > 1:
        pipelines |= {loaded.description.name: People([loaded], people.detector) for loaded in people.models}
    tasks = list(people.model_of_task)
    with gr.Blocks(title="opensapiens", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# opensapiens\nPose, body parts, depth and surface normals of the people in your photos.")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                inputs = input_column(list(pipelines), tasks)
            with gr.Column(scale=2, min_width=320):
                outputs = output_column(tasks)
        _listen(_Handlers(pipelines, sessions, inputs, outputs), inputs, outputs)
        page.unload(_closing(sessions))
    return page


def _closing(sessions: Sessions) -> Any:
    def close(request: gr.Request) -> None:
        sessions.close(str(request.session_hash))

    return close


def _listen(handlers: "_Handlers", inputs: Inputs, outputs: Outputs) -> None:
    looks = [outputs.task, inputs.tasks, outputs.point_score, outputs.person_score, outputs.person]
    shown = [
        outputs.told, outputs.gallery, outputs.photo, outputs.task, outputs.slider, outputs.drawing, outputs.legend,
        outputs.person, outputs.video_column, outputs.video, outputs.download,
    ]  # fmt: skip
    given = [inputs.uploads, inputs.webcam, inputs.model, inputs.in_videos, *looks]
    buttons = [inputs.start, inputs.stop]
    again: dict[str, Any] = {"fn": handlers.turn_again, "inputs": looks, "outputs": outputs.cloud, **QUIET}
    for event in (inputs.start.click, inputs.uploads.upload, inputs.webcam.input):
        begun = event(handlers.begin, None, [*buttons, outputs.cloud, outputs.told], queue=False, **QUIET)
        done = begun.then(
            handlers.predict, given, shown, show_progress_on=outputs.told, concurrency_limit=1,
            concurrency_id="predict", api_visibility="private",
        )  # fmt: skip
        done.then(handlers.end, None, buttons, **QUIET)
        done.then(**again)
    inputs.stop.click(handlers.stop, None, None, queue=False, **QUIET)
    for event in (
        outputs.task.input, inputs.tasks.input, outputs.person.input, outputs.point_score.input,
        outputs.person_score.input,
    ):  # fmt: skip
        event(handlers.redraw, looks, shown, trigger_mode="always_last", **QUIET)
    outputs.drawing.choose(handlers.choose, looks, shown, **QUIET)
    outputs.gallery.select(handlers.open, looks, shown, **QUIET).then(**again)
    outputs.cloud_tab.select(handlers.turn, looks, outputs.cloud, **QUIET)
    for tab in outputs.flat_tabs:
        tab.select(handlers.lay_flat, None, outputs.cloud, **QUIET)
    packed = outputs.download.click(
        handlers.pack, looks, outputs.zip, show_progress_on=outputs.told, api_visibility="private"
    )
    packed.then(None, None, None, js=CLICK_ZIP)


class _Handlers:
    """What happens when somebody touches the page. look: the values of the components `looks`, in their order."""

    def __init__(self, pipelines: dict[str, People], sessions: Sessions, inputs: Inputs, outputs: Outputs) -> None:
        self.pipelines, self.sessions, self.inputs, self.outputs = pipelines, sessions, inputs, outputs

    def session(self, request: gr.Request) -> Session:
        """The visitor's."""
        return self.sessions.of(str(request.session_hash))

    def begin(self, request: gr.Request) -> Updates:
        """Forget the last prediction."""
        self.session(request).begin()
        return {
            self.inputs.start: gr.update(interactive=False),
            self.inputs.stop: gr.update(interactive=True),
            self.outputs.cloud: None,
            self.outputs.told: "",
        }

    def end(self) -> Updates:
        """After a prediction."""
        return {self.inputs.start: gr.update(interactive=True), self.inputs.stop: gr.update(interactive=False)}

    def stop(self, request: gr.Request) -> None:
        """End the prediction that is running or waiting."""
        self.session(request).stop.set()

    def predict(
        self,
        request: gr.Request,
        files: list[str] | None,
        picture: str | None,
        model: str,
        in_videos: str,
        *look: Any,
        progress: Any = gr.Progress(),  # noqa: B008  Gradio finds it by its value
    ) -> Iterator[Updates]:
        """Show each file when it is done."""
        session = self.session(request)
        stop, paths = session.stop, [Path(file) for file in [*(files or []), *([picture] if picture else [])]]
        found = predict_uploads(
            self.pipelines[model], paths, session.folder, in_videos, stop,
            lambda share, words: progress(share, desc=words),
        )  # fmt: skip
        for item in session.each(found):
            if session.stop is not stop:  # another prediction of theirs has begun
                return
            if isinstance(item, str):
                session.problems.append(item)
            else:
                session.items.append(item)
            yield self.shown(session, _look(*look))
        if not paths:
            session.problems.append("There is nothing to predict yet: drop a photo or a video.")
            yield self.shown(session, _look(*look))

    def redraw(self, request: gr.Request, *look: Any) -> Updates:
        """Look differently at what was predicted."""
        return self.shown(self.session(request), _look(*look))

    def choose(self, request: gr.Request, event: gr.EventData, *look: Any) -> Updates:
        """Pick out the person who was clicked on, or everybody if that was them already."""
        number = int(event.person)
        return self.redraw(request, *look[:-1], None if number == look[-1] else number)

    def open(self, request: gr.Request, event: gr.SelectData, *look: Any) -> Updates:
        """Show another file."""
        session = self.session(request)
        session.shown = int(event.index)
        return {**self.shown(session, replace(_look(*look), person=None)), self.outputs.gallery: gr.skip()}

    def turn(self, request: gr.Request, *look: Any) -> str | None:
        """The point cloud of the photo that is shown."""
        session = self.session(request)
        session.turns = True
        item = session.item()
        result = item.result(_look(*look).person_score) if isinstance(item, PredictedPhoto) else None
        if item is None or result is None or result.depth is None or not result.persons:
            return None
        path = session.folder / f"{item.name}_cloud.glb"
        views.save_cloud(result, path)
        return str(path)

    def turn_again(self, request: gr.Request, *look: Any) -> Any:
        """The same where the cloud is looked at. Gradio never draws one that comes while it is out of sight."""
        return self.turn(request, *look) if self.session(request).turns else gr.skip()

    def lay_flat(self, request: gr.Request) -> None:
        """The cloud is out of sight."""
        self.session(request).turns = False

    def pack(self, request: gr.Request, *look: Any) -> str:
        """Everything as a ZIP file."""
        session = self.session(request)
        path = session.folder / "opensapiens.zip"
        save_zip(session.items, _look(*look), path)
        return str(path)

    def shown(self, session: Session, look: Look) -> Updates:
        """The page as it is for a visitor who looks like this."""
        item, outputs = session.item(), self.outputs
        is_photo, is_video = isinstance(item, PredictedPhoto), isinstance(item, PredictedVideo)
        thumbnails = [(_thumbnail(one, look), one.name) for one in session.items] if len(session.items) > 1 else []
        updates: Updates = {
            outputs.told: _told(session, look),
            outputs.gallery: gr.update(
                visible=bool(thumbnails), value=thumbnails, selected_index=session.shown if thumbnails else None
            ),
            outputs.photo: gr.update(visible=is_photo),
            outputs.video_column: gr.update(visible=is_video),
            outputs.video: str(item.overlay) if isinstance(item, PredictedVideo) else None,
            outputs.download: gr.update(visible=item is not None),
        }
        if isinstance(item, PredictedPhoto):
            result = item.result(look.person_score)
            there = [task for task in result.tasks() if task in look.tasks]
            if look.task not in there:
                look = replace(look, task=there[0] if there else "")
            people = views.person_choices(result)
            numbers = [number for _, number in people]
            picked = look.person if look.person in numbers else next(iter(numbers), None)
            updates |= {
                outputs.task: gr.update(choices=there, value=look.task or None),
                outputs.slider: (result.image, views.picture(result, look)),
                outputs.drawing: views.people_drawing(result, look),
                outputs.legend: views.legend(result, look.task),
                outputs.person: gr.update(choices=people, value=picked, visible=bool(people)),
            }
        return updates


def _look(task: str | None, tasks: list[str], point_score: float, person_score: float, person: int | None) -> Look:
    return Look(task or "", tuple(tasks), float(point_score), float(person_score), person or None)


def _told(session: Session, look: Look) -> str:
    """HTML: who was found in what is looked at, and what could not be done."""
    item = session.item()
    sentences = []
    if isinstance(item, PredictedPhoto):
        persons = item.result(look.person_score).persons
        sentences.append(f"<b>{escape(item.name)}</b>: {people_in_words(len(persons))}")
        if not persons:
            sentences.append("If there are people: try a lower score of a person, or a photo in which they are larger.")
    elif item is not None:
        sentences.append(f"<b>{escape(item.name)}</b>" + (f": {item.about}" if item.about else ""))
    problems = [*(one.note for one in session.items if one.note), *session.problems]
    told = "".join(f"<p>{sentence}</p>" for sentence in sentences)
    return told + "".join(f"<p class='problems'>{escape(problem)}</p>" for problem in problems)


def _thumbnail(item: Predicted, look: Look) -> np.ndarray:
    if isinstance(item, PredictedPhoto):
        image = item.predictions.image
    else:
        image, _ = next(read_frames(item.overlay))
    factor = THUMBNAIL / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
