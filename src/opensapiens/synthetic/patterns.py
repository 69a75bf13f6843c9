"""Warp functions for the color patterns and the relief of surfaces."""

import warp as wp

from opensapiens.synthetic.materials import (
    BANDS,
    BLOBS,
    BRICK,
    CHECKS,
    DENIM,
    DOTS,
    FABRIC,
    FACADE,
    GROUND,
    KNIT,
    LEAVES,
    PLACKET,
    PLAID,
    PLANKS,
    SKIN,
    STRANDS,
    STRIPES,
    TILES,
)

_vec8 = wp.types.vector(length=8, dtype=wp.float32)


@wp.func
def _hash(x: int, y: int, z: int) -> float:
    h = wp.uint32(x) * wp.uint32(73856093) ^ wp.uint32(y) * wp.uint32(19349663) ^ wp.uint32(z) * wp.uint32(83492791)
    h = (h ^ (h >> wp.uint32(13))) * wp.uint32(1274126177)
    return float((h ^ (h >> wp.uint32(16))) & wp.uint32(65535)) / 65535.0


@wp.func
def _corners(x: int, y: int, z: int) -> _vec8:
    """The random values at the corners of a unit cell."""
    return _vec8(
        _hash(x, y, z),
        _hash(x + 1, y, z),
        _hash(x, y + 1, z),
        _hash(x + 1, y + 1, z),
        _hash(x, y, z + 1),
        _hash(x + 1, y, z + 1),
        _hash(x, y + 1, z + 1),
        _hash(x + 1, y + 1, z + 1),
    )


@wp.func
def _between(c: _vec8, fx: float, fy: float, fz: float) -> float:
    """Interpolates the corners of a cell at a position in it, 0 to 1 along each axis."""
    fx = fx * fx * (3.0 - 2.0 * fx)
    fy = fy * fy * (3.0 - 2.0 * fy)
    fz = fz * fz * (3.0 - 2.0 * fz)
    low = wp.lerp(wp.lerp(c[0], c[1], fx), wp.lerp(c[2], c[3], fx), fy)
    high = wp.lerp(wp.lerp(c[4], c[5], fx), wp.lerp(c[6], c[7], fx), fy)
    return wp.lerp(low, high, fz)


@wp.func
def value_noise(p: wp.vec3) -> float:
    """Smooth noise in 0 to 1 with one random value at each integer coordinate."""
    x = wp.floor(p[0])
    y = wp.floor(p[1])
    z = wp.floor(p[2])
    return _between(_corners(int(x), int(y), int(z)), p[0] - x, p[1] - y, p[2] - z)


@wp.func
def _noise_around(p: wp.vec3, step: float) -> wp.vec4:
    """value_noise at p and one step further along each axis. Usually all four positions are in one cell, and most of
    the time goes into its corners."""
    x = wp.floor(p[0])
    y = wp.floor(p[1])
    z = wp.floor(p[2])
    fx = p[0] - x
    fy = p[1] - y
    fz = p[2] - z
    corners = _corners(int(x), int(y), int(z))
    around = wp.vec4(_between(corners, fx, fy, fz), 0.0, 0.0, 0.0)
    further = p + wp.vec3(step, step, step)
    if wp.floor(further[0]) == x:
        around[1] = _between(corners, further[0] - x, fy, fz)
    else:
        around[1] = value_noise(wp.vec3(further[0], p[1], p[2]))
    if wp.floor(further[1]) == y:
        around[2] = _between(corners, fx, further[1] - y, fz)
    else:
        around[2] = value_noise(wp.vec3(p[0], further[1], p[2]))
    if wp.floor(further[2]) == z:
        around[3] = _between(corners, fx, fy, further[2] - z)
    else:
        around[3] = value_noise(wp.vec3(p[0], p[1], further[2]))
    return around


