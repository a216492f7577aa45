"""Content picture `coast`: a lighthouse on a rocky headland above the sea, in low sun.

The sea is a plane with a wavy normal that mirrors the sky and the land; the tower is a lit cone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from sample_drawing.canvas import (Canvas, Pixels, canvas, color, expose, finish, glow, linear, mix, smoothstep,
                                   to_floats, to_image)
from sample_drawing.coast_land import Coast, height_m, land_distance, land_light, plan_coast
from sample_drawing.noise import Floats, fbm, ridged
from sample_drawing.sky import sky_light

_SPREAD = 0.78  # the picture's height over its distance: a horizontal view of about 60 degrees


# The regions of `coast_mask`.
SKY, SEA, LAND = "#2050ff", "#20c060", "#ff8020"


class _Scene(NamedTuple):
    """All but sea and grass: directions (x, y), light, distance of the land (infinite elsewhere), where water is."""

    x: Floats
    y: Floats
    light: Floats
    distance: Floats
    water: NDArray[np.bool_]


def coast(seed: int, long_side_px: int = 768) -> Pixels:
    """A lighthouse coast, uint8 [H, W, 3] in 3:2; the seed moves sun, clouds, palette, headlands and tower."""
    rng = np.random.default_rng(seed)
    plan = plan_coast(rng)
    view = canvas(long_side_px, 1.5)
    x, y, light, distance, water = _land_and_sky(plan, view)
    light[water] = _sea(plan, light, distance, x, y, water)
    picture = expose(glow(light, view.px, 1.2, 0.10), 1.08)
    picture = _draw_grass(plan, rng, picture, distance, view.px)
    picture = picture * (1 - 0.1 * smoothstep(0.5, 1.1, np.hypot(x / 0.585, (view.y - 0.5) * 1.5)))[..., None]
    return finish(picture if plan.mirror > 0 else picture[:, ::-1])


def coast_mask(seed: int, long_side_px: int = 768) -> Pixels:
    """Which part of `coast` of this seed and size is `SKY`, `SEA` and `LAND`, in these colors; soft at the edges."""
    plan = plan_coast(np.random.default_rng(seed))
    scene = _land_and_sky(plan, canvas(long_side_px, 1.5))
    picture = np.empty((*scene.water.shape, 3), np.float32)
    for area, code in ((True, SKY), (np.isfinite(scene.distance), LAND), (scene.water, SEA)):
        picture[area] = color(code)
    return finish(picture if plan.mirror > 0 else picture[:, ::-1])


def _land_and_sky(plan: Coast, view: Canvas) -> _Scene:
    x, y = (view.x - view.aspect / 2) * _SPREAD, (plan.horizon - view.y) * _SPREAD
    distance = land_distance(plan, view.px, x[0], y[:, 0])
    water = (y < 0) & (-plan.eye_m / np.minimum(y, -1e-6) < distance)
    land = np.isfinite(distance) & ~water
    light = sky_light(plan.sky, x, y, np.ones_like(x))
    light[land] = _hazed(plan, land_light(plan, x[land] * distance[land], distance[land], _SPREAD * view.px),
                         x[land], distance[land])
    tower_x, tower_z = plan.tower[0] / plan.tower[1], plan.tower[1]
    columns = np.abs(x[0] - tower_x) < 20 / tower_z
    near = (slice(0, int((y[:, 0] > -0.12).sum())), slice(*(np.flatnonzero(columns)[[0, -1]] + [0, 1])))
    _draw_tower(plan, light[near], distance[near], x[near], y[near], _SPREAD * view.px)
    return _Scene(x, y, light, np.where(water, np.inf, distance), water)


def _hazed(plan: Coast, light: Floats, x: Floats, distance: Floats) -> Floats:
    """Light after air: Beer–Lambert extinction toward the color of the horizon, brighter under the sun."""
    toward_sun = np.clip(1 - np.abs(x - plan.sky.sun[0] / plan.sky.sun[2]), 0, 1) ** 3
    air = plan.sky.horizon * (0.62 + 0.5 * toward_sun)[..., None] + 0.12 * plan.sky.middle
    return mix(light, air, 1 - np.exp(-np.maximum(distance - 30, 0) / 1500))


def _wave_slopes(plan: Coast, x: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Slopes of the water across and along the view: swell, chop and ripples, calmer with distance."""
    gusts = 0.65 + 0.5 * fbm(x / 60, z / 160, plan.table, 3)
    swell = fbm(x / 14, z / 5, plan.table, 3)
    chop = fbm(x / 2.3 + 9, z / 1.1, plan.table, 4)
    far = 1 / (1 + z / 260)
    return 0.05 * (swell + chop) * gusts * far, (0.085 * swell + 0.1 * chop * gusts) * (0.25 + 0.75 * far)


