"""What is on the page. Needs Gradio when it is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from opensapiens.app.options import LARGEST_FILE, LONGEST_SIDE, LONGEST_VIDEO, MOST_FILES
from opensapiens.inference.options import SIDE_BY_SIDE
from opensapiens.inference.results import SCORE_THRESHOLD
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.pointmap import PointmapTask

LIMITS = (
    f"Up to {MOST_FILES} files at a time, of up to {LARGEST_FILE} MB each; videos of up to {LONGEST_VIDEO:.0f} "
    f"seconds. Photos of more than {LONGEST_SIDE} pixels are scaled down. Files go to the computer that serves this "
    "page, nowhere else, and are deleted when you close the page or, at the latest, two hours after."
)
STYLE = """
.gradio-container { max-width: 1280px !important; }
.problems { border-left: 3px solid #d97706; padding: 2px 10px; margin: 4px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; list-style: none; padding: 0; margin: 4px 0; }
.legend li { display: flex; align-items: center; gap: 6px; margin: 0; }
.legend span { width: 14px; height: 14px; border-radius: 3px; display: inline-block; }
"""
DRAWING_STYLE = """
svg { width: 100%; max-height: 75vh; display: block; }
g[data-person] { cursor: pointer; }
g[data-person] rect { fill: transparent; }
circle { opacity: 0; stroke: transparent; stroke-width: 6; pointer-events: all; }
circle:hover { opacity: 1; stroke: white; stroke-width: 1.5; }
.told { min-height: 1.5em; margin: 4px 0; }
"""
DRAWING_SCRIPT = """
element.addEventListener('click', (event) => {
  const person = event.target.closest('[data-person]');
  if (person) trigger('choose', {person: Number(person.dataset.person)});
});
element.addEventListener('pointerover', (event) => {
  const name = event.target.dataset && event.target.dataset.name;
  if (name) element.querySelector('.told').textContent = name;
});
"""
"""Triggers "choose" with the number of a person who is clicked on, and tells the name of a point."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The left column: what is predicted, and how."""

    uploads: gr.File
    webcam: gr.Image
    start: gr.Button
    stop: gr.Button
    model: gr.Dropdown
    tasks: gr.CheckboxGroup
    in_videos: gr.Dropdown


@dataclass(frozen=True, eq=False)
class Outputs:
    """The right column: what is predicted, and how a photo is looked at."""

    told: gr.HTML
    gallery: gr.Gallery
    photo: gr.Column
    task: gr.Radio
    slider: gr.ImageSlider
    drawing: gr.HTML
    flat_tabs: tuple[gr.Tab, gr.Tab]
    cloud_tab: gr.Tab
    cloud: gr.Model3D
    legend: gr.HTML
    person: gr.Radio
    point_score: gr.Slider
    person_score: gr.Slider
    video_column: gr.Column
    video: gr.Video
    download: gr.Button
    zip: gr.DownloadButton


def _sent_file(payload: Any) -> str | None:
    """The file of a picture as the browser has sent it."""
    return None if payload is None else str(payload.path)


def input_column(models: Sequence[str], tasks: Sequence[str]) -> Inputs:
    """Lay out the left column."""
    uploads = gr.File(label="Drop photos or a video here", file_count="multiple", height=150, elem_id="uploads")
    with gr.Accordion("Take a picture with the webcam", open=False):
        webcam = gr.Image(sources=["webcam"], show_label=False, elem_id="webcam")
        webcam.preprocess = _sent_file  # Gradio would decode it; a subclass would get a .pyi file written beside it
    with gr.Row():
        start = gr.Button("Predict", variant="primary", min_width=100, elem_id="start")
        stop = gr.Button("Stop", variant="stop", interactive=False, min_width=100, elem_id="stop")
    with gr.Accordion("Tasks and limits", open=False, elem_id="settings"):
        model = gr.Dropdown(list(models), label="Model", visible=len(models) > 1, elem_id="model")
        chosen = gr.CheckboxGroup(list(tasks), value=list(tasks), label="Tasks to show and download", elem_id="tasks")
        in_videos = gr.Dropdown([*tasks, SIDE_BY_SIDE], label="Drawn over a video", elem_id="in-videos")
        gr.Markdown(LIMITS, elem_id="limits")
    return Inputs(uploads, webcam, start, stop, model, chosen, in_videos)


def output_column(tasks: Sequence[str]) -> Outputs:
    """Lay out the right column."""
    told = gr.HTML("<p>Drop a photo to begin.</p>", elem_id="told", min_height=60)
    gallery = gr.Gallery(
        visible=False, columns=6, height=130, object_fit="contain", allow_preview=False, show_label=False, buttons=[],
        elem_id="gallery",
    )  # fmt: skip
    with gr.Column(visible=False) as photo:
        task = gr.Radio(list(tasks), value=tasks[0] if tasks else None, show_label=False, elem_id="task")
        with gr.Tabs():
            with gr.Tab("Map") as map_tab:
                slider = gr.ImageSlider(
                    format="jpeg", show_label=False, interactive=False, max_height=640, slider_position=25,
                    buttons=["fullscreen"], elem_id="slider",
                )  # fmt: skip
            with gr.Tab("People") as people_tab:
                drawing = gr.HTML(css_template=DRAWING_STYLE, js_on_load=DRAWING_SCRIPT, elem_id="drawing")
            with gr.Tab("3D", visible=bool({DepthTask.name, PointmapTask.name} & set(tasks))) as cloud_tab:
                cloud = gr.Model3D(display_mode="point_cloud", show_label=False, height=460, elem_id="cloud")
                gr.Markdown("Drag to turn. Relative depth has no unit: how deep people are here is a guess.")
        legend = gr.HTML(elem_id="legend")
        person = gr.Radio([], label="People: pick one out", elem_id="person")
        with gr.Row():
            point_score = gr.Slider(0, 1, SCORE_THRESHOLD, step=0.05, label="Least score of a point", elem_id="points")
            person_score = gr.Slider(0, 1, 0, step=0.05, label="Least score of a person", elem_id="people")
    with gr.Column(visible=False) as video_column:
        video = gr.Video(show_label=False, interactive=False, autoplay=True, loop=True, height=520, elem_id="video")
    download = gr.Button("Download all as ZIP", visible=False, elem_id="download")
    zipped = gr.DownloadButton("ZIP", visible="hidden", elem_id="zip")
    return Outputs(
        told, gallery, photo, task, slider, drawing, (map_tab, people_tab), cloud_tab, cloud, legend, person,
        point_score, person_score, video_column, video, download, zipped,
    )  # fmt: skip
