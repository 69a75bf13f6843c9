"""The renderer's Warp kernels: filling triangles, shading pixels, summing normals. rasterizer.py calls them."""

import warp as wp

wp.config.log_level = wp.LOG_ERROR


@wp.func
def _edge(a: wp.vec3, b: wp.vec3, x: float, y: float) -> float:
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


@wp.kernel
def fill(
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
def _texel(atlas: wp.array2d(dtype=wp.vec3ub), page: wp.vec4, u: float, v: float) -> wp.vec3:
    """Linear colour of a page of the atlas (left, top, width, height) at (u, v), which repeats outside 0..1."""
    x = (u - wp.floor(u)) * page[2] - 0.5
    y = (1.0 - (v - wp.floor(v))) * page[3] - 0.5
    total = wp.vec3(0.0, 0.0, 0.0)
    for i in range(0, 2):
        for j in range(0, 2):
            column = int(wp.floor(x)) + j
            row = int(wp.floor(y)) + i
            share = (1.0 - wp.abs(x - float(column))) * (1.0 - wp.abs(y - float(row)))
            column = (column + int(page[2])) % int(page[2]) + int(page[0])
            row = (row + int(page[3])) % int(page[3]) + int(page[1])
            c = atlas[row, column]
            total += share / 255.0 * wp.vec3(float(c[0]), float(c[1]), float(c[2]))
    return wp.vec3(wp.pow(total[0], 2.2), wp.pow(total[1], 2.2), wp.pow(total[2], 2.2))


@wp.func
def _ambient(h: wp.array(dtype=wp.vec3), n: wp.vec3) -> wp.vec3:
    """Light of an environment arriving at a normal, from its nine coefficients (environment.harmonics)."""
    total = h[0] + n[1] * h[1] + n[2] * h[2] + n[0] * h[3] + n[0] * n[1] * h[4] + n[1] * n[2] * h[5]
    total += (3.0 * n[2] * n[2] - 1.0) * h[6] + n[0] * n[2] * h[7] + (n[0] * n[0] - n[1] * n[1]) * h[8]
    return wp.vec3(wp.max(total[0], 0.0), wp.max(total[1], 0.0), wp.max(total[2], 0.0))


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
def shade(
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
    page: wp.array(dtype=wp.vec4),
    atlas: wp.array2d(dtype=wp.vec3ub),
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
    harmonics: wp.array(dtype=wp.vec3),
    ground_height: float,
    ground_material: int,
    ground_reach: float,
    color: wp.array2d(dtype=wp.vec3),
    covered: wp.array2d(dtype=wp.float32),
    depth: wp.array2d(dtype=wp.float32),
    normal_out: wp.array2d(dtype=wp.vec3),
):
    """One thread a pixel: what `index` says is there, lit; the floor, if any, where nothing is."""
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
    if pattern[kind] == 7:
        albedo = wp.cw_mul(first[kind], _texel(atlas, page[kind], coordinate[0], coordinate[1]))
    albedo = wp.lerp(albedo, wp.vec3(over[0], over[1], over[2]), over[3])
    arriving = _lit(surface, normal, toward_light, light_u, light_v, light_origin, light_scale, shadow, softness)
    ambient = wp.lerp(earth, sky, 0.5 + 0.5 * normal[2])
    if harmonics.shape[0] == 9:
        ambient = _ambient(harmonics, normal)
    world_ray = wp.normalize(wp.transpose(rotation) * ray)
    half_way = wp.normalize(toward_light - world_ray)
    shine = gloss[kind] * wp.pow(wp.max(wp.dot(normal, half_way), 0.0), 20.0) * arriving
    color[y, x] = wp.cw_mul(albedo, ambient + arriving * light_color) + shine * light_color
    covered[y, x] = cover


@wp.kernel
def add_normals(
    vertices: wp.array(dtype=wp.vec3), triangles: wp.array2d(dtype=wp.int32), normals: wp.array(dtype=wp.vec3)
):
    """One thread a triangle: its normal, as long as twice its area, is added to its corners."""
    t = wp.tid()
    i = triangles[t, 0]
    j = triangles[t, 1]
    k = triangles[t, 2]
    normal = wp.cross(vertices[j] - vertices[i], vertices[k] - vertices[i])
    wp.atomic_add(normals, i, normal)
    wp.atomic_add(normals, j, normal)
    wp.atomic_add(normals, k, normal)
