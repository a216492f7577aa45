"""Content picture `street`: an old street at dusk after rain, seen in perspective.

Rays meet convex houses; walls carry procedural windows; lamps light by the inverse square law; the wet cobbles mirror
the scene once through their own bumpy normals.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sample_drawing.canvas import Pixels, canvas, expose, finish, glow, linear, mix, smoothstep, to_floats
from sample_drawing.noise import Floats, cell_random, fbm, value_noise
from sample_drawing.sky import sky_light
from sample_drawing.street_plan import ROOF, WALL, Solid, Street, center_m, plan_street, trace

Mask = NDArray[np.bool_]
_SPREAD = 0.86  # the picture's height over its distance
_LAMPLIGHT = linear("#ffb45e")


def street(seed: int, long_side_px: int = 768) -> Pixels:
    """A street at dusk, uint8 [H, W, 3] in 3:2; the seed moves houses, bend, tower, lamps, windows, sky and palette."""
    plan = plan_street(np.random.default_rng(seed))
    view = canvas(long_side_px, 1.5)
    x, y = (view.x - view.aspect / 2) * _SPREAD, (plan.horizon - view.y) * _SPREAD
    one = np.ones_like(x)
    origin = (0.0, plan.eye_m, 0.0)
    light, distance = _see(plan, origin, (x, y, one), _SPREAD * view.px)
    to_ground = -plan.eye_m / np.minimum(y, -1e-6)
    ground = (y < 0) & (to_ground < distance)
    light[ground] = _ground(plan, x[ground], y[ground], to_ground[ground], _SPREAD * view.px)
    light += _lamp_halo(plan, origin, (x, y, one), np.where(ground, to_ground, distance))
    light = _brackets(plan, light, distance)
    picture = expose(glow(light, view.px, 0.9, 0.2), 1.0)
    vignette = 0.2 * smoothstep(0.5, 1.15, np.hypot(view.x / view.aspect - 0.5, view.y - 0.5) * 1.55)
    return finish(picture * (1 - vignette)[..., None])


def _see(plan: Street, origin: tuple[Floats | float, ...], direction: tuple[Floats, Floats, Floats],
         pixel: float) -> tuple[Floats, Floats]:
    """Light along rays that miss the ground: sky and hills, or the shaded solid; and the distance."""
    hit = trace(plan.solids, origin, direction)
    light = _backdrop(plan, direction)
    for number in np.unique(hit.solid[hit.solid >= 0]):
        seen = hit.solid == number
        t = hit.distance[seen]
        point = [np.broadcast_to(o, seen.shape)[seen] + t * d[seen] for o, d in zip(origin, direction, strict=True)]
        light[seen] = _surface(plan, plan.solids[number], hit.face[seen], point, t * pixel)
    haze = 1 - np.exp(-np.maximum(hit.distance - 12, 0) / 150)
    air = 0.5 * plan.sky.horizon + 0.3 * plan.sky.middle
    return mix(light, air, np.where(hit.solid >= 0, haze, 0)), hit.distance


def _backdrop(plan: Street, direction: tuple[Floats, Floats, Floats]) -> Floats:
    """The sky, and two ranges of wooded hills fading into it."""
    x, y, z = direction
    light = sky_light(plan.sky, x, np.maximum(y, 0.01), z, octaves=5)
    across, up = x / np.maximum(z, 0.05), y / np.maximum(z, 0.05)
    for near, base, tone in ((0.0, 0.17, 0.55), (1.0, 0.11, 0.25)):
        crest = base + 0.045 * fbm(3.1 * across + 20 * near, np.full_like(across, near), plan.table, 5)
        hill = mix(linear("#2c3444"), 0.6 * plan.sky.horizon + 0.25 * plan.sky.middle, tone)
        light = mix(light, hill, smoothstep(0.002, -0.002, up - crest))
    return light


def _lit(plan: Street, point: list[Floats], normal: list[Floats]) -> Floats:
    """Irradiance: the blue sky from above, the glow of the horizon from ahead, and every lamp at cosine/distance²."""
    up, ahead = 0.5 + 0.5 * normal[1], np.clip(0.35 - 0.65 * normal[2], 0, 1)
    open_sky = 0.45 + 0.55 * smoothstep(0, 9, point[1])
    total = 0.8 * (up * open_sky)[..., None] * plan.sky.middle + 0.1 * plan.sky.zenith
    total = total + 0.16 * ahead[..., None] * plan.sky.horizon
    for lamp in plan.lamps:
        toward = [lamp[k] - point[k] for k in range(3)]
        square = toward[0] ** 2 + toward[1] ** 2 + toward[2] ** 2 + 0.25
        cosine = np.clip(sum(t * n for t, n in zip(toward, normal, strict=True)) / np.sqrt(square), 0, 1)
        total = total + (0.15 * lamp[3] * (0.15 + 0.85 * cosine) / square)[..., None] * _LAMPLIGHT
    return total


def _surface(plan: Street, solid: Solid, face: NDArray[np.int16], point: list[Floats], pixel: Floats) -> Floats:
    """Light leaving a solid: plaster or roof tiles under `_lit`, windows on walls."""
    normals = solid.normals[face]
    normal = [normals[..., k] for k in range(3)]
    material = np.array(solid.materials)[face]
    x_face = np.abs(normal[0]) > 0.9
    along = np.where(x_face, point[2] - solid.origin[1], point[0] - solid.origin[0])
    up = point[1]
    grain = fbm(2.1 * along + 40 * solid.traits[1], 2.1 * up, plan.table, 5)
    drip = fbm(2.5 * along, 0.3 * up + 9 * solid.traits[2], plan.table, 3)
    albedo = solid.paint * (0.82 + 0.16 * grain + 0.14 * drip)[..., None]
    albedo = albedo * (0.55 + 0.45 * smoothstep(0.1, 1.6, up + 0.4 * grain))[..., None]
    row = np.floor(up / 0.24)
    tile = cell_random(row.astype(int), np.floor(along / 0.3 + 0.5 * (row % 2)).astype(int), plan.table)
    course = 1 - 0.45 * smoothstep(0.25, 0.0, up / 0.24 % 1) * smoothstep(0.2, 0.05, pixel)
    roof = solid.roof_paint * ((0.55 + 0.5 * tile) * course + 0.15 * grain)[..., None]
    albedo = np.where((material == ROOF)[..., None], roof, albedo)
    stripes = (solid.size[0] == 2) & (along / 0.5 % 1 > 0.5)
    albedo = np.where(stripes[..., None], linear("#e8dcc4"), albedo)
    wall = material == WALL
    albedo, glass, lamp = _facade(plan, solid, albedo, along, up, wall, x_face)
    eaves = 1 - 0.5 * smoothstep(1.3, 0.1, solid.size[1] - up) * (material == WALL)
    light = albedo * (_lit(plan, point, normal) * eaves[..., None])
    streak = smoothstep(-0.3, 0.6, value_noise(0.9 * along + 0.8 * up, 0.5 * up, plan.table))
    mirror = mix(0.07 * plan.sky.middle, 0.32 * plan.sky.middle + 0.10 * plan.sky.horizon, streak)
    light = np.where(glass[..., None], mirror, light)
    return light + lamp


def _facade(plan: Street, solid: Solid, albedo: Floats, along: Floats, up: Floats, wall: Mask,
            x_face: Mask) -> tuple[Floats, Mask, Floats]:
    """Windows in a grid: trimmed albedo, where glass is, and the light of lit rooms."""
    width, eaves = solid.size
    columns = max(2, round(width / 1.9))
    step = width / columns
    column, floor = np.floor(along / step), np.floor((up - 0.5) / 2.9)
    from_left, from_floor = along - (column + 0.5) * step, up - 0.5 - 2.9 * floor
    shop = floor < 1
    half_w = np.where(shop, 0.40 * step, 0.48 + 0.08 * solid.traits[3])
    low, high = np.where(shop, 0.35, 0.75), np.where(shop, 2.15, 2.35)
    room = wall & (up < eaves - 0.35) & (floor >= 0) & (along > 0.1) & (along < width - 0.1)
    inside = room & (np.abs(from_left) < half_w) & (from_floor > low) & (from_floor < high)
    trim = room & (np.abs(from_left) < half_w + 0.13) & (from_floor > low - 0.16) & (from_floor < high + 0.16) & ~inside
    cornice = wall & ((np.abs(up - eaves + 0.1) < 0.14) | (np.abs(up - 3.3) < 0.1)) & (width > 2)
    albedo = np.where((trim | cornice)[..., None], mix(albedo, linear("#d8cdb8"), 0.6), albedo)
    beyond = np.abs(from_left) - half_w - 0.04
    shutter = room & ~shop & (beyond > 0) & (beyond < 0.42) & (from_floor > low) & (from_floor < high)
    slats = 0.75 + 0.25 * np.sign(np.sin(from_floor * 44))
    if solid.traits[4] < 0.6:
        wood = linear("#2f5550" if solid.traits[5] < 0.5 else "#5a3a35")
        albedo = np.where(shutter[..., None], wood * slats[..., None], albedo)
    bars = (np.abs(from_left) < 0.035) | (np.abs(from_floor - 1.6) < 0.035)
    bars |= np.abs(np.abs(from_left) - half_w) < 0.05
    frame = inside & bars
    albedo = np.where(frame[..., None], linear("#cfc6b4" if solid.traits[2] < 0.6 else "#3a2f2a"), albedo)
    glass = inside & ~bars
    salt = int(solid.traits[0] * 1000)
    chance = cell_random(column.astype(int) + 64 * x_face, floor.astype(int), plan.table, salt)
    tint = cell_random(column.astype(int) + 64 * x_face, floor.astype(int), plan.table, salt + 1)
    on = glass & (chance < np.where(shop, 0.92, 0.36)) & (width > 2)
    curtain = 0.45 + 0.55 * smoothstep(0.1, 0.55, np.abs(from_left) / half_w * 0.6 + 0.12 * np.sin(38 * from_left))
    depth = 0.42 + 0.75 * smoothstep(low, high, from_floor) ** 2 + 0.25 * value_noise(5 * along, 5 * up, plan.table)
    warm = mix(linear("#ff7a1e"), linear("#ffb95e"), tint)
    return albedo, glass, (on * depth * np.where(shop, 0.75, 1.1 - 0.75 * curtain) * (0.5 + tint))[..., None] * warm


def _lamp_halo(plan: Street, origin: tuple[Floats | float, ...], direction: tuple[Floats, Floats, Floats],
               distance: Floats) -> Floats:
    """The lamps seen directly: a bright globe, and light scattered by moist air along the ray's closest approach."""
    square = sum(d * d for d in direction)
    total = np.zeros(np.shape(distance), np.float32)
    for lamp in plan.lamps:
        toward = [lamp[k] - origin[k] for k in range(3)]
        t = sum(a * d for a, d in zip(toward, direction, strict=True)) / square
        miss = sum((a - t * d) ** 2 for a, d in zip(toward, direction, strict=True))
        globe = 12 * smoothstep(0.016, 0.006, miss)
        total += (t > 0) * (t * 0.985 < distance) * (globe + 0.007 * lamp[3] / (miss + 0.05) ** 0.9 / (1 + 0.05 * t))
    return np.minimum(total, 14)[..., None] * mix(_LAMPLIGHT, linear("#ffe2b0"), smoothstep(2, 10, total))


