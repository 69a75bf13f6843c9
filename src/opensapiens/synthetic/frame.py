"""Renders a scene to a picture with exact labels."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from opensapiens.data.label_kinds import ALBEDO, ALPHA, DEPTH, NORMALS, PARTS, POINTS, LabelKind
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.synthetic.anatomy import VERTEX_COUNT
from opensapiens.synthetic.develop import develop
from opensapiens.synthetic.environment import Backdrop
from opensapiens.synthetic.materials import GAMMA
from opensapiens.synthetic.rasterizer import Camera, Rendering, render
from opensapiens.synthetic.scene import Scene, ScenePlan
from opensapiens.synthetic.wardrobe import Wardrobe

MIN_PIXELS = 200
MIN_VISIBLE = 0.25
"""A person with fewer visible pixels, or a smaller visible share, is in the picture but not in the record."""


@dataclass(frozen=True)
class Frame:
    """An image (H, W, 3) uint8 RGB and its labels: instances and parts (H, W) uint8, depth (H, W) in meters and
    normals (H, W, 3), both NaN on the background, alpha (H, W) from 0 to 1, colors (H, W, 3) linear, without light, of
    everything, and the record with camera and persons (see data/shards.py). parts is None for scans."""

    image: np.ndarray
    instances: np.ndarray
    parts: np.ndarray | None
    depth: np.ndarray
    normals: np.ndarray
    alpha: np.ndarray
    colors: np.ndarray
    record: dict[str, Any]

    @property
    def labels(self) -> dict[LabelKind, np.ndarray]:
        """Of everybody, by kind, as shards store them."""
        parts = {} if self.parts is None else {PARTS: self.parts}
        return {**parts, DEPTH: self.depth, NORMALS: self.normals}

    @property
    def all_labels(self) -> dict[LabelKind, np.ndarray]:
        """Also points, alpha and albedo."""
        return {**self.labels, POINTS: self.points(), ALPHA: self.alpha, ALBEDO: self.albedo()}

    def points(self) -> np.ndarray:
        """What is seen at the pixels' centers, (H, W, 3) float32 meters: x right, y down, z forward, which is the
        depth; NaN on the background."""
        camera = PinholeCamera(**{name: self.record["camera"][name] for name in ("fx", "fy", "cx", "cy")})
        rows, columns = np.indices(self.depth.shape)
        return camera.unproject(np.stack([columns, rows], axis=-1), self.depth).astype(np.float32)

    def albedo(self) -> np.ndarray:
        """The people's colors without light, (H, W, 3) float32 from 0 to 1 by the gamma of pictures; NaN on the
        background."""
        shown = cv2.pow(self.colors.clip(0, 1), 1 / GAMMA)
        return cv2.copyTo(shown, (self.instances > 0).view(np.uint8), np.full_like(shown, np.nan))


def photograph(
    rng: np.random.Generator, scene: Scene, backdrop: Backdrop | None, parts_known: bool = True
) -> tuple[Frame, Rendering]:
    """Renders a scene in front of a backdrop, by default the place's own, develops the picture and reads the labels;
    the record has no persons yet."""
    camera = scene.camera
    rendering = render(scene.mesh, scene.materials, camera, scene.light, scene.place.ground, scene.casters)
    mesh, triangle = scene.mesh, rendering.triangle
    instances = np.append(mesh.instance, 0).astype(np.uint8)[triangle]  # -1, no triangle, is the last entry
    people = instances > 0
    parts = np.append(mesh.part * (mesh.instance > 0), 0).astype(np.uint8)[triangle] if parts_known else None
    depth, normals = np.full_like(rendering.depth, np.nan), np.full_like(rendering.normals, np.nan)
    for source, target in ((rendering.depth, depth), (rendering.normals, normals)):
        cv2.copyTo(source, people.view(np.uint8), target)  # numpy is slow along an axis of three
    image, alpha = develop(rng, scene.place, camera, rendering, people, backdrop)
    record = {
        "width": camera.size[1],
        "height": camera.size[0],
        "depth_scale": 0.001,
        "camera": {"fx": camera.focal, "fy": camera.focal, "cx": camera.center[0], "cy": camera.center[1]},
    }
    return Frame(image, instances, parts, depth, normals, alpha, rendering.albedo, record), rendering


def describe_people(
    scene: Scene, plan: ScenePlan, wardrobe: Wardrobe, parameters: bool, instances: np.ndarray, rendering: Rendering
) -> list[dict[str, Any]]:
    """The records of visible people; with `parameters` also their body parameters and 3D keypoints."""
    persons = []
    for i, (person, body) in enumerate(zip(plan.people, scene.bodies, strict=True)):
        mask = instances == i + 1
        points = wardrobe.anatomy.keypoints(body)
        cover = wardrobe.cover(plan.outfits[i])
        keypoints = _keypoints(scene.camera, points, wardrobe.anatomy.keypoint_radius + cover, mask, rendering.depth)
        details = {"pose": person.activity, "age": round(person.phenotype["age"], 3)}
        outline = body[:VERTEX_COUNT:5]
        record = person_record(i + 1, mask, rendering, scene.camera, outline, keypoints, person.yaw, details)
        if record is None:
            continue
        if parameters:
            record["body"] = {
                "phenotype": {name: round(value, 4) for name, value in person.phenotype.items()},
                "expression": {name: round(value, 4) for name, value in person.expression.items()},
                "rotations": np.round(person.pose, 5).reshape(-1, 9).tolist(),
            }
            record["keypoints_3d"] = np.round(points.astype(float), 5).tolist()
        persons.append(record)
    return persons


def person_record(
    instance: int,
    mask: np.ndarray,
    rendering: Rendering,
    camera: Camera,
    outline: np.ndarray,
    keypoints: list[list[float]] | None,
    yaw: float,
    details: dict[str, Any],
) -> dict[str, Any] | None:
    """The record of the person who covers a mask (H, W), or None for one who is hardly visible.

    outline: points of the person in the world (N, 3); details: further fields.
    """
    visible = int(mask.sum())
    alone = int((rendering.people & (1 << (instance - 1)) > 0).sum())
    if visible < MIN_PIXELS or visible < MIN_VISIBLE * alone:
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y, _ = camera.project(outline).T
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    return {
        "id": instance,
        "box": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
        "keypoints": keypoints,
        "height_fraction": round((int(rows[-1]) + 1 - int(rows[0])) / height, 4),
        "yaw_degrees": round(yaw, 1),
        "occluded_fraction": round(1 - visible / alone, 4),
        "truncated": bool(outside.mean() > 0.05),
        **details,
        "visible_pixels": visible,
    }


def _keypoints(
    camera: Camera, points: np.ndarray, tolerance: np.ndarray, mask: np.ndarray, depth: np.ndarray
) -> list[list[float]]:
    """Points (K, 3) as [x, y, visibility]: 2 visible, 1 hidden, 0 outside the frame. A point is visible if the surface
    at its pixel is the person's and less than the tolerance (K,) in front of it."""
    height, width = mask.shape
    pixels = camera.project(points)
    column, row = np.rint(pixels[:, :2]).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (pixels[:, 2] > 0.05)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    visible = inside & mask[row, column] & (pixels[:, 2] - depth[row, column] < tolerance)
    return np.column_stack([np.round(pixels[:, :2].astype(float), 2), np.where(visible, 2, inside)]).tolist()
