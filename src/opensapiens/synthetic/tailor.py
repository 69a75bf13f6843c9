"""Puts the outfits of generator version 2 on posed bodies: skin, eyes, hair, garments that hang, hats and glasses."""

from dataclasses import replace
from typing import Any

import numpy as np

from opensapiens.synthetic.anatomy import FACE_KINDS, VERTEX_COUNT
from opensapiens.synthetic.body import SKIRT, TIGHTS, BodyModel
from opensapiens.synthetic.clothing import (
    APPAREL,
    FACE,
    FAR,
    HAIR_PART,
    Garment,
    Surface,
    Wardrobe,
    any_corner,
    compact,
)
from opensapiens.synthetic.hair import brows, grow, head_of, inside_hairline
from opensapiens.synthetic.materials import Material
from opensapiens.synthetic.outfits import Attire, Loose, draw_attire
from opensapiens.synthetic.props import thing, tube
from opensapiens.synthetic.rasterizer import SOLID, vertex_normals

UNSEEN = {"lashes"}
"""Kinds of faces that are left out: Anny's lashes are opaque sheets."""
BARE_COVER, FACE_COVER, LOOSEST = 0.03, 0.008, 0.04
"""Metres over a point that still count as in sight: on bodies, to which loose cloth adds up to LOOSEST, and on faces
and hands."""


