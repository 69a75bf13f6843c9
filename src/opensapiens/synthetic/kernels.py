"""The renderer's Warp kernels: filling triangles, shading pixels, summing normals. rasterizer.py calls them."""

import warp as wp

from opensapiens.synthetic.materials import FABRIC, GAZE, IMAGE, PRINT
from opensapiens.synthetic.patterns import decal, fine_pattern, plain_pattern, relief_slope, texel, value_noise

wp.config.log_level = wp.LOG_ERROR


@wp.func
def _edge(a: wp.vec3, b: wp.vec3, x: float, y: float) -> float:
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


@wp.kernel
def fill(
    run: int,
    count: int,
    points: wp.array(dtype=wp.vec3),
    keep: wp.array(dtype=wp.float32),
    triangles: wp.array2d(dtype=wp.int32),
    key: wp.array2d(dtype=wp.float32),
    winner: wp.array2d(dtype=wp.uint64),
    instance: wp.array(dtype=wp.int32),
    touched: wp.array2d(dtype=wp.uint32),
    with_index: int,
):
    """Fills a z-buffer in which the largest third coordinate wins.

    Writes it to key, or, with_index, its bits to the upper half of winner and 1 + the triangle's index to the lower;
    among equals the last triangle wins. Sets bit i - 1 of touched wherever there is a triangle of instance i, even if
    another triangle wins. A thread takes `run` of the first `count` triangles.
    """
    first = wp.tid() * run
    for t in range(first, wp.min(first + run, count)):
        i = triangles[t, 0]
        j = triangles[t, 1]
        k = triangles[t, 2]
        keep_a = keep[i]
        keep_b = keep[j]
        keep_c = keep[k]
        if keep_a < 0.0 and keep_b < 0.0 and keep_c < 0.0:
            continue
        a = points[i]
        b = points[j]
        c = points[k]
        area = _edge(a, b, c[0], c[1])
        if a[2] <= 0.0 or b[2] <= 0.0 or c[2] <= 0.0 or wp.abs(area) < 1.0e-9:
            continue
        person = wp.uint32(0)
        if with_index != 0 and instance[t] > 0:
            person = wp.uint32(1) << wp.uint32(instance[t] - 1)
        left = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])))), 0)
        right = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])))), key.shape[1] - 1)
        top = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])))), 0)
        bottom = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])))), key.shape[0] - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                u = _edge(b, c, float(x), float(y))
                v = _edge(c, a, float(x), float(y))
                if u * area < 0.0 or v * area < 0.0:  # outside; tested before the slower divisions
                    continue
                u /= area
                v /= area
                w = 1.0 - u - v
                if w >= 0.0 and u * keep_a + v * keep_b + w * keep_c >= 0.0:
                    value = u * a[2] + v * b[2] + w * c[2]
                    if with_index == 0:
                        wp.atomic_max(key, y, x, value)
                    else:
                        bits = wp.uint64(wp.cast(value, wp.uint32))
                        wp.atomic_max(winner, y, x, (bits << wp.uint64(32)) | wp.uint64(t + 1))
                        if person != wp.uint32(0):
                            wp.atomic_or(touched, y, x, person)


@wp.func
def _ambient(h: wp.array(dtype=wp.vec3), n: wp.vec3) -> wp.vec3:
    """Light of a panorama arriving at a normal, from its nine coefficients (environment.harmonics)."""
    total = h[0] + n[1] * h[1] + n[2] * h[2] + n[0] * h[3] + n[0] * n[1] * h[4] + n[1] * n[2] * h[5]
    total += (3.0 * n[2] * n[2] - 1.0) * h[6] + n[0] * n[2] * h[7] + (n[0] * n[0] - n[1] * n[1]) * h[8]
    return wp.vec3(wp.max(total[0], 0.0), wp.max(total[1], 0.0), wp.max(total[2], 0.0))


@wp.func
def _open_tap(shadow: wp.array2d(dtype=wp.float32), x: int, y: int, height: float) -> int:
    if x < 0 or x >= shadow.shape[1] or height + 0.02 >= shadow[y, x]:
        return 1
    return 0