def _sea(plan: Coast, light: Floats, distance: Floats, x: Floats, y: Floats, water: NDArray[np.bool_]) -> Floats:
    """Light from the water pixels: mirrored sky and land by Schlick's Fresnel term, water color, foam, glitter."""
    x, y = x[water], y[water]
    z = -plan.eye_m / y
    world_x = x * z
    slope_x, slope_z = _wave_slopes(plan, world_x, z)
    # r = d − 2(d·n)n for the unit normal n ∝ (−slope_x, 1, −slope_z).
    down = (-x * slope_x + y - slope_z) / (1 + slope_x ** 2 + slope_z ** 2)
    mirror_x, mirror_y, mirror_z = x + 2 * down * slope_x, y - 2 * down, 1 + 2 * down * slope_z
    mirror_y = np.maximum(np.abs(mirror_y), 0.004)
    reflected = sky_light(plan.sky, mirror_x, mirror_y, mirror_z, octaves=3)
    shore, covered = _mirrored_land(plan, light, distance, mirror_x / mirror_z, mirror_y / mirror_z, z, x.size)
    reflected = mix(np.minimum(reflected, 4), 0.8 * shore, covered)
    cosine = np.clip(-down / np.sqrt(x * x + y * y + 1), 0, 1)
    fresnel = 0.03 + 0.97 * (1 - cosine) ** 5
    depth = height_m(plan, world_x, z, 4) + 0.9 * fbm(world_x / 5, z / 3, plan.table, 3)
    shallow = np.where(z < 900, smoothstep(-9, -1, depth), 0)
    body = mix(linear("#0f3d52"), linear("#3f8f8b"), 0.25 + 0.55 * shallow) * (0.45 + plan.sky.middle)
    out = mix(body, reflected, np.clip(fresnel, 0, 0.92))
    out = mix(out, 0.75 * plan.sky.cloud_lit + 0.2 * plan.sky.middle, _foam(plan, world_x, z, depth))
    return _hazed(plan, out, x, 0.5 * z)


def _mirrored_land(plan: Coast, light: Floats, distance: Floats, x: Floats, y: Floats, z: Floats,
                   count: int) -> tuple[Floats, Floats]:
    """What the upward ray (x, y) from the water at distance z meets on land, and 1 where it meets any."""
    height, width = distance.shape
    column = np.clip(((x / _SPREAD + 0.75) * height).astype(int), 0, width - 1)
    own = y.copy()
    for _ in range(3):
        # A point at height h and distance D stands at (h − eye)/D; its mirror image is seen at (h + eye)/D.
        row = np.clip(((plan.horizon - own / _SPREAD) * height).astype(int), 0, height - 1)
        far = distance[row, column]
        own = np.where(np.isfinite(far), y - 2 * plan.eye_m / np.maximum(far, z), own - 0.15 * plan.eye_m / z)
    return light[row, column], (np.isfinite(far) & (far > z)).astype(np.float32)


def _foam(plan: Coast, x: Floats, z: Floats, depth: Floats) -> Floats:
    """Surf in broken bands where the ground rises to the surface, and a few crests offshore."""
    torn = ridged(x / 2.6, z / 1.9, plan.table, 5)
    bands = 0.5 + 0.5 * np.sin(2.6 * depth + 2.5 * fbm(x / 9, z / 9, plan.table, 3))
    surf = smoothstep(-5.5, -1.2, depth) * (0.35 + 0.65 * bands) + smoothstep(-1.6, -0.4, depth)
    surf = smoothstep(0.72, 1.25, surf * 0.75 + torn) * smoothstep(-6, -3, depth) * (z < 900)
    crests = ridged(x / 9, z / 3.2, plan.table, 4) - 0.1 * fbm(x / 50, z / 50, plan.table, 2)
    caps = 0.55 * smoothstep(0.865, 0.95, crests) / (1 + z / 400)
    return np.clip(np.maximum(surf, caps), 0, 0.95)