class Tailor(Wardrobe):
    """Draws the looks of people of version 2 and puts them on posed bodies."""

    def __init__(self, model: BodyModel):
        super().__init__(model)
        self.measures = m = model.measures
        rest = m.rest[:VERTEX_COUNT]
        seat = (rest[:, 2] > -0.14) & (rest[:, 2] < 0.05) & (rest[:, 1] > 0.04) & (np.abs(rest[:, 0]) < 0.16)
        self.seat_vertices = np.flatnonzero(seat)
        self._shown = ~self._eye_faces & ~np.isin(self.anatomy.face_kinds, [FACE_KINDS.index(kind) for kind in UNSEEN])
        self._faces, self._parts = self.anatomy.faces[self._shown], self.anatomy.face_parts[self._shown]
        scalp = (self.anatomy.scalp[self._faces] > -0.03).all(1) & (self._parts == FACE)
        self._scalp_faces = np.flatnonzero(scalp)
        groups = np.array([_is_fine(name) for name in self.anatomy.keypoint_names])
        self._fine_points = groups
        self._neighbours = _neighbours(TIGHTS[1] - TIGHTS[0], self.helper_triangles[TIGHTS] - TIGHTS[0])
        self._smoothed: list[np.ndarray] = []
        hairy = np.zeros(VERTEX_COUNT, bool)
        hairy[self._scalp_vertices] = True
        faces = self.anatomy.faces[any_corner(hairy, self.anatomy.faces)]
        triangles = np.concatenate([faces, self.helper_triangles[TIGHTS], self.helper_triangles[SKIRT]])
        self._dressed = compact(triangles)
        self._cheeks = np.exp(-(((np.abs(rest[:, 0]) - 0.045) / 0.022) ** 2 + ((rest[:, 2] - 0.69) / 0.022) ** 2)) * (
            rest[:, 1] < -0.06
        )

    def cover(self, outfit: Any) -> np.ndarray:
        """Metres (308,) that may lie over a point that counts as in sight."""
        return np.where(self._fine_points, FACE_COVER, BARE_COVER + min(outfit.looseness, LOOSEST))

    def draw(self, rng: np.random.Generator, age: float, gender: float) -> Attire:  # type: ignore[override]
        """Looks for a person of an age and gender (Anny's scales, 0..1; gender 0 male)."""
        return draw_attire(rng, self.measures, age, gender)

    def dress(  # type: ignore[override]
        self, vertices: np.ndarray, attire: Attire, points: dict[str, np.ndarray]
    ) -> list[Surface]:
        """Surfaces of a person from the model's posed vertices (19158, 3) and its keypoints by name."""
        used, triangles = self._dressed  # normals of the scalp, the suit and the skirt are all that is needed
        normals = np.zeros_like(vertices)
        normals[used] = vertex_normals(vertices.take(used, 0), triangles)
        skin_keep = np.full(VERTEX_COUNT, FAR, np.float32)
        for garment in attire.garments:
            if garment.hides_skin:
                skin_keep = np.minimum(skin_keep, 0.02 - garment.keep[:VERTEX_COUNT])
        rest = self.measures.rest[:VERTEX_COUNT]
        inside = inside_hairline(attire.hair, self.anatomy, rest)
        surfaces = self._body(vertices[:VERTEX_COUNT], skin_keep, attire, inside)
        body, scalp = vertices[:VERTEX_COUNT], (self._scalp_vertices, self._scalp_triangles)
        surfaces += brows(points, attire.brows, attire.brow_size, FACE)
        if attire.hat:
            surfaces += self._hat(attire, body, normals, points)
        if not attire.hat or attire.hair.style in ("bob", "long", "ponytail", "pigtails"):
            hair = replace(attire.hair, thickness=0.004) if attire.hat else attire.hair
            surfaces += grow(hair, body, normals, rest, scalp, inside, points, HAIR_PART)
        surfaces += self._accessories(attire, points)
        most = max([g.smooth for g in attire.garments if isinstance(g, Loose)], default=0)
        self._smoothed = self._smooth(vertices[slice(*TIGHTS)], most)
        return surfaces + [self._wear(vertices, normals, garment, attire.fold_phase) for garment in attire.garments]

    def _body(self, body: np.ndarray, keep: np.ndarray, attire: Attire, inside: np.ndarray) -> list[Surface]:
        """Skin with all that is painted on it, the inside of the mouth, and the eyeballs."""
        paint = np.empty((len(body), 4), np.float32)
        tone = attire.skin.first
        hair = 0.7 * attire.hair.material.first + 0.3 * attire.hair.material.second
        paint[:, :3], paint[:, 3] = tone * [1.25, 0.75, 0.72], attire.blush * self._cheeks
        layers = [
            ("ears", tone * [1.2, 0.78, 0.72], 0.35),
            ("eyelids", tone * [0.85, 0.66, 0.62], 0.45),
            ("areolae", tone * [0.75, 0.5, 0.45], 0.8),
            ("nails", tone * [1.15, 0.95, 0.95] + 0.03, 0.7),
            ("beard", hair * 0.7 + tone * 0.15, attire.beard),
            ("lips", attire.lips, 0.75),
            ("mouth", np.array([0.18, 0.03, 0.03]), 1.0),
            ("teeth", np.array([0.75, 0.72, 0.64]), 1.0),
            ("tongue", np.array([0.5, 0.15, 0.15]), 1.0),
        ]
        for region, color, strength in layers:
            vertices, opacity = self._regions[region]
            _lay_on(paint, vertices, color, strength * opacity)
        style = attire.hair.style
        if style != "bald" or attire.hair.receding:
            shade = np.clip(inside / 0.012, 0, 1) * (0.75 if style in ("buzz", "bald") else 0.97)
            grown = np.flatnonzero(shade > 0.02)
            _lay_on(paint, grown, hair, shade[grown])
        parts = self._parts.copy()
        if style != "bald":
            grown = ~any_corner(inside <= 0.003, self._faces[self._scalp_faces])
            parts[self._scalp_faces[grown]] = HAIR_PART
        bare = any_corner(keep > 0, self._faces)  # the rest is under clothes
        skin = Surface(body, self._texture, paint, keep, self._faces.compress(bare, 0), parts[bare], attire.skin)
        return [skin, self._eyeballs(body, keep, attire.eyes)]

    def _hat(
        self, attire: Attire, body: np.ndarray, normals: np.ndarray, points: dict[str, np.ndarray]
    ) -> list[Surface]:
        used, triangles = self._scalp_vertices, self._scalp_triangles
        rest = self.measures.rest[used]
        inside = self.anatomy.scalp[used] + (0.012 if attire.hat == "beanie" else 0.002)
        thick = {"beanie": 0.014, "cap": 0.014, "brim": 0.016, "helmet": 0.035}[attire.hat]
        high = np.clip((rest[:, 2] - 0.76) / 0.09, 0, 1) * (0.02 if attire.hat in ("beanie", "brim") else 0.006)
        crown = body[used] + normals[used] * (thick + high)[:, None]
        look = attire.hat_look
        if attire.hat == "helmet":
            look = Material(look.first, look.first, SOLID, 1.0, 0.5)
        parts = np.full(len(triangles), APPAREL, np.uint8)
        surfaces = [Surface(crown, rest, np.zeros((len(used), 4)), inside, triangles, parts, look)]
        if attire.hat in ("cap", "brim"):
            head = head_of(points)
            full = attire.hat == "brim"
            around = np.linspace(-np.pi, np.pi, 33) if full else np.linspace(-1.15, 1.15, 17)
            near = np.array([0.09, 0.112, 0.0]) * np.stack([np.sin(around), -np.cos(around), 0 * around], 1)
            near += [0, 0.012, 0.062]
            reach = 0.07 if full else 0.085 * np.cos(around / 1.15 * np.pi / 2)[:, None] ** 0.6
            far = near + reach * np.stack([np.sin(around), -np.cos(around), -0.15 + 0 * around], 1)
            sheet = head.world(np.concatenate([near, far]))
            count = len(around)
            i = np.arange(count - 1)
            faces = np.concatenate([np.stack([i, i + count, i + 1], 1), np.stack([i + 1, i + count, i + count + 1], 1)])
            surfaces.append(thing(sheet, np.concatenate([near, far]), faces, look, APPAREL))
        return surfaces

    def _accessories(self, attire: Attire, points: dict[str, np.ndarray]) -> list[Surface]:
        surfaces = []
        head = head_of(points)
        if attire.glasses is not None:
            eyes = [head.local(points[f"{side}_eye"]) for side in ("left", "right")]
            for eye, side in zip(eyes, ("left", "right"), strict=True):
                angle = np.linspace(0, 2 * np.pi, 17)
                ring = np.stack([0.026 * np.cos(angle), 0 * angle, 0.02 * np.sin(angle)], 1)
                ring += eye + [0, -0.02, -0.003]
                ring[:, 1] += 6 * (ring[:, 0] - eye[0]) ** 2 + 0.1 * np.abs(ring[:, 0] - 0)
                surfaces.append(tube(attire.glasses, head.world(ring), np.full(17, 0.0017), 5, part=APPAREL))
                if attire.lens is not None:
                    middle = ring[:-1].mean(0)
                    i = np.arange(16)
                    fan = np.concatenate([head.world(ring[:-1]), head.world(middle)[None]])
                    faces = np.stack([i, (i + 1) % 16, np.full(16, 16)], 1)
                    surfaces.append(thing(fan, fan, faces, attire.lens, APPAREL))
                hinge = eye + [0.028 if side == "left" else -0.028, -0.012, 0.004]
                ear = head.local(points[f"{side}_ear"])
                temple = np.stack([hinge, [ear[0], ear[1], 0.018 + ear[2]]])
                temple[1, 0] += 0.004 if side == "left" else -0.004
                surfaces.append(tube(attire.glasses, head.world(temple), np.full(2, 0.0018), 5, part=APPAREL))
            bridge = np.stack([eyes[0] + [-0.024, -0.018, 0.004], eyes[1] + [0.024, -0.018, 0.004]])
            surfaces.append(tube(attire.glasses, head.world(bridge), np.full(2, 0.0018), 5, part=APPAREL))
        if attire.scarf is not None:
            angle = np.linspace(0, 2 * np.pi, 25)
            neck = 0.5 * points["neck"] + 0.5 * (0.4 * head.origin + 0.6 * points["neck"])
            ring = np.stack([0.085 * np.cos(angle), 0.09 * np.sin(angle) - 0.01, 0.012 * np.sin(3 * angle)], 1)
            path = neck + head.size * ring @ head.axes
            surfaces.append(tube(attire.scarf, path, np.full(25, 0.03) * head.size, 10, 1.2, APPAREL))
        return surfaces

    def _off_body(
        self, base: np.ndarray, normals: np.ndarray, used: np.ndarray, lift: np.ndarray, garment: Garment
    ) -> np.ndarray:
        if not isinstance(garment, Loose):
            return super()._off_body(base, normals, used, lift, garment)
        if garment.slack is not None:
            lift = lift + garment.slack[garment.span[0] : garment.span[1]][used]
        smooth = self._smoothed[min(garment.smooth, len(self._smoothed) - 1)].take(used, 0)[:, :3]
        points = smooth + normals * lift[:, None]
        outside = np.einsum("vd,vd->v", points - base, normals)
        return points + normals * np.maximum(0.9 * lift - outside, 0)[:, None]

    def _smooth(self, suit: np.ndarray, times: int) -> list[np.ndarray]:
        """The suit's vertices (V, 3), and smoothed once, twice, ...: (V + 1, 4) with zeros at the ends, since numpy
        picks rows of four several times as fast as rows of three."""
        table, stays, share = self._neighbours
        levels = [np.zeros((len(suit) + 1, 4), suit.dtype)]
        levels[0][:-1, :3] = suit
        for _ in range(times):
            before, after = levels[-1], np.zeros_like(levels[0])
            around = before.take(table[0], 0)
            for column in table[1:]:
                around += before.take(column, 0)
            np.add(stays * before[:-1], share * around, after[:-1])
            levels.append(after)
        return levels


