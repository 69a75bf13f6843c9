"""What agreement between views repairs: a synthetic rig with noise, outliers, exchanged sides and a bad camera.

    python benchmarks/annotation.py                          # 8, 16 and 32 cameras, points; needs the extra "synthetic"
    python benchmarks/annotation.py --parts                  # parts: rendered maps with corrupted labels
    python benchmarks/annotation.py --studio DIR --cameras 8 --people 2    # pictures to try the command on

Bodies of the synthetic generator in random poses stand in a ring of cameras (three heights, a lens with distortion).
Each of the 308 points is projected and spoilt: Gaussian noise of half a human annotator's spread, 8 % outliers anywhere
in the person's box, sides exchanged all over the body in 5 % of the views, points behind the body missed or guessed
(noise four times as large, lower score), and one camera turned by a degree and moved by 3 cm after calibration.
"Before" is what a model would have labeled each view with, "plain" the linear triangulation of all of it, "after" what
`opensapiens annotate` writes for the points that it does not send to a person.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro

from opensapiens.annotation.agreement import SURE, Agreement, Measured, agree
from opensapiens.annotation.association import Detection, associate
from opensapiens.annotation.parts import PartView, agree_on_parts
from opensapiens.geometry.cameras import CalibratedCamera, look_at
from opensapiens.geometry.triangulation import triangulate
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.labels.parts import SAPIENS_28

SIZE = (1080, 1920)
PART_SIZE = (540, 960)
NOISE, GUESS, OUTLIERS, SWAPS = 0.5, 4.0, 0.08, 0.05
COVER = 0.03  # meters of flesh over a point that still counts as visible


def main(
    cameras: tuple[int, ...] = (8, 16, 32),
    people: int = 12,
    seed: int = 0,
    parts: bool = False,
    studio: Path | None = None,
    picture: Path | None = None,
    output: Path | None = None,
) -> None:
    """Prints the figures of each size of the rig.

    Args:
        cameras: sizes of the rig.
        people: how many bodies, each alone in the rig; they are then put in it four at a time to be told apart.
        seed: another seed, other people and other noise.
        parts: measure body parts instead of points.
        studio: measure nothing; write pictures of such a rig and their calibration here, to try `annotate` on.
        picture: measure nothing; draw views before and after.
        output: also write the figures here, as JSON.
    """
    if studio is not None:
        write_studio(studio, cameras[0], people, seed)
        return
    if picture is not None:
        draw_picture(picture, seed)
        return
    rows = []
    for count in cameras:
        rows.append(parts_row(count, max(2, people // 4), seed) if parts else points_row(count, people, seed))
        for name, value in rows[-1].items():
            print(f"{name:32} {value:.3g}" if isinstance(value, float) else f"{name:32} {value}", flush=True)
    if output is not None:
        output.write_text(json.dumps(rows, indent=1) + "\n")


def ring(
    count: int, radius: float = 4.0, focal: float = 1500.0, size: tuple[int, int] = SIZE
) -> list[CalibratedCamera]:
    """Cameras around the origin that look at a point 0.9 m above it, at three heights in turn."""
    made = []
    matrix = np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
    for i in range(count):
        angle = 2 * np.pi * i / count
        position = np.array([radius * np.cos(angle), radius * np.sin(angle), (0.6, 1.5, 2.6)[i % 3]])
        rotation = look_at(position, np.array([0, 0, 0.9]))
        lens = np.array([-0.12, 0.03, 0.0005, -0.0003, 0.0])
        made.append(CalibratedCamera(f"cam_{i:02d}", matrix, rotation, -rotation @ position, lens, size))
    return made


def moved(camera: CalibratedCamera) -> CalibratedCamera:
    """The camera as it really stands after somebody has knocked it: turned by a degree, 3 cm away."""
    turn = cv2.Rodrigues(np.deg2rad([0.6, -0.8, 0.0]))[0]
    return replace(camera, rotation=turn @ camera.rotation, translation=turn @ camera.translation + [0.02, 0.02, 0.01])


def bodies(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, V, 3) of people in random poses, and their 308 points (N, 308, 3), meters, z up."""
    from opensapiens.synthetic.anatomy import VERTEX_COUNT, load_anatomy
    from opensapiens.synthetic.body import BodyModel

    model, rng = BodyModel(), np.random.default_rng(seed)
    vertices = model.vertices([model.draw(rng) for _ in range(count)])[:, :VERTEX_COUNT]
    return vertices, load_anatomy().keypoints(vertices)