def _brackets(plan: Street, light: Floats, distance: Floats) -> Floats:
    """Iron arms and caps of the nearer lamps, as silhouettes."""
    height, width = distance.shape
    mask = Image.new("L", (width, height))
    brush = ImageDraw.Draw(mask)
    for lamp_x, lamp_y, z, _ in plan.lamps[plan.lamps[:, 2] < 40]:
        if z < 1:
            continue
        side = np.sign(lamp_x - center_m(plan.bend, z))

        def at(x: float, y: float, depth: float = z) -> tuple[float, float]:
            return (x / depth / _SPREAD + 0.75) * height, (plan.horizon - (y - plan.eye_m) / depth / _SPREAD) * height

        for points in ([at(lamp_x - 0.2, lamp_y + 0.16), at(lamp_x, lamp_y + 0.34), at(lamp_x + 0.2, lamp_y + 0.16)],
                       [at(lamp_x - 0.02, lamp_y + 0.46), at(lamp_x + side * 0.8, lamp_y + 0.46),
                        at(lamp_x + side * 0.8, lamp_y + 0.41), at(lamp_x - 0.02, lamp_y + 0.41)],
                       [at(lamp_x - 0.02, lamp_y + 0.45), at(lamp_x + 0.02, lamp_y + 0.45),
                        at(lamp_x + 0.02, lamp_y + 0.3), at(lamp_x - 0.02, lamp_y + 0.3)],
                       [at(lamp_x - 0.09, lamp_y - 0.13), at(lamp_x + 0.09, lamp_y - 0.13), at(lamp_x, lamp_y - 0.22)]):
            brush.polygon(points, fill=255)
    return mix(light, 0.02 + 0.05 * plan.sky.middle, to_floats(mask))