def _draw_tower(plan: Coast, light: Floats, distance: Floats, x: Floats, y: Floats, pixel: float) -> None:
    """The lighthouse into `light` and `distance`: stacked bodies of revolution, each (bottom, top, radii, color)."""
    tower_x, tower_z = plan.tower
    base = float(height_m(plan, np.array([tower_x]), np.array([tower_z]), 4)[0]) - 0.7
    across, up = x * tower_z - tower_x, y * tower_z + plan.eye_m - base
    soft = pixel * tower_z
    free = distance > 0.96 * tower_z
    white, red, iron = linear("#f1ece2"), linear("#a63a2c"), linear("#3a3d40")
    parts = [(-2, 18, 2.7, 1.75, white), (6.2, 10.4, 2.44, 2.24, red), (17.8, 18.3, 2.1, 2.6, white),
             (18.3, 18.6, 2.7, 2.7, iron), (18.6, 21.4, 1.25, 1.25, linear("#ffdf9a")), (21.4, 21.7, 1.6, 1.6, iron),
             (21.7, 23.5, 1.5, 0.25, red), (23.5, 25.3, 0.09, 0.05, iron)]
    for bottom, top, low_radius, high_radius, paint in parts:
        radius = low_radius + (high_radius - low_radius) * np.clip((up - bottom) / (top - bottom), 0, 1)
        cover = smoothstep(soft, -soft, np.abs(across) - radius) * (up >= bottom) * (up < top) * free
        round_x = np.clip(across / radius, -1, 1)
        facing = np.clip(round_x * plan.key[0] - np.sqrt(1 - round_x ** 2) * plan.key[2] * 0.2 + 0.12, 0, 1)
        stain = 1 - 0.13 * np.clip(fbm(2.2 * across, 0.35 * up, plan.table, 4), 0, 1)
        tone = 2.3 * facing[..., None] * plan.sky.sunlight + 0.62 * (plan.sky.middle + 0.4 * plan.sky.horizon)
        body = paint * tone * stain[..., None]
        if bottom == 18.6:
            bars = smoothstep(0.1, 0.3, np.abs(np.sin(np.arcsin(round_x) * 4)))
            body = mix(iron * 0.5, 1.2 * paint * (1 + 6 * np.exp(-round_x ** 2 * 3))[..., None], bars)
        light[:] = mix(light, _hazed(plan, body, x, np.full_like(x, tower_z)), cover)
        distance[cover > 0.5] = tower_z
    for level in (3.0, 12.2, 15.2):
        hole = (np.abs(across - 0.35) < 0.3) & (np.abs(up - level) < 0.62)
        light[hole] = 0.06
    rail = (np.abs(across) < 2.7) & (up > 18.6) & (up < 19.6)
    posts = rail & ((np.abs(up - 19.55) < 0.07) | (np.abs(up - 19.1) < 0.05) | (np.abs(across * 1.6 % 1 - 0.5) < 0.07))
    light[posts] = iron * 0.8
    _draw_cottage(plan, light, distance, np.where(free, across + 15.5, 99), up)


