"""A z-buffer and a shader for triangle meshes, as Warp kernels (CPU and GPU).

At the image sizes people are trained on, most triangles of a body cover a pixel or two, so filling triangles costs
about a twentieth of casting a ray per pixel; shadows come from a second z-buffer seen from the light. Labels are
read at pixel centres of the same z-buffer, so they are exact for the image.

Camera frame: +x right, +y up, +z towards the camera. Integer image coordinates are pixel centres.
"""

from dataclasses import dataclass

import numpy as np
import warp as wp

wp.config.log_level = wp.LOG_ERROR

SOLID, STRIPES, CHECKS, BLOBS, KNIT, DOTS, EYE = range(7)
SHADOW_SIZE = 256


@dataclass(frozen=True)
class Mesh:
    """Triangles of a scene, all in world coordinates (metres, z up).

    All float arrays are float32. vertices (V, 3), normals (V, 3) unit, texture (V, 3) the surface coordinate patterns
    are made of (metres), paint (V, 4) RGB and opacity laid over the material, keep (V,) a surface is cut away where
    this is negative (hems, necklines), triangles (T, 3), material (T,), part (T,) class id, instance (T,) 0 for things
    and 1.. for people.
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
    """Surface looks, M of them: two linear colours (M, 3), pattern (M,), frequency (M,) per metre, gloss (M,)."""

    first: np.ndarray
    second: np.ndarray
    pattern: np.ndarray
    frequency: np.ndarray
    gloss: np.ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: rotation (3, 3) world to camera, position (3,), focal and principal point in pixels."""

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    center: tuple[float, float]
    size: tuple[int, int]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) in metres in the camera frame."""
        return (points - self.position.astype(np.float32)) @ self.rotation.T.astype(np.float32)

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) as (N, 3): pixel x, pixel y, depth in metres."""
        x, y, z = self.to_camera(points).T
        depth = np.where(np.abs(z) < 1e-6, np.float32(1e-6), -z)
        scale = np.float32(self.focal) / depth
        return np.stack([self.center[0] + scale * x, self.center[1] - scale * y, depth], 1)


@dataclass(frozen=True)
class Light:
    """A distant key light with a shadow, and a sky that fades from above to below (colours linear, (3,))."""

    direction: np.ndarray
    color: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    softness: float


@dataclass(frozen=True)
class Ground:
    """A floor at a height (metres) with a material index; it receives shadow and fades into the backdrop."""

    height: float
    material: int
    reach: float


@dataclass(frozen=True)
class Rendering:
    """What the camera sees: color (H, W, 3) linear, covered (H, W) 0..1 where mesh or floor hides the backdrop,
    triangle (H, W) index or -1, depth (H, W) metres along the view axis, normals (H, W, 3) in the camera frame."""

    color: np.ndarray
    covered: np.ndarray
    triangle: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


@wp.func
def _edge(a: wp.vec3, b: wp.vec3, x: float, y: float) -> float:
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


@wp.kernel
def _fill(
    points: wp.array(dtype=wp.vec3),
    keep: wp.array(dtype=wp.float32),
    triangles: wp.array2d(dtype=wp.int32),
    key: wp.array2d(dtype=wp.float32),
    index: wp.array2d(dtype=wp.int32),
    write_index: int,
):
    """Largest third coordinate wins. First pass writes it, the second the index of the triangle that has it."""
    t = wp.tid()
    i = triangles[t, 0]
    j = triangles[t, 1]
    k = triangles[t, 2]
    if keep[i] < 0.0 and keep[j] < 0.0 and keep[k] < 0.0:
        return
    a = points[i]
    b = points[j]
    c = points[k]
    area = _edge(a, b, c[0], c[1])
    if a[2] <= 0.0 or b[2] <= 0.0 or c[2] <= 0.0 or wp.abs(area) < 1.0e-9:
        return
    left = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])))), 0)
    right = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])))), key.shape[1] - 1)
    top = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])))), 0)
    bottom = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])))), key.shape[0] - 1)
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            u = _edge(b, c, float(x), float(y)) / area
            v = _edge(c, a, float(x), float(y)) / area
            w = 1.0 - u - v
            if u >= 0.0 and v >= 0.0 and w >= 0.0 and u * keep[i] + v * keep[j] + w * keep[k] >= 0.0:
                value = u * a[2] + v * b[2] + w * c[2]
                if write_index == 0:
                    wp.atomic_max(key, y, x, value)
                elif value == key[y, x]:
                    wp.atomic_max(index, y, x, t)