@wp.func
def plain_pattern(kind: int, p: wp.vec3) -> float:
    """Share of the second color at a surface point."""
    if kind == STRIPES:
        return wp.smoothstep(-0.15, 0.15, wp.sin(6.2832 * (p[2] + 0.15 * value_noise(p))))
    if kind == CHECKS:
        return 0.5 + 0.5 * wp.sign(wp.sin(6.2832 * p[0]) * wp.sin(6.2832 * p[2]))
    if kind == BLOBS:
        return wp.smoothstep(0.45, 0.6, 0.65 * value_noise(p) + 0.35 * value_noise(2.3 * p))
    if kind == KNIT:
        return 0.35 * value_noise(p) + 0.3 * value_noise(3.1 * p)
    if kind == DOTS:
        x = p[0] - wp.floor(p[0]) - 0.5
        z = p[2] - wp.floor(p[2]) - 0.5
        return wp.smoothstep(0.1, 0.06, x * x + z * z)
    return 0.25 * value_noise(p)


@wp.func
def _line(at: float, width: float, blur: float) -> float:
    """1 within `width` of the integers, softened over `blur`."""
    distance = wp.abs(at - wp.round(at))
    return 1.0 - wp.smoothstep(width, width + blur + 1.0e-4, distance)


@wp.func
def fine_pattern(kind: int, p: wp.vec3, blur: float) -> float:
    """Like plain_pattern, for the kinds from FABRIC on; blur: size of a pixel in the units of p, below which details
    vanish."""
    near = 1.0 - wp.smoothstep(0.08, 0.35, blur)
    if kind == FABRIC:  # threads, and a tint that varies slowly
        broad = 0.3 * value_noise(0.11 * p)
        if near > 0.0:
            broad += near * (0.15 + 0.15 * wp.sin(6.2832 * p[0]) * wp.sin(6.2832 * p[2]))
        return broad
    if kind == DENIM:  # diagonal twill, faded in broad patches
        return 0.55 * value_noise(0.11 * p) + 0.2 * value_noise(0.4 * p) + near * 0.2 * wp.sin(6.2832 * (p[0] + p[2]))
    if kind == PLAID:  # broad and narrow bands across each other
        a = _line(p[0], 0.22, 0.02 + blur) + _line(p[2], 0.22, 0.02 + blur)
        b = _line(p[0] + 0.5, 0.03, 0.02 + blur) + _line(p[2] + 0.5, 0.03, 0.02 + blur)
        return wp.min(0.4 * a + 0.5 * b, 1.0)
    if kind == BANDS:  # across the body
        return wp.lerp(0.4, _line(p[2], 0.2, 0.03 + blur), near)
    if kind == SKIN:  # freckles and mottling
        return 0.35 * value_noise(0.2 * p) + 0.3 * value_noise(p) + near * 0.35 * value_noise(4.0 * p)
    if kind == STRANDS:  # of hair along the third axis
        q = wp.vec3(p[0], p[1], 0.03 * p[2])
        clumps = wp.vec3(0.17 * p[0], 0.17 * p[1], 0.01 * p[2])
        return 0.5 * value_noise(clumps) + wp.lerp(0.25, 0.5 * value_noise(q), near)
    if kind == BRICK:  # the second color is the joint
        row = wp.floor(p[2])
        shifted = 0.5 * p[0] + 0.5 * (row - 2.0 * wp.floor(0.5 * row))
        shade = 0.25 * _hash(int(wp.floor(shifted)), 0, int(row))
        joint = wp.max(_line(p[2], 0.06, blur), _line(shifted, 0.03, blur))
        return wp.max(wp.lerp(0.15, joint, near), shade)
    if kind == TILES:
        shade = 0.2 * _hash(int(wp.floor(p[0])), 1, int(wp.floor(p[2])))
        return wp.max(wp.lerp(0.05, wp.max(_line(p[0], 0.025, blur), _line(p[2], 0.025, blur)), near), shade)
    if kind == PLANKS:  # along the first axis
        row = wp.floor(p[2])
        grain = value_noise(wp.vec3(0.5 * p[0], 13.0 * row, 9.0 * p[2]))
        tint = 0.3 * _hash(int(row), 2, int(wp.floor(0.12 * p[0] + 0.37 * row)))
        return wp.max(tint + 0.35 * grain, wp.lerp(0.0, _line(p[2], 0.03, blur), near))
    if kind == GROUND:  # gravel, grass, sand, snow, by colors
        rough = 0.4 * value_noise(0.05 * p) + 0.3 * value_noise(0.3 * p)
        return rough + 0.3 * wp.lerp(0.5, value_noise(2.7 * p), near)
    if kind == LEAVES:
        a = 0.45 * value_noise(0.4 * p) + 0.55 * wp.lerp(0.5, value_noise(2.1 * p), near)
        return wp.smoothstep(0.25, 0.75, a)
    if kind == FACADE:  # windows in a grid
        x = p[0] - wp.floor(p[0])
        z = p[2] - wp.floor(p[2])
        lit = 0.6 + 0.4 * _hash(int(wp.floor(p[0])), 3, int(wp.floor(p[2])))
        inside = wp.smoothstep(0.2, 0.2 + blur, x) * (1.0 - wp.smoothstep(0.8 - blur, 0.8, x))
        inside *= wp.smoothstep(0.2, 0.2 + blur, z) * (1.0 - wp.smoothstep(0.75 - blur, 0.75, z))
        return inside * lit
    if kind == PLACKET:  # a zip or a row of buttons down the front; p in meters times the frequency
        line = _line(0.5 * p[0] / 6.0, 0.008, 0.002) * wp.step(p[1])
        return wp.max(0.25 * value_noise(0.11 * p), line)
    return 0.3 * value_noise(0.11 * p)


