"""A z-buffer and a shader for triangle meshes, as Warp kernels (CPU and GPU).

At the image sizes used for training most triangles of a body cover a pixel or two, so filling triangles costs about a
twentieth of casting a ray per pixel; shadows come from a second z-buffer seen from the light. Labels are read at pixel
centers of the same z-buffer, so they are exact for the image.

Camera frame: +x right, +y up, +z towards the camera. Integer image coordinates are pixel centers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import warp as wp

from opensapiens.synthetic.kernels import add_normals, fill, shade
from opensapiens.synthetic.materials import Material

SHADOW_SIZE = 256
MAX_PEOPLE = 32


@dataclass(frozen=True)
class Mesh:
    """Triangles of a scene, all in world coordinates (meters, z up).

    All float arrays are float32. vertices (V, 3), normals (V, 3) unit, texture (V, 3) the surface coordinate that
    patterns are computed from (meters; u and v where the material is an IMAGE), paint (V, 4) RGB and opacity over the
    material, keep (V,) the surface is cut away where it is negative (hems, necklines), triangles (T, 3), material (T,),
    part (T,) class id, instance (T,) 0 for things and 1.. for people.
    """

    vertices: np.ndarray
    normals: np.ndarray
    texture: np.ndarray
    paint: np.ndarray
    keep: np.ndarray
    triangles: np.ndarray
    material: np.ndarray
    part: np.ndarray
    instance: np.ndarray


@dataclass(frozen=True)
class Materials:
    """The materials of a mesh, by index, and the atlas (H, W, 3) uint8 sRGB that holds their pages."""

    materials: Sequence[Material]
    atlas: np.ndarray | None = None

    def column(self, name: str) -> np.ndarray:
        """One field of all materials (M, ...)."""
        return np.array([getattr(material, name) for material in self.materials])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: rotation (3, 3) world to camera, position (3,), focal length and principal point in pixels."""

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    center: tuple[float, float]
    size: tuple[int, int]

    def pose(self) -> dict[str, list]:
        """Rotation (3, 3), world to camera (+x right, +y up, +z towards the camera), and position in meters."""
        return {"rotation": self.rotation.tolist(), "position": self.position.tolist()}

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) in meters in the camera frame."""
        return (points - self.position.astype(np.float32)) @ self.rotation.T.astype(np.float32)

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) as (N, 3): pixel x, pixel y, depth in meters."""
        x, y, z = self.to_camera(points).T
        depth = np.where(np.abs(z) < 1e-6, np.float32(1e-6), -z)
        scale = np.float32(self.focal) / depth
        return np.stack([self.center[0] + scale * x, self.center[1] - scale * y, depth], 1)

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Directions (..., 3) through pixels, in the camera frame and with depth 1."""
        return np.stack([(x - self.center[0]) / self.focal, (self.center[1] - y) / self.focal, -np.ones_like(x)], -1)


@dataclass(frozen=True)
class Light:
    """A distant key light with a shadow, and a sky that fades from above to below (linear colors (3,)).

    harmonics (9, 3): the light of a panorama in place of that sky; see environment.harmonics.
    """

    direction: np.ndarray
    color: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    softness: float
    harmonics: np.ndarray | None = None


@dataclass(frozen=True)
class Casters:
    """Shadow casters: the first `count` triangles of a mesh cast shadows, also from the sky, inside the box from low
    to high (3,); the shadow maps are `size` pixels wide. Without Casters all triangles cast shadows, but none from
    the sky."""

    count: int
    low: np.ndarray
    high: np.ndarray
    size: int = 256


@dataclass(frozen=True)
class Rendering:
    """What the camera sees: color (H, W, 3) linear, covered (H, W) 0 to 1 where mesh or floor hides the backdrop,
    triangle (H, W) index or -1, depth (H, W) meters along the view axis, normals (H, W, 3) in the camera frame, albedo
    (H, W, 3) linear color of the surface, people (H, W) uint32: bit i - 1 is set where person i would be visible if
    nothing else were there."""

    color: np.ndarray
    covered: np.ndarray
    triangle: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    albedo: np.ndarray
    people: np.ndarray


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32, the area-weighted mean of the faces around each vertex."""
    normals = wp.zeros(len(vertices), dtype=wp.vec3)
    run = _run(len(triangles))
    inputs = [run, _floats(vertices, wp.vec3), _indices(triangles), normals]
    wp.launch(add_normals, dim=-(-len(triangles) // run), inputs=inputs)
    result = normals.numpy()
    return result / np.maximum(np.sqrt(np.einsum("vd,vd->v", result, result))[:, None], 1e-12)


def _floats(array: np.ndarray, dtype: type) -> wp.array:
    return wp.array(np.ascontiguousarray(array, np.float32), dtype=dtype, copy=False)


def _indices(array: np.ndarray) -> wp.array:
    return wp.array(np.ascontiguousarray(array, np.int32), dtype=wp.int32, copy=False)


_NO_INDEX = wp.empty((1, 1), dtype=wp.uint64)
_NO_PERSON = wp.empty(1, dtype=wp.int32)
_NO_PEOPLE = wp.empty((1, 1), dtype=wp.uint32)
_NO_ATLAS = wp.empty((1, 1), dtype=wp.vec3ub)
_NO_MAP = wp.empty((1, 1), dtype=wp.float32)
_ZENITH = np.array([0.0, 0.0, 1.0])
_NO_HARMONICS = wp.empty(0, dtype=wp.vec3)


def _run(count: int) -> int:
    """How many of `count` work items a thread takes. On a CPU, where threads run one after another, Warp reads a
    kernel's arguments again for each thread, which here takes as long as the work."""
    return 1 if wp.get_device().is_cuda else count


def render(
    mesh: Mesh,
    materials: Materials,
    camera: Camera,
    light: Light,
    ground: float | None,
    casters: Casters | None = None,
) -> Rendering:
    """Renders a mesh: colors before exposure and backdrop, and what is seen at the center of every pixel.

    ground: radius in meters of a floor at height 0 of the first material, which receives shadows and fades into the
    backdrop; None for no floor. Raises ValueError for more people than MAX_PEOPLE.
    """
    if mesh.instance.max(initial=0) > MAX_PEOPLE:
        raise ValueError(f"{mesh.instance.max()} people; a frame can have at most {MAX_PEOPLE}")
    height, width = camera.size
    triangles = _indices(mesh.triangles)
    pixels = camera.project(mesh.vertices)
    depth = pixels[:, 2]  # becomes 1 / depth, which is linear on the screen, or 0 too near to or behind the camera
    pixels[:, 2] = np.where(depth > 0.05, 1.0 / np.maximum(depth, 0.05), 0.0)
    screen = _floats(pixels, wp.vec3)
    keep = _floats(mesh.keep, wp.float32)
    index, people = _z_buffer(screen, keep, triangles, _indices(mesh.instance), (height, width))

    toward, light_u, light_v, origin, scale, shadow = _shadow_map(mesh, light.direction, keep, triangles, casters)
    above_origin, above_scale, above = np.zeros(3), 1.0, _NO_MAP
    if casters is not None:
        *_, above_origin, above_scale, above = _shadow_map(mesh, _ZENITH, keep, triangles, casters)
    run = _run(width)
    color = wp.zeros((height, width), dtype=wp.vec3)
    covered = wp.zeros((height, width), dtype=wp.float32)
    depths = wp.zeros((height, width), dtype=wp.float32)
    normals = wp.zeros((height, width), dtype=wp.vec3)
    albedo = wp.zeros((height, width), dtype=wp.vec3)
    wp.launch(
        shade,
        dim=(height, -(-width // run)),
        inputs=[
            run,
            index,
            screen,
            triangles,
            _floats(mesh.vertices, wp.vec3),
            _floats(mesh.normals, wp.vec3),
            _floats(mesh.texture, wp.vec3),
            _floats(mesh.paint, wp.vec4),
            _indices(mesh.material),
            _floats(materials.column("first"), wp.vec3),
            _floats(materials.column("second"), wp.vec3),
            _indices(materials.column("pattern")),
            _floats(materials.column("frequency"), wp.float32),
            _floats(materials.column("gloss"), wp.float32),
            _floats(materials.column("page"), wp.vec4),
            _floats(materials.column("relief"), wp.vec3),
            _floats(materials.column("scatter"), wp.float32),
            _floats(materials.column("glow"), wp.float32),
            _NO_ATLAS if materials.atlas is None else wp.array(materials.atlas, dtype=wp.vec3ub, copy=False),
            wp.mat33(*camera.rotation.astype(np.float32).ravel()),
            wp.vec3(*camera.position),
            camera.focal,
            wp.vec2(*camera.center),
            wp.vec3(*toward),
            wp.vec3(*light_u),
            wp.vec3(*light_v),
            wp.vec3(*origin),
            scale,
            shadow,
            light.softness,
            wp.vec3(*above_origin),
            above_scale,
            above,
            wp.vec3(*light.color),
            wp.vec3(*light.sky),
            wp.vec3(*light.ground),
            _NO_HARMONICS if light.harmonics is None else _floats(light.harmonics, wp.vec3),
            ground or 0.0,
        ],
        outputs=[color, covered, depths, normals, albedo],
    )
    return Rendering(
        color.numpy(), covered.numpy(), index.numpy(), depths.numpy(), normals.numpy(), albedo.numpy(), people
    )


def _z_buffer(
    points: wp.array, keep: wp.array, triangles: wp.array, instance: wp.array, size: tuple[int, int]
) -> tuple[wp.array, np.ndarray]:
    """The nearest triangle (H, W) int32 at each pixel, or -1; and Rendering.people."""
    winner, touched = wp.zeros(size, dtype=wp.uint64), wp.zeros(size, dtype=wp.uint32)
    count = triangles.shape[0]
    run = _run(count)
    inputs = [run, count, points, keep, triangles, wp.empty(size, dtype=wp.float32), winner, instance, touched, 1]
    wp.launch(fill, dim=-(-count // run), inputs=inputs)
    return _indices((winner.numpy() & 0xFFFFFFFF).astype(np.int32) - 1), touched.numpy()


def _shadow_map(
    mesh: Mesh, direction: np.ndarray, keep: wp.array, triangles: wp.array, casters: Casters | None
) -> tuple:
    """A height map of the mesh seen from a direction, in an orthographic frame around what shadows fall on."""
    toward = direction / np.linalg.norm(direction)
    up = np.array([0.0, 0.0, 1.0]) if abs(toward[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    light_u = np.cross(up, toward)
    light_u /= np.linalg.norm(light_u)
    light_v = np.cross(toward, light_u)
    if casters is None:
        low, high = (np.array([extreme(axis) for axis in mesh.vertices.T]) for extreme in (np.min, np.max))
        size, count = SHADOW_SIZE, triangles.shape[0]
    else:
        low, high, size, count = casters.low, casters.high, casters.size, casters.count
    origin = 0.5 * (low + high)
    if casters is None:
        offset = mesh.vertices - origin
    else:
        light_u, light_v, toward = (axis.astype(np.float32) for axis in (light_u, light_v, toward))
        offset = mesh.vertices - origin.astype(np.float32)
    u, v = offset @ light_u, offset @ light_v
    reach = float(np.abs([u, v]).max()) if casters is None else 0.5 * float(np.linalg.norm(high - low))
    scale = 0.48 * size / max(reach, 1e-3)
    points = np.stack([u * scale + 0.5 * size, v * scale + 0.5 * size, offset @ toward + 100.0], 1)
    shadow = wp.zeros((size, size), dtype=wp.float32)
    run = _run(count)
    inputs = [run, count, _floats(points, wp.vec3), keep, triangles, shadow, _NO_INDEX, _NO_PERSON, _NO_PEOPLE, 0]
    wp.launch(fill, dim=-(-count // run), inputs=inputs)
    return toward, light_u, light_v, origin, float(scale), shadow