@wp.func
def _hash(x: int, y: int, z: int) -> float:
    h = wp.uint32(x) * wp.uint32(73856093) ^ wp.uint32(y) * wp.uint32(19349663) ^ wp.uint32(z) * wp.uint32(83492791)
    h = (h ^ (h >> wp.uint32(13))) * wp.uint32(1274126177)
    return float((h ^ (h >> wp.uint32(16))) & wp.uint32(65535)) / 65535.0


@wp.func
def _value_noise(p: wp.vec3) -> float:
    x = int(wp.floor(p[0]))
    y = int(wp.floor(p[1]))
    z = int(wp.floor(p[2]))
    fx = p[0] - wp.floor(p[0])
    fy = p[1] - wp.floor(p[1])
    fz = p[2] - wp.floor(p[2])
    fx = fx * fx * (3.0 - 2.0 * fx)
    fy = fy * fy * (3.0 - 2.0 * fy)
    fz = fz * fz * (3.0 - 2.0 * fz)
    low = wp.lerp(
        wp.lerp(_hash(x, y, z), _hash(x + 1, y, z), fx), wp.lerp(_hash(x, y + 1, z), _hash(x + 1, y + 1, z), fx), fy
    )
    high = wp.lerp(
        wp.lerp(_hash(x, y, z + 1), _hash(x + 1, y, z + 1), fx),
        wp.lerp(_hash(x, y + 1, z + 1), _hash(x + 1, y + 1, z + 1), fx),
        fy,
    )
    return wp.lerp(low, high, fz)


@wp.func
def _pattern(kind: int, p: wp.vec3) -> float:
    """How much of the second colour at a surface point."""
    if kind == 1:
        return wp.smoothstep(-0.15, 0.15, wp.sin(6.2832 * (p[2] + 0.15 * _value_noise(p))))
    if kind == 2:
        return 0.5 + 0.5 * wp.sign(wp.sin(6.2832 * p[0]) * wp.sin(6.2832 * p[2]))
    if kind == 3:
        return wp.smoothstep(0.45, 0.6, 0.65 * _value_noise(p) + 0.35 * _value_noise(2.3 * p))
    if kind == 4:
        return 0.35 * _value_noise(p) + 0.3 * _value_noise(3.1 * p)
    if kind == 5:
        x = p[0] - wp.floor(p[0]) - 0.5
        z = p[2] - wp.floor(p[2]) - 0.5
        return wp.smoothstep(0.1, 0.06, x * x + z * z)
    if kind == 6:  # p is a direction from the middle of the eyeball; the iris looks along -y
        return wp.smoothstep(0.925, 0.935, -p[1] / wp.length(p))
    return 0.25 * _value_noise(p)


@wp.func
def _lit(
    position: wp.vec3,
    normal: wp.vec3,
    toward_light: wp.vec3,
    light_u: wp.vec3,
    light_v: wp.vec3,
    light_origin: wp.vec3,
    light_scale: float,
    shadow: wp.array2d(dtype=wp.float32),
    softness: float,
) -> float:
    """Share of the key light that arrives: cosine times a filtered shadow-map test."""
    cosine = wp.dot(normal, toward_light)
    if cosine <= 0.0:
        return 0.0
    offset = position + 0.012 * normal - light_origin
    u = wp.dot(offset, light_u) * light_scale + 0.5 * float(shadow.shape[1])
    v = wp.dot(offset, light_v) * light_scale + 0.5 * float(shadow.shape[0])
    height = wp.dot(offset, toward_light) + 100.0
    open_share = float(0.0)
    for i in range(-1, 2):
        for j in range(-1, 2):
            x = int(wp.round(u + softness * float(j)))
            y = int(wp.round(v + softness * float(i)))
            if x < 0 or y < 0 or x >= shadow.shape[1] or y >= shadow.shape[0]:
                open_share += 1.0
            elif height + 0.02 >= shadow[y, x]:
                open_share += 1.0
    return cosine * open_share / 9.0