@wp.func
def _ridge(noise: float) -> float:
    ridge = 1.0 - wp.abs(2.0 * noise - 1.0)
    return ridge * ridge


@wp.func
def relief_slope(p: wp.vec3, relief: wp.vec3) -> wp.vec4:
    """Slope of a relief (see Materials) along the three axes of the surface coordinate, and its height in meters:
    meandering ridges of varying strength, and a grain."""
    slope = wp.vec4(0.0, 0.0, 0.0, 0.0)
    if relief[0] > 0.0:
        q = relief[1] * p
        strength = relief[0] * value_noise(0.35 * q + wp.vec3(7.0, 3.0, 5.0))
        bend = 1.3 * value_noise(0.6 * q)
        q += wp.vec3(bend, bend, bend)
        noise = _noise_around(q, 0.1)
        here = _ridge(noise[0])
        x = _ridge(noise[1]) - here
        y = _ridge(noise[2]) - here
        z = _ridge(noise[3]) - here
        slope = strength * wp.vec4(10.0 * relief[1] * x, 10.0 * relief[1] * y, 10.0 * relief[1] * z, here)
    if relief[2] > 0.0:
        fine = 6.0 * relief[1]
        q = fine * p
        noise = _noise_around(q, 0.2)
        here = noise[0]
        x = noise[1] - here
        y = noise[2] - here
        z = noise[3] - here
        slope += relief[2] * wp.vec4(5.0 * fine * x, 5.0 * fine * y, 5.0 * fine * z, here)
    return slope


@wp.func
def decal(p: wp.vec3, place: wp.vec3) -> wp.vec2:
    """u and v of a print on the front (place[1] < 0) or back, centered at height place[2], 2 * place[0] wide."""
    return wp.vec2(0.5 + 0.5 * p[0] / place[0], 0.5 + 0.5 * (p[2] - place[2]) / place[0])


@wp.func
def texel(atlas: wp.array2d(dtype=wp.vec3ub), page: wp.vec4, u: float, v: float) -> wp.vec3:
    """Linear color of a page of the atlas (left, top, width, height) at (u, v), which repeats outside 0..1."""
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