def _cobbles(plan: Street, x: Floats, z: Floats, pixel: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Stones in shallow arcs between slab pavements: relief slopes along x and z, tone, and joints."""
    across = x - center_m(plan.bend, z)
    walk = np.abs(across) > plan.half_m - 1.15
    wide, deep = np.where(walk, 0.8, 0.21), np.where(walk, 0.6, 0.15)
    bowed = z + np.where(walk, 0, 0.16 * np.cos(2.2 * across)) + 0.03 * value_noise(2.3 * x, 2.3 * z, plan.table)
    row = np.floor(bowed / deep)
    shift = across / wide + 0.5 * (row % 2) + 0.3 * cell_random(row.astype(int), np.zeros(row.shape, int), plan.table)
    shift = shift + 0.12 * value_noise(5 * x, 5 * z, plan.table)
    column = np.floor(shift)
    u, v = 2 * (shift - column) - 1, 2 * (bowed / deep - row) - 1
    fade = smoothstep(0.11, 0.02, pixel) * np.where(walk, 0.25, 1)
    tone = cell_random(row.astype(int), column.astype(int), plan.table, 3)
    joint = np.maximum(smoothstep(0.72, 1.0, np.abs(u)), smoothstep(0.68, 1.0, np.abs(v))) * np.minimum(1, fade * 2)
    tilt = 0.06 * (tone - 0.5)
    return (0.2 * u ** 3 + tilt) * fade, (0.2 * v ** 3 + tilt) * fade, 0.75 + 0.5 * tone, joint


def _ground(plan: Street, x: Floats, y: Floats, t: Floats, pixel: float) -> Floats:
    """Wet stones: diffuse light under the lamps plus the mirrored street by a Fresnel term, stronger in puddles."""
    point: list[Floats] = [x * t, np.zeros_like(x), t]
    slope_x, slope_z, tone, joint = _cobbles(plan, point[0], point[2], t * t * pixel / plan.eye_m * 0.4)
    puddle = smoothstep(0.05, 0.5, fbm(0.55 * point[0], 0.3 * point[2], plan.table, 4))
    slope_x, slope_z = slope_x * (1 - 0.8 * puddle), slope_z * (1 - 0.8 * puddle)
    length = np.sqrt(1 + slope_x ** 2 + slope_z ** 2)
    normal: list[Floats] = [slope_x / length, 1 / length, slope_z / length]
    dot = x * normal[0] + y * normal[1] + normal[2]
    mirror = (x - 2 * dot * normal[0], np.maximum(y - 2 * dot * normal[1], 0.01), 1 - 2 * dot * normal[2])
    origin = (point[0], point[1] + 0.01, point[2])
    seen, distance = _see(plan, origin, mirror, pixel)
    seen = np.minimum(seen + _lamp_halo(plan, origin, mirror, distance), 5)
    cosine = np.clip(-dot / np.sqrt(x * x + y * y + 1), 0, 1)
    fresnel = (0.07 + 0.10 * puddle + 0.8 * (1 - cosine) ** 4.5) * (1 - 0.6 * joint)
    stone = mix(linear("#5f5c5c"), linear("#7a6a5c"), smoothstep(0.8, 1.2, tone))
    stone = stone * (tone * (1 - 0.75 * joint))[..., None]
    return stone * _lit(plan, point, normal) * 0.8 + seen * np.clip(fresnel, 0, 0.8)[..., None]