@wp.kernel
def _shade(
    index: wp.array2d(dtype=wp.int32),
    screen: wp.array(dtype=wp.vec3),
    triangles: wp.array2d(dtype=wp.int32),
    vertices: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    texture: wp.array(dtype=wp.vec3),
    paint: wp.array(dtype=wp.vec4),
    material: wp.array(dtype=wp.int32),
    first: wp.array(dtype=wp.vec3),
    second: wp.array(dtype=wp.vec3),
    pattern: wp.array(dtype=wp.int32),
    frequency: wp.array(dtype=wp.float32),
    gloss: wp.array(dtype=wp.float32),
    rotation: wp.mat33,
    position: wp.vec3,
    focal: float,
    center: wp.vec2,
    toward_light: wp.vec3,
    light_u: wp.vec3,
    light_v: wp.vec3,
    light_origin: wp.vec3,
    light_scale: float,
    shadow: wp.array2d(dtype=wp.float32),
    softness: float,
    light_color: wp.vec3,
    sky: wp.vec3,
    earth: wp.vec3,
    ground_height: float,
    ground_material: int,
    ground_reach: float,
    color: wp.array2d(dtype=wp.vec3),
    covered: wp.array2d(dtype=wp.float32),
    depth: wp.array2d(dtype=wp.float32),
    normal_out: wp.array2d(dtype=wp.vec3),
):
    y, x = wp.tid()
    t = index[y, x]
    ray = wp.vec3((float(x) - center[0]) / focal, (center[1] - float(y)) / focal, -1.0)
    normal = wp.vec3(0.0, 0.0, 1.0)
    surface = wp.vec3(0.0, 0.0, 0.0)
    coordinate = wp.vec3(0.0, 0.0, 0.0)
    over = wp.vec4(0.0, 0.0, 0.0, 0.0)
    kind = ground_material
    cover = float(1.0)
    if t >= 0:
        i = triangles[t, 0]
        j = triangles[t, 1]
        k = triangles[t, 2]
        a = screen[i]
        b = screen[j]
        c = screen[k]
        area = _edge(a, b, c[0], c[1])
        u = _edge(b, c, float(x), float(y)) / area * a[2]
        v = _edge(c, a, float(x), float(y)) / area * b[2]
        w = _edge(a, b, float(x), float(y)) / area * c[2]
        total = u + v + w
        u /= total
        v /= total
        w /= total
        depth[y, x] = 1.0 / total
        normal = wp.normalize(u * normals[i] + v * normals[j] + w * normals[k])
        view = rotation * normal
        if wp.dot(view, ray) > 0.0:  # the inside of a hollow garment: show the face that looks at the camera
            normal = -normal
            view = -view
        normal_out[y, x] = view
        surface = u * vertices[i] + v * vertices[j] + w * vertices[k]
        coordinate = u * texture[i] + v * texture[j] + w * texture[k]
        over = u * paint[i] + v * paint[j] + w * paint[k]
        kind = material[t]
    else:
        direction = wp.transpose(rotation) * ray
        if ground_material < 0 or direction[2] > -1.0e-3:
            return
        distance = (ground_height - position[2]) / direction[2]
        if distance <= 0.0 or distance > ground_reach:
            return
        cover = 1.0 - wp.smoothstep(0.6, 1.0, distance / ground_reach)
        surface = position + distance * direction
        coordinate = wp.vec3(surface[0], 0.0, surface[1])
    albedo = wp.lerp(first[kind], second[kind], _pattern(pattern[kind], frequency[kind] * coordinate))
    if pattern[kind] == 6 and coordinate[1] < -0.99 * wp.length(coordinate):
        albedo = wp.vec3(0.01, 0.01, 0.01)  # the pupil
    albedo = wp.lerp(albedo, wp.vec3(over[0], over[1], over[2]), over[3])
    arriving = _lit(surface, normal, toward_light, light_u, light_v, light_origin, light_scale, shadow, softness)
    ambient = wp.lerp(earth, sky, 0.5 + 0.5 * normal[2])
    world_ray = wp.normalize(wp.transpose(rotation) * ray)
    half_way = wp.normalize(toward_light - world_ray)
    shine = gloss[kind] * wp.pow(wp.max(wp.dot(normal, half_way), 0.0), 20.0) * arriving
    color[y, x] = wp.cw_mul(albedo, ambient + arriving * light_color) + shine * light_color
    covered[y, x] = cover