def _draw_cottage(plan: Coast, light: Floats, distance: Floats, across: Floats, up: Floats) -> None:
    """The keeper's house beside the tower: gable end in the sun, long side and slate roof in the light of the sky."""
    ambient = 0.75 * (plan.sky.middle + 0.45 * plan.sky.horizon)
    sunny = 1.7 * plan.sky.sunlight + 0.5 * ambient
    side = (across > 0) & (across < 8) & (up > -4) & (up < 3.0)
    gable = (across >= 8) & (across < 11) & (up > -4) & (up < 3.0 + 2.2 * (1 - np.abs(across - 9.5) / 1.5))
    roof = (up >= 3.0) & (up < 5.2) & (across > -0.3 + 0.68 * (up - 3.0)) & (across < 7.9 + 0.68 * (up - 3.0))
    chimney = (np.abs(across - 2.6) < 0.5) & (up >= 4.6) & (up < 6.3)
    tiles = (0.9 + 0.2 * fbm(across * 3, up * 3, plan.table, 3))[..., None]
    for area, tone in ((chimney, linear("#8a5a48") * (ambient + 0.6 * plan.sky.sunlight)),
                       (side, linear("#ece6d8") * (ambient + 0.22 * plan.sky.sunlight)),
                       (gable, linear("#f0e8da") * sunny),
                       (roof, linear("#6a6a70") * (ambient + 0.5 * plan.sky.sunlight))):
        light[area] = (tone * tiles)[area]
        distance[area] = plan.tower[1]
    panes = side & (np.abs(across % 2.6 - 1.3) < 0.42) & (np.abs(up - 1.5) < 0.6)
    light[panes] = linear("#5c6b78") * ambient
    light[gable & (np.abs(across - 9.5) < 0.4) & (np.abs(up - 2.2) < 0.5)] = 0.08


def _draw_grass(plan: Coast, rng: np.random.Generator, picture: Floats, distance: Floats, px: float) -> Floats:
    """Blades bent by the wind over the nearest ground, far ones first, and a few flower heads."""
    height, width = distance.shape
    count = 36000
    center_x, center_z, radius_x, radius_z, _ = plan.headlands[0]
    # Even in the logarithm of the distance is about even on the picture.
    z = np.exp(np.sort(rng.uniform(np.log(max(3.5, center_z - radius_z)), np.log(center_z + radius_z), count)))[::-1]
    z = z.astype(np.float32)
    x = (center_x + rng.uniform(-1.1, 1.1, count) * radius_x).astype(np.float32)
    ground = height_m(plan, x, z, 7)
    tint = 0.5 + 0.5 * fbm(0.5 * x, 0.5 * z, plan.table, 3) + rng.normal(0, 0.16, count)
    length = rng.uniform(0.22, 0.5, count) * (0.8 + 0.5 * fbm(0.35 * x, 0.35 * z, plan.table, 2))
    lean = 0.55 * length * (0.5 + rng.uniform(-0.6, 0.9, count))
    flower = rng.uniform(size=count) < 0.022
    column = (x / z / _SPREAD + 0.75) * height
    row = (plan.horizon - (ground - plan.eye_m) / z / _SPREAD) * height
    scale = height / (_SPREAD * z)
    image = to_image(picture)
    brush = ImageDraw.Draw(image)
    dark, bright, heads = color("#3f4d22"), color("#d3c06c"), (color("#e79bb0"), color("#f4e3a0"), color("#e8e4ee"))
    for k in range(count):
        i, j = int(row[k]), int(column[k])
        if not (0 <= i < height * 1.08 and -20 < j < width + 20):
            continue
        seen = distance[min(i, height - 1), min(max(j, 0), width - 1)]
        if not seen < 1.15 * z[k] or seen < 0.8 * z[k]:
            continue
        tip_x, tip_y = column[k] + lean[k] * scale[k], row[k] - length[k] * scale[k]
        half = 0.011 * scale[k]
        bend_x, bend_y = column[k] + 0.3 * lean[k] * scale[k], row[k] - 0.62 * length[k] * scale[k]
        tone = dark + (bright - dark) * min(max(float(tint[k]), 0.0), 1.0)
        ink = tuple((tone * 255).astype(int))
        brush.polygon([(column[k] - half, row[k]), (bend_x - 0.7 * half, bend_y), (tip_x, tip_y),
                       (bend_x + 0.7 * half, bend_y), (column[k] + half, row[k])], fill=ink)
        if flower[k]:
            size = 0.035 * scale[k]
            ink = tuple((heads[k % 3] * 255).astype(int))
            brush.ellipse([tip_x - size, tip_y - 0.7 * size, tip_x + size, tip_y + 0.7 * size], fill=ink)
    return to_floats(image)