def visible(camera: CalibratedCamera, vertices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points (K,) no vertex of the body lies in front of: a coarse z-buffer of dense vertices."""
    from opensapiens.synthetic.anatomy import load_anatomy

    cell = 8
    nearest = np.full((SIZE[0] // cell + 1, SIZE[1] // cell + 1), np.inf)
    row, column, depth = _cells(camera, vertices, cell, nearest.shape)
    np.minimum.at(nearest, (row, column), depth)
    row, column, depth = _cells(camera, points, cell, nearest.shape)
    return depth < nearest[row, column] + COVER + load_anatomy().keypoint_radius


def _cells(
    camera: CalibratedCamera, points: np.ndarray, cell: int, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pixels = np.nan_to_num(camera.project(points), nan=-1e6)
    column, row = (pixels // cell).astype(int).T
    return row.clip(0, shape[0] - 1), column.clip(0, shape[1] - 1), camera.to_camera(points)[:, 2]


def spoilt(
    rng: np.random.Generator, camera: CalibratedCamera, vertices: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What a model makes of a body in a view: points (K, 2), scores (K,), box (4,), and the true pixels (K, 2)."""
    truth = camera.project(points)
    outline = camera.project(vertices)
    box = np.concatenate([np.nanmin(outline, 0), np.nanmax(outline, 0)])
    side = np.sqrt(0.53 * np.prod(box[2:] - box[:2]))
    hidden = ~visible(camera, vertices, points)
    spread = NOISE * SAPIENS_308.sigmas * side * np.where(hidden, GUESS, 1)
    measured = truth + rng.normal(size=truth.shape) * spread[:, None]
    scores = np.where(hidden, rng.uniform(0.05, 0.7, len(truth)), rng.uniform(0.6, 1, len(truth)))
    wild = rng.random(len(truth)) < OUTLIERS
    measured[wild] = rng.uniform(box[:2], box[2:], (len(truth), 2))[wild]
    if rng.random() < SWAPS:
        measured, scores = measured[SAPIENS_308.flip_indices], scores[SAPIENS_308.flip_indices]
    return measured, scores, box, truth


def points_row(count: int, people: int, seed: int) -> dict[str, float | int]:
    """The figures of one size of the rig."""
    cameras = ring(count)
    rng = np.random.default_rng([seed, count])
    vertices, points = bodies(people, seed)
    real = [moved(camera) if v == count // 2 else camera for v, camera in enumerate(cameras)]
    views = [[spoilt(rng, camera, *body) for camera in real] for body in zip(vertices, points, strict=True)]
    stack = [np.array([[view[part] for view in body] for body in views]) for part in range(4)]
    measured = Measured(*stack[:3], person=np.arange(people))
    found = agree(cameras, measured, SAPIENS_308, seed)
    return (
        {"cameras": count}
        | point_figures(cameras, measured, stack[3], points, found, count // 2)
        | {"people told apart": told_apart(cameras, views, points, people)}
    )


def point_figures(
    cameras: list[CalibratedCamera],
    measured: Measured,
    truth: np.ndarray,
    points: np.ndarray,
    found: Agreement,
    bad: int,
) -> dict[str, float | int]:
    """Errors in pixels of the views and in millimeters in space, of points that nobody is asked to look at."""
    good = np.arange(len(cameras)) != bad
    side = np.sqrt(0.53 * np.prod(measured.boxes[..., 2:] - measured.boxes[..., :2], axis=-1))
    spread = side[..., None] * SAPIENS_308.sigmas
    before = np.linalg.norm(measured.points - truth, axis=-1)
    after = np.linalg.norm(found.projected - truth, axis=-1)
    kept = found.reason == 0
    everywhere = np.broadcast_to(kept[:, None], before.shape)[:, good]
    rays = np.stack([camera.rays(measured.points[:, v]) for v, camera in enumerate(cameras)], 1)
    extrinsics = np.stack([camera.extrinsics for camera in cameras])
    weights = np.where(measured.scores >= SURE, measured.scores, 0)
    plain = np.stack([triangulate(r, extrinsics, w) for r, w in zip(rays, weights, strict=True)])
    far = {
        name: 1000 * np.linalg.norm(made - points, axis=-1)
        for name, made in (("plain", plain), ("after", found.points))
    }
    body = np.array([group != "face" for group in SAPIENS_308.groups])
    return {
        "2D before, median px": float(np.median(before[:, good])),
        "2D before, 95 %": float(np.percentile(before[:, good], 95)),
        "2D after, median px": float(np.median(after[:, good][everywhere])),
        "2D after, 95 %": float(np.percentile(after[:, good][everywhere], 95)),
        "off by > 1 spread before, %": 100 * float((before > spread)[:, good].mean()),
        "off by > 1 spread after, %": 100 * float((after > spread)[:, good][everywhere].mean()),
        "3D plain, median mm": float(np.nanmedian(far["plain"])),
        "3D after, median mm": float(np.median(far["after"][kept])),
        "3D after, 95 %": float(np.percentile(far["after"][kept], 95)),
        "to a person, %": 100 * float((~kept).mean()),
        "to a person without the face, %": 100 * float((~kept[:, body]).mean()),
        "camera found": bool(found.left_out[bad]) and int(found.left_out.sum()) == 1,
    }


def told_apart(cameras: list[CalibratedCamera], views: list, points: np.ndarray, people: int) -> str:
    """Four people at a time within 1.5 m of each other: in how many views each is put with most of their own."""
    right = total = 0
    for start in range(0, people - 3, 4):
        rng = np.random.default_rng(start)
        places = np.array([[-0.75, 0, 0], [0.75, 0, 0], [0, 0.75, 0], [0, -0.75, 0]]) + rng.normal(0, 0.1, (4, 3)) * [
            1,
            1,
            0,
        ]
        detections: list[list[Detection]] = []
        whose = []
        for v, camera in enumerate(cameras):
            order = rng.permutation(4)
            made = []
            for k in order:
                xy, scores, _, truth = views[start + k][v]
                shift = camera.project(points[start + k] + places[k])
                ratio = np.median(
                    camera.to_camera(points[start + k])[:, 2] / camera.to_camera(points[start + k] + places[k])[:, 2]
                )
                moved_box = np.concatenate([np.nanmin(shift, 0), np.nanmax(shift, 0)])
                made.append(Detection(shift + (xy - truth) * ratio, scores, moved_box))
            detections.append(made)
            whose.append(order)
        largest = dict.fromkeys(range(4), 0)
        for person in associate(cameras, detections, SAPIENS_308):
            names = [int(whose[v][d]) for v, d in person.items()]
            for k in set(names):
                largest[k] = max(largest[k], names.count(k) if 2 * names.count(k) > len(names) else 0)
        right += sum(largest.values())
        total += 4 * len(cameras)
    return f"{right} of {total}"


def parts_row(count: int, people: int, seed: int) -> dict[str, float | int]:
    """Rendered part maps of dressed people, spoilt, and what agreement makes of them."""
    cameras = [replace(camera, distortion=np.zeros(0)) for camera in ring(count, size=PART_SIZE, focal=750.0)]
    total = np.zeros(8)
    for person in range(people):
        rng = np.random.default_rng([seed, count, person])
        truth, low, high = rendered(cameras, [seed, person])
        views = [spoilt_parts(rng, camera, parts) for camera, parts in zip(cameras, truth, strict=True)]
        made = agree_on_parts(views, low, high, len(SAPIENS_28))
        for view, after, doubt, right in zip(views, made.parts, made.doubtful, truth, strict=True):
            judged = view.person & (right > 0)
            wrong, still = judged & (view.parts != right), judged & (after != right)
            total += [
                judged.sum(), wrong.sum(), still.sum(), (still & ~wrong).sum(), doubt.sum(),
                (doubt & still).sum(), (judged & ~doubt).sum(), (still & ~doubt).sum(),
            ]  # fmt: skip
    pixels, wrong, still, spoilt_by_us, doubt, doubt_wrong, sure, sure_wrong = total.tolist()
    return {
        "cameras": count,
        "wrong before, %": 100 * wrong / pixels,
        "wrong after, %": 100 * still / pixels,
        "made wrong, %": 100 * spoilt_by_us / pixels,
        "to a person, %": 100 * doubt / pixels,
        "of these wrong, %": 100 * doubt_wrong / max(doubt, 1),
        "wrong among the rest, %": 100 * sure_wrong / sure,
    }


def rendered(cameras: list[CalibratedCamera], numbers: list[int]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The true part map (H, W) of each camera of a dressed person alone, and a box in the world around the person."""
    scene = dressed(numbers)
    maps = [shot(scene, camera)[1] for camera in cameras]
    low, high = scene.bodies[0].min(0), scene.bodies[0].max(0)
    margin = 0.1 * float((high - low).max())
    return maps, low - margin, high + margin


def dressed(numbers: list[int]) -> Any:
    """A scene of the synthetic generator with one person and little else."""
    from opensapiens.synthetic.body import BodyModel
    from opensapiens.synthetic.scene import build_scene, plan_scene
    from opensapiens.synthetic.style import Style
    from opensapiens.synthetic.wardrobe import Wardrobe

    model = BodyModel()
    rng = np.random.default_rng(numbers)
    style = replace(Style(), people=(1.0,), occluders=0.0)
    plan = plan_scene(rng, style, model)
    return build_scene(rng, style, plan, model.vertices(plan.people), Wardrobe(model), surrounded=True)


def shot(scene: Any, camera: CalibratedCamera) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 RGB of a scene, and its part map (H, W), from a camera without distortion."""
    from opensapiens.synthetic.rasterizer import Camera, render

    assert camera.size is not None and not camera.distortion.any()
    matrix, flip = camera.matrix, np.diag([1.0, -1, -1])  # the generator's cameras have y up and look along -z
    center = float(matrix[0, 2]), float(matrix[1, 2])
    seen = Camera(flip @ camera.rotation, camera.position, float(matrix[0, 0]), center, camera.size)
    made = render(scene.mesh, scene.materials, seen, scene.light, scene.place.ground)
    person = (made.triangle >= 0) & (scene.mesh.instance[made.triangle] == 1)
    light = made.color * made.covered[..., None] + 0.35 * (1 - made.covered[..., None])
    picture = np.clip(light / max(2 * float(np.median(light[person])), 0.05), 0, 1) ** (1 / 2.2)
    return np.rint(picture * 255).astype(np.uint8), np.where(person, scene.mesh.part[made.triangle], 0).astype(np.uint8)


def write_studio(folder: Path, count: int, frames: int, seed: int) -> None:
    """Pictures of a dressed person by a ring of cameras, folder/CAMERA/FRAME.jpg, with folder/calibration.json."""
    from PIL import Image

    from opensapiens.annotation.calibration import write_cameras

    cameras = [replace(camera, distortion=np.zeros(0)) for camera in ring(count, size=(720, 1280), focal=1000.0)]
    for frame in range(frames):
        scene = dressed([seed, frame])
        for camera in cameras:
            path = folder / "pictures" / camera.name / f"{frame:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shot(scene, camera)[0]).save(path, quality=92)
    write_cameras(folder / "calibration.json", cameras)


def draw_picture(path: Path, seed: int) -> None:
    """Four of eight views of a dressed person: what each view says of 308 points, and what the views agree on."""
    from PIL import Image

    from opensapiens.drawing import draw_keypoints, sheet
    from opensapiens.synthetic.anatomy import VERTEX_COUNT, load_anatomy

    cameras = [replace(camera, distortion=np.zeros(0)) for camera in ring(8, size=(720, 1280), focal=1000.0)]
    scene = dressed([seed, 0])
    vertices = scene.bodies[0][:VERTEX_COUNT]
    points = load_anatomy().keypoints(vertices)
    rng = np.random.default_rng(seed)
    views = [spoilt(rng, camera, vertices, points) for camera in cameras]
    measured = Measured(*(np.array([[view[part] for view in views]]) for part in range(3)), person=np.zeros(1, int))
    found = agree(cameras, measured, SAPIENS_308, seed)
    before, after = [], []
    for v in range(0, 8, 2):
        image = shot(scene, cameras[v])[0]
        x1, y1, x2, y2 = views[v][2]
        middle, half = (x1 + x2) / 2, 0.6 * max(y2 - y1, x2 - x1)
        rows = slice(max(int((y1 + y2) / 2 - half), 0), int((y1 + y2) / 2 + half))
        columns = slice(int(middle - 0.75 * half), int(middle + 0.75 * half))
        drawn = draw_keypoints(image, views[v][0], views[v][1], SAPIENS_308, person_size=y2 - y1)
        before.append(drawn[rows, columns])
        kept = (found.reason[0] == 0).astype(float)
        after.append(
            draw_keypoints(image, found.projected[0, v], kept, SAPIENS_308, person_size=y2 - y1)[rows, columns]
        )
    titles = [f"{cameras[v].name}: {word}" for word in ("on its own", "agreed") for v in range(0, 8, 2)]
    Image.fromarray(sheet(before + after, titles, 420, columns=4)).save(path, quality=82)


def spoilt_parts(rng: np.random.Generator, camera: CalibratedCamera, truth: np.ndarray) -> PartView:
    """What a model makes of a person's parts: wavy borders, three patches of other parts, sides exchanged in 10 % of
    the views, and an outline that is a few pixels off."""
    height, width = truth.shape
    waves = [cv2.GaussianBlur(rng.normal(size=truth.shape).astype(np.float32), (0, 0), 8) for _ in range(2)]
    shift = [wave / max(np.abs(wave).max(), 1e-6) * 4 for wave in waves]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    parts = cv2.remap(truth, x + shift[0], y + shift[1], cv2.INTER_NEAREST)
    rows, columns = np.nonzero(parts)
    if len(rows):
        radius = 0.05 * np.ptp(rows)
        for _ in range(3):
            at = rng.integers(len(rows))
            near = np.hypot(y - rows[at], x - columns[at]) < radius
            parts[near & (parts > 0)] = rng.integers(1, len(SAPIENS_28))
    if rng.random() < 0.1:
        parts = SAPIENS_28.flip_indices[parts].astype(np.uint8)
    return PartView(camera, parts, parts > 0, np.zeros(truth.shape, bool))


if __name__ == "__main__":
    tyro.cli(main)