@wp.func
def _open_taps(
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
    """How many of nine samples around a point the key light reaches."""
    offset = position + 0.012 * normal - light_origin
    u = wp.dot(offset, light_u) * light_scale + 0.5 * float(shadow.shape[1])
    v = wp.dot(offset, light_v) * light_scale + 0.5 * float(shadow.shape[0])
    height = wp.dot(offset, toward_light) + 100.0
    if (
        u < -softness - 1.0
        or v < -softness - 1.0
        or u > float(shadow.shape[1]) + softness
        or v > float(shadow.shape[0]) + softness
    ):
        return 9.0
    left = int(wp.round(u - softness))
    middle = int(wp.round(u))
    right = int(wp.round(u + softness))
    open_taps = int(0)
    for i in range(-1, 2):
        y = int(wp.round(v + softness * float(i)))
        if y < 0 or y >= shadow.shape[0]:
            open_taps += 3
        else:
            open_taps += _open_tap(shadow, left, y, height) + _open_tap(shadow, middle, y, height)
            open_taps += _open_tap(shadow, right, y, height)
    return float(open_taps)


@wp.func
def _free(u: float, v: float, height: float, fade: float, above: wp.array2d(dtype=wp.float32)) -> float:
    """1 where a height map has nothing above a height, less the higher it is."""
    x = int(u)
    y = int(v)
    if x < 0 or y < 0 or x >= above.shape[1] or y >= above.shape[0]:
        return 1.0
    return 1.0 - wp.clamp((above[y, x] - 100.02 - height) / fade, 0.0, 1.0)


@wp.func
def _sky_share(
    position: wp.vec3, normal: wp.vec3, origin: wp.vec3, scale: float, above: wp.array2d(dtype=wp.float32)
) -> float:
    """Share of the sky above a point that is not occluded, from a height map seen from straight above."""
    offset = position + 0.04 * normal - origin
    u = -offset[1] * scale + 0.5 * float(above.shape[1])
    v = offset[0] * scale + 0.5 * float(above.shape[0])
    reach = 0.63 * scale
    if u < -reach or v < -reach or u > float(above.shape[1]) + reach or v > float(above.shape[0]) + reach:
        return 1.0
    near = 0.07 * scale
    far = 0.28 * scale
    free = _free(u + near, v, offset[2], 0.2, above) + _free(u - near, v, offset[2], 0.2, above)
    free += _free(u, v + near, offset[2], 0.2, above) + _free(u, v - near, offset[2], 0.2, above)
    free += _free(u + far, v + far, offset[2], 0.4, above) + _free(u - far, v - far, offset[2], 0.4, above)
    free += _free(u + far, v - far, offset[2], 0.4, above) + _free(u - far, v + far, offset[2], 0.4, above)
    free += _free(u + reach, v, offset[2], 0.5, above) + _free(u - reach, v, offset[2], 0.5, above)
    free += _free(u, v + reach, offset[2], 0.5, above) + _free(u, v - reach, offset[2], 0.5, above)
    return free / 12.0


@wp.kernel
def shade(
    run: int,
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
    relief: wp.array(dtype=wp.vec3),
    scatter: wp.array(dtype=wp.float32),
    glow: wp.array(dtype=wp.float32),
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
    above_origin: wp.vec3,
    above_scale: float,
    above: wp.array2d(dtype=wp.float32),
    light_color: wp.vec3,
    sky: wp.vec3,
    earth: wp.vec3,
    harmonics: wp.array(dtype=wp.vec3),
    ground_reach: float,
    color: wp.array2d(dtype=wp.vec3),
    covered: wp.array2d(dtype=wp.float32),
    depth: wp.array2d(dtype=wp.float32),
    normal_out: wp.array2d(dtype=wp.vec3),
    base: wp.array2d(dtype=wp.vec3),
):
    """Shades the triangle that `index` holds for each pixel, or the floor, if any, where it holds none. A thread
    takes `run` pixels of a row."""
    y, part = wp.tid()
    for x in range(part * run, wp.min((part + 1) * run, index.shape[1])):
        t = index[y, x]
        ray = wp.vec3((float(x) - center[0]) / focal, (center[1] - float(y)) / focal, -1.0)
        normal = wp.vec3(0.0, 0.0, 1.0)
        surface = wp.vec3(0.0, 0.0, 0.0)
        coordinate = wp.vec3(0.0, 0.0, 0.0)
        over = wp.vec4(0.0, 0.0, 0.0, 0.0)
        kind = int(0)  # the floor
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
            if wp.dot(view, ray) > 0.0:  # the inside of a garment: show the side that faces the camera
                normal = -normal
                view = -view
            normal_out[y, x] = view
            surface = u * vertices[i] + v * vertices[j] + w * vertices[k]
            coordinate = u * texture[i] + v * texture[j] + w * texture[k]
            over = u * paint[i] + v * paint[j] + w * paint[k]
            kind = material[t]
            shape = relief[kind]
            if shape[1] > 0.0:
                first_edge = vertices[j] - vertices[i]
                second_edge = vertices[k] - vertices[i]
                steep = relief_slope(coordinate, shape)
                slope = wp.vec3(steep[0], steep[1], steep[2])
                along_first = wp.dot(slope, texture[j] - texture[i])
                along_second = wp.dot(slope, texture[k] - texture[i])
                size = wp.dot(normal, wp.cross(first_edge, second_edge))
                if wp.abs(size) > 1.0e-10:
                    tilt = along_first * wp.cross(second_edge, normal) + along_second * wp.cross(normal, first_edge)
                    tilt = tilt / size
                    tilt = tilt / wp.max(1.0, wp.length(tilt))
                    bumped = wp.normalize(normal - tilt)
                    if wp.dot(rotation * bumped, ray) < 0.0:
                        normal = bumped
                        depth[y, x] = depth[y, x] - steep[3] * wp.max(view[2], 0.0)
                        normal_out[y, x] = rotation * normal
        else:
            direction = wp.transpose(rotation) * ray
            if ground_reach <= 0.0 or direction[2] > -1.0e-3:
                continue
            distance = -position[2] / direction[2]
            if distance <= 0.0 or distance > ground_reach:
                continue
            cover = 1.0 - wp.smoothstep(0.6, 1.0, distance / ground_reach)
            surface = position + distance * direction
            coordinate = wp.vec3(surface[0], 0.0, surface[1])
        lines = float(0.0)
        if pattern[kind] < FABRIC:
            lines = plain_pattern(pattern[kind], frequency[kind] * coordinate)
        elif pattern[kind] < PRINT:
            blur = frequency[kind] * wp.length(surface - position) / focal
            lines = fine_pattern(pattern[kind], frequency[kind] * coordinate, blur)
        albedo = wp.lerp(first[kind], second[kind], lines)
        if pattern[kind] == IMAGE:
            albedo = wp.cw_mul(first[kind], texel(atlas, page[kind], coordinate[0], coordinate[1]))
        polish = float(20.0)
        if pattern[kind] == PRINT:  # an image on the breast or back
            at = decal(coordinate, second[kind])
            albedo = first[kind] * (1.0 - 0.1 * value_noise(30.0 * coordinate))
            front = coordinate[1] * second[kind][1] > 0.0
            if front and at[0] > 0.0 and at[0] < 1.0 and at[1] > 0.0 and at[1] < 1.0:
                ink = texel(atlas, page[kind], at[0], at[1])
                albedo = wp.lerp(albedo, ink, wp.smoothstep(0.0, 0.03, wp.length(ink - wp.vec3(1.0, 0.0, 1.0)) - 0.35))
        if pattern[kind] == GAZE:  # an eye, the iris with streaks and a dark rim
            polish = 200.0
            away = -coordinate[1] / wp.length(coordinate)
            streaks = 0.55 + 0.9 * value_noise(26.0 * coordinate / wp.length(coordinate))
            rim = 1.0 - 0.8 * wp.smoothstep(0.952, 0.933, away)
            iris = wp.smoothstep(0.922, 0.934, away)
            veins = wp.vec3(1.0, 0.93 - 0.1 * (1.0 - iris), 0.9 - 0.1 * (1.0 - iris))
            albedo = wp.lerp(wp.cw_mul(first[kind], veins), streaks * rim * second[kind], iris)
            albedo = albedo * (1.0 - 0.97 * wp.smoothstep(0.986, 0.990, away))
        albedo = wp.lerp(albedo, wp.vec3(over[0], over[1], over[2]), over[3])
        base[y, x] = albedo
        cosine = wp.dot(normal, toward_light)
        arriving = float(0.0)
        taps = float(0.0)
        if cosine > -scatter[kind]:
            taps = _open_taps(
                surface, normal, toward_light, light_u, light_v, light_origin, light_scale, shadow, softness
            )
        if cosine > 0.0:
            arriving = cosine * taps / 9.0
        ambient = wp.lerp(earth, sky, 0.5 + 0.5 * normal[2])
        if harmonics.shape[0] == 9:
            ambient = _ambient(harmonics, normal)
        if above.shape[0] > 1:
            share = _sky_share(surface, normal, above_origin, above_scale, above)
            ambient = ambient * wp.lerp(
                0.55 + 0.45 * share, 0.2 + 0.8 * share, wp.clamp(0.5 + 0.5 * normal[2], 0.0, 1.0)
            )
        shine = float(0.0)
        if gloss[kind] > 0.0 and arriving > 0.0:
            world_ray = wp.normalize(wp.transpose(rotation) * ray)
            half_way = wp.normalize(toward_light - world_ray)
            shine = gloss[kind] * wp.pow(wp.max(wp.dot(normal, half_way), 0.0), polish) * arriving
        reaching = arriving * light_color
        if scatter[kind] > 0.0:  # subsurface scattering: red travels farthest
            wrap = scatter[kind]
            spread = wp.max((cosine + wrap) / (1.0 + wrap), 0.0) * taps / 9.0
            reaching = wp.cw_mul(
                wp.vec3(spread, wp.lerp(arriving, spread, 0.45), wp.lerp(arriving, spread, 0.3)), light_color
            )
        color[y, x] = wp.cw_mul(albedo, ambient + reaching) + shine * light_color + glow[kind] * albedo
        covered[y, x] = cover


@wp.kernel
def add_normals(
    run: int,
    vertices: wp.array(dtype=wp.vec3),
    triangles: wp.array2d(dtype=wp.int32),
    normals: wp.array(dtype=wp.vec3),
):
    """Adds the normal of each triangle, scaled by twice its area, to its corners. A thread takes `run` triangles."""
    first = wp.tid() * run
    for t in range(first, wp.min(first + run, triangles.shape[0])):
        i = triangles[t, 0]
        j = triangles[t, 1]
        k = triangles[t, 2]
        normal = wp.cross(vertices[j] - vertices[i], vertices[k] - vertices[i])
        wp.atomic_add(normals, i, normal)
        wp.atomic_add(normals, j, normal)
        wp.atomic_add(normals, k, normal)