@wp.kernel
def _add_normals(
    vertices: wp.array(dtype=wp.vec3), triangles: wp.array2d(dtype=wp.int32), normals: wp.array(dtype=wp.vec3)
):
    t = wp.tid()
    i = triangles[t, 0]
    j = triangles[t, 1]
    k = triangles[t, 2]
    normal = wp.cross(vertices[j] - vertices[i], vertices[k] - vertices[i])
    wp.atomic_add(normals, i, normal)
    wp.atomic_add(normals, j, normal)
    wp.atomic_add(normals, k, normal)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32, the mean of the faces around each vertex weighted by their area."""
    normals = wp.zeros(len(vertices), dtype=wp.vec3)
    wp.launch(_add_normals, dim=len(triangles), inputs=[_floats(vertices, wp.vec3), _indices(triangles), normals])
    result = normals.numpy()
    return result / np.maximum(np.sqrt(np.einsum("vd,vd->v", result, result))[:, None], 1e-12)


def silhouette(mesh: Mesh, camera: Camera, instance: int) -> np.ndarray:
    """Pixels (H, W) that one person would cover if nothing else were there, bool."""
    key = wp.zeros(camera.size, dtype=wp.float32)
    triangles = _indices(mesh.triangles[mesh.instance == instance])
    inputs = [_screen_points(mesh, camera), _floats(mesh.keep, wp.float32), triangles, key, _NO_INDEX, 0]
    wp.launch(_fill, dim=triangles.shape[0], inputs=inputs)
    return key.numpy() > 0


def _screen_points(mesh: Mesh, camera: Camera) -> wp.array:
    """Pixel x, y and 1/depth, which is linear on the screen; 0 marks what is too near or behind the camera."""
    screen = camera.project(mesh.vertices)
    depth = screen[:, 2]
    screen[:, 2] = np.where(depth > 0.05, 1.0 / np.maximum(depth, 0.05), 0.0)
    return _floats(screen, wp.vec3)


def _floats(array: np.ndarray, dtype: type) -> wp.array:
    return wp.array(np.ascontiguousarray(array, np.float32), dtype=dtype, copy=False)


def _indices(array: np.ndarray) -> wp.array:
    return wp.array(np.ascontiguousarray(array, np.int32), dtype=wp.int32, copy=False)


_NO_INDEX = wp.empty((1, 1), dtype=wp.int32)


def render(mesh: Mesh, materials: Materials, camera: Camera, light: Light, ground: Ground | None) -> Rendering:
    """Draw a scene once.

    Returns colours before exposure and backdrop, and for every pixel the triangle at its centre.
    """
    height, width = camera.size
    triangles = _indices(mesh.triangles)
    screen_points = _screen_points(mesh, camera)
    keep = _floats(mesh.keep, wp.float32)
    index = _z_buffer(screen_points, keep, triangles, (height, width))

    toward, light_u, light_v, origin, scale, shadow = _shadow_map(mesh, light, keep, triangles)
    color = wp.zeros((height, width), dtype=wp.vec3)
    covered = wp.zeros((height, width), dtype=wp.float32)
    depth = wp.zeros((height, width), dtype=wp.float32)
    normals = wp.zeros((height, width), dtype=wp.vec3)
    wp.launch(
        _shade,
        dim=(height, width),
        inputs=[
            index,
            screen_points,
            triangles,
            _floats(mesh.vertices, wp.vec3),
            _floats(mesh.normals, wp.vec3),
            _floats(mesh.texture, wp.vec3),
            _floats(mesh.paint, wp.vec4),
            _indices(mesh.material),
            _floats(materials.first, wp.vec3),
            _floats(materials.second, wp.vec3),
            _indices(materials.pattern),
            _floats(materials.frequency, wp.float32),
            _floats(materials.gloss, wp.float32),
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
            wp.vec3(*light.color),
            wp.vec3(*light.sky),
            wp.vec3(*light.ground),
            ground.height if ground else 0.0,
            ground.material if ground else -1,
            ground.reach if ground else 0.0,
        ],
        outputs=[color, covered, depth, normals],
    )
    return Rendering(color.numpy(), covered.numpy(), index.numpy(), depth.numpy(), normals.numpy())


def _z_buffer(points: wp.array, keep: wp.array, triangles: wp.array, size: tuple[int, int]) -> wp.array:
    key = wp.zeros(size, dtype=wp.float32)
    index = wp.full(size, -1, dtype=wp.int32)
    for write_index in (0, 1):
        wp.launch(_fill, dim=triangles.shape[0], inputs=[points, keep, triangles, key, index, write_index])
    return index


def _shadow_map(mesh: Mesh, light: Light, keep: wp.array, triangles: wp.array) -> tuple:
    """Heights of the mesh seen from the light, in an orthographic frame that holds all of it."""
    toward = light.direction / np.linalg.norm(light.direction)
    up = np.array([0.0, 0.0, 1.0]) if abs(toward[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    light_u = np.cross(up, toward)
    light_u /= np.linalg.norm(light_u)
    light_v = np.cross(toward, light_u)
    origin = 0.5 * (mesh.vertices.min(0) + mesh.vertices.max(0))
    offset = mesh.vertices - origin
    plane = np.stack([offset @ light_u, offset @ light_v], 1)
    scale = 0.48 * SHADOW_SIZE / max(float(np.abs(plane).max()), 1e-3)
    points = np.concatenate([plane * scale + 0.5 * SHADOW_SIZE, (offset @ toward + 100.0)[:, None]], 1)
    shadow = wp.zeros((SHADOW_SIZE, SHADOW_SIZE), dtype=wp.float32)
    wp.launch(_fill, dim=triangles.shape[0], inputs=[_floats(points, wp.vec3), keep, triangles, shadow, _NO_INDEX, 0])
    return toward, light_u, light_v, origin, float(scale), shadow