def _lay_on(paint: np.ndarray, vertices: np.ndarray, color: np.ndarray, opacity: np.ndarray) -> None:
    """Paints some vertices (N,) anew, with one colour and their opacities (N,)."""
    layer = np.empty((len(vertices), 4), paint.dtype)
    layer[:, :3], layer[:, 3] = color, opacity
    paint[vertices] = layer


def _neighbours(count: int, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (6, V) next to each along the edges of quadrilaterals, whose halves are i and i + T / 2 of the
    triangles, padded with V; and what a vertex and each next to it count in smoothing (V, 4), 1 and 0 on the border."""
    half = len(triangles) // 2
    quads = np.concatenate([triangles[:half], triangles[half:, 2:]], 1)
    edges = np.sort(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    inner = np.ones(count)
    inner[edges[uses == 1].ravel()] = 0.0
    ends = np.concatenate([edges, edges[:, ::-1]])
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    place = np.arange(len(ends)) - np.searchsorted(ends[:, 0], np.arange(count))[ends[:, 0]]
    table = np.full((6, count), count)
    table[place[place < 6], ends[place < 6, 0]] = ends[place < 6, 1]
    share = (0.6 * inner / np.maximum((table < count).sum(0), 1)).astype(np.float32).repeat(4).reshape(-1, 4)
    return table, np.where(share > 0, np.float32(0.4), np.float32(1.0)), share


def _is_fine(name: str) -> bool:
    """Whether a keypoint is one of the face or a finger, on bare skin."""
    body = (
        "shoulder",
        "elbow",
        "hip",
        "knee",
        "ankle",
        "wrist",
        "toe",
        "heel",
        "olecranon",
        "fossa",
        "acromion",
        "neck",
    )
    return not any(word in name for word in body)
