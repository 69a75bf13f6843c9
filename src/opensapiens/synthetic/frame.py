"""Renders a scene to a picture with exact labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from opensapiens.data.label_kinds import DEPTH, NORMALS, PARTS, LabelKind
from opensapiens.synthetic.anatomy import VERTEX_COUNT
from opensapiens.synthetic.develop import develop
from opensapiens.synthetic.environment import Backdrop
from opensapiens.synthetic.rasterizer import Camera, Rendering, render
from opensapiens.synthetic.scene import Scene, ScenePlan
from opensapiens.synthetic.wardrobe import Wardrobe

MIN_PIXELS = 200
MIN_VISIBLE = 0.25
"""A person with fewer visible pixels, or a smaller visible share, is in the picture but not in the record."""


@dataclass(frozen=True)
class Frame:
    """An image (H, W, 3) uint8 RGB and its labels: instances and parts (H, W) uint8, depth (H, W) in meters and
    normals (H, W, 3), both NaN on the background, and the record with camera and persons (see data/shards.py). parts
    is None for scans."""

    image: np.ndarray
    instances: np.ndarray
    parts: np.ndarray | None
    depth: np.ndarray
    normals: np.ndarray
    record: dict[str, Any]

    @property
    def labels(self) -> dict[LabelKind, np.ndarray]:
        """Of everybody, by kind, as shards store them."""
        parts = {} if self.parts is None else {PARTS: self.parts}
        return {**parts, DEPTH: self.depth, NORMALS: self.normals}


Describe = Callable[[np.ndarray, Rendering], list[dict[str, Any]]]
"""The persons of a record, given instances (H, W) and the rendering."""


def photograph(
    rng: np.random.Generator,
    scene: Scene,
    describe: Describe,
    backdrop: Backdrop | None = None,
    parts_known: bool = True,
) -> Frame:
    """Renders a scene in front of a backdrop, by default the place's own, develops the picture and reads the labels."""
    camera = scene.camera
    rendering = render(scene.mesh, scene.materials, camera, scene.light, scene.place.ground, scene.casters)
    mesh, triangle = scene.mesh, rendering.triangle
    instances = np.append(mesh.instance, 0).astype(np.uint8)[triangle]  # -1, no triangle, is the last entry
    people = instances > 0
    parts = np.append(mesh.part * (mesh.instance > 0), 0).astype(np.uint8)[triangle] if parts_known else None
    depth, normals = np.full_like(rendering.depth, np.nan), np.full_like(rendering.normals, np.nan)
    for known, wanted in ((rendering.depth, depth), (rendering.normals, normals)):
        cv2.copyTo(known, people.view(np.uint8), wanted)  # numpy is slow along an axis of three
    image = develop(rng, scene.place, camera, rendering, people, backdrop)
    record = {
        "width": camera.size[1],
        "height": camera.size[0],
        "depth_scale": 0.001,
        "camera": {"fx": camera.focal, "fy": camera.focal, "cx": camera.center[0], "cy": camera.center[1]},
        "persons": describe(instances, rendering),
    }
    return Frame(image, instances, parts, depth, normals, record)


def describe_people(
    scene: Scene, plan: ScenePlan, wardrobe: Wardrobe, parameters: bool, instances: np.ndarray, rendering: Rendering
) -> list[dict[str, Any]]:
    """The records of visible people; with `parameters` also their body parameters and 3D keypoints."""
    persons = []
    for i, person in enumerate(plan.people):
        mask = instances == i + 1
        seen = describe_visible(scene, i + 1, mask, rendering.people, scene.bodies[i, :VERTEX_COUNT:5])
        if seen is None:
            continue
        box, truncated, occluded, visible = seen
        points = wardrobe.anatomy.keypoints(scene.bodies[i])
        record = {
            "id": i + 1,
            "box": box,
            "keypoints": _keypoints(
                scene.camera, points, wardrobe, wardrobe.cover(plan.outfits[i]), mask, rendering.depth
            ),
            "height_fraction": round((box[3] - box[1]) / mask.shape[0], 4),
            "yaw_degrees": round(person.yaw, 1),
            "occluded_fraction": occluded,
            "truncated": truncated,
            "pose": person.activity,
            "age": round(person.phenotype["age"], 3),
            "visible_pixels": visible,
        }
        if parameters:
            record["body"] = {
                "phenotype": {name: round(value, 4) for name, value in person.phenotype.items()},
                "expression": {name: round(value, 4) for name, value in person.expression.items()},
                "rotations": np.round(person.pose, 5).reshape(-1, 9).tolist(),
            }
            record["keypoints_3d"] = np.round(points.astype(float), 5).tolist()
        persons.append(record)
    return persons


def describe_visible(
    scene: Scene, instance: int, mask: np.ndarray, people: np.ndarray, outline: np.ndarray
) -> tuple[list[int], bool, float, int] | None:
    """Box, whether the frame truncates the person, occluded share and number of visible pixels; None for a person who
    is hardly visible.

    people: Rendering.people; outline: points of the person in the world (N, 3).
    """
    visible = int(mask.sum())
    alone = int((people & (1 << (instance - 1)) > 0).sum())
    if visible < MIN_PIXELS or visible < MIN_VISIBLE * alone:
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    seen = scene.camera.project(outline)
    outside = (seen[:, 0] < 0) | (seen[:, 0] >= width) | (seen[:, 1] < 0) | (seen[:, 1] >= height)
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    return box, bool(outside.mean() > 0.05), round(1 - visible / alone, 4), visible


def _keypoints(
    camera: Camera,
    points: np.ndarray,
    wardrobe: Wardrobe,
    cover: np.ndarray,
    mask: np.ndarray,
    depth: np.ndarray,
) -> list[list[float]]:
    """The 308 points as [x, y, visibility]: 2 visible, 1 hidden, 0 outside the frame."""
    height, width = mask.shape
    anatomy = wardrobe.anatomy
    seen = camera.project(points)
    column, row = np.rint(seen[:, 0]).astype(int), np.rint(seen[:, 1]).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (seen[:, 2] > 0.05)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    in_sight = inside & mask[row, column] & (seen[:, 2] - depth[row, column] < anatomy.keypoint_radius + cover)
    visibility = np.where(in_sight, 2, np.where(inside, 1, 0))
    return np.column_stack([np.round(seen[:, :2].astype(float), 2), visibility]).tolist()
