"""The land of the picture `coast`: a height field seen column by column, and its shading.

Each column walks away from the viewer and keeps its running skyline; a pixel shows the first step whose skyline
passes it. Lengths are meters; screen directions are (X, Y, 1) with Y = 0 at the horizon.
"""

from typing import NamedTuple

import numpy as np

from sample_drawing.canvas import linear, mix, smoothstep
from sample_drawing.noise import Floats, fbm, lattice, ridged
from sample_drawing.sky import Sky, make_sky

_NEAR_M, _FAR_M = 4.0, 6000.0


class Coast(NamedTuple):
    """What the seed decides."""

    sky: Sky
    key: Floats  # where the light on the land comes from
    eye_m: float
    horizon: float
    mirror: float
    headlands: Floats  # rows of center x, center z, radius x, radius z, height
    tower: tuple[float, float]
    table: Floats


def plan_coast(rng: np.random.Generator) -> Coast:
    """The scene's numbers: sun and sky, eye height, the near knoll, the tower's headland, stacks, far capes."""
    sky = make_sky(rng, ("golden", "golden", "rose", "clear", "storm"), rng.uniform(0.30, 0.44), rng.uniform(0.13, 0.2))
    eye = rng.uniform(13, 17)
    tower_x, tower_z = rng.uniform(-36, -24), rng.uniform(112, 135)
    rows = [
        (-9 + rng.uniform(-3, 2), 13, 13, 9, eye - 2.6),
        (tower_x - 16, tower_z, 40 + rng.uniform(0, 12), 26, 19 + rng.uniform(-2, 4)),
        (tower_x + 28 + rng.uniform(0, 6), tower_z - 4, 7, 6, 9 + rng.uniform(0, 4)),
        (tower_x + 40 + rng.uniform(0, 5), tower_z + 6, 4, 4, 6 + rng.uniform(0, 3)),
        (rng.uniform(14, 22), rng.uniform(44, 52), 6, 4, 2.6),
        (-330 + rng.uniform(-40, 40), 640, 270, 120, 62 + rng.uniform(-8, 16)),
        (rng.uniform(420, 640), 1150, 360, 160, 80 + rng.uniform(-10, 40)),
        (rng.uniform(-700, 300), 2700, 800, 300, 150 + rng.uniform(0, 60)),
    ]
    headlands = np.array(rows, np.float32)
    mirror = -1.0 if rng.uniform() < 0.5 else 1.0
    # The sun stands in the picture, the land is lit from farther to the side: against the light it would be black.
    side, low = rng.uniform(1.1, 1.4), 0.42
    key = np.array([np.sin(side) * np.cos(low), np.sin(low), np.cos(side) * np.cos(low)], np.float32)
    return Coast(sky, key, eye, rng.uniform(0.47, 0.52), mirror, headlands, (tower_x, tower_z), lattice(rng))


def height_m(coast: Coast, x: Floats, z: Floats, octaves: int) -> Floats:
    """Meters above the sea: for each headland a plateau with a steep rim, roughened by ridged noise."""
    height = np.full(np.broadcast(x, z).shape, -8, np.float32)
    for center_x, center_z, radius_x, radius_z, top in coast.headlands:
        across, along = (x - center_x) / radius_x, (z - center_z) / radius_z
        inside = 1 - across * across - along * along
        near = inside > -1.6
        if not near.any():
            continue
        size = min(radius_x, radius_z)
        px, pz = x[near] / size, z[near] / size
        rough = fbm(1.6 * px, 1.6 * pz, coast.table, octaves)
        rim = inside[near] + 0.42 * rough
        crags = ridged(3.1 * px + 7, 3.1 * pz, coast.table, octaves)
        # Rock stands in steps: the plateau is reached over a cliff, with ledges left at its foot.
        shape = 0.16 * smoothstep(-0.5, 0.1, rim) + 0.66 * smoothstep(0.0, 0.34, rim) + 0.18 * smoothstep(0.3, 1.2, rim)
        if size < 8:
            shape = shape * (0.35 + 0.65 * np.clip(rim, 0, 1))
        bare = smoothstep(0.75, 0.2, rim)
        raised = top * (shape * (1 + 0.1 * rough) + 0.22 * (crags - 0.62) * bare * shape ** 0.5)
        raised -= 2.2 * (1 - shape) ** 8 + 3.6 * np.clip(-rim - 0.2, 0, 2)
        ledge = raised / 1.7 + 0.6 * rough
        part = ledge - np.floor(ledge)
        raised = raised + 0.9 * (smoothstep(0.25, 0.75, part) - part) * bare * smoothstep(-1, 2, raised)
        height[near] = np.maximum(height[near], raised)
    return height


def land_distance(coast: Coast, px: float, columns: Floats, heights: Floats) -> Floats:
    """Distance to the land for each pixel: the first step of its column whose running skyline passes the pixel."""
    steps = round(0.9 / px)
    z = np.geomspace(_NEAR_M, _FAR_M, steps).astype(np.float32)
    field = height_m(coast, columns[None, :] * z[:, None], np.broadcast_to(z[:, None], (steps, columns.size)), 7)
    skyline = np.maximum.accumulate((field - coast.eye_m) / z[:, None], axis=0)
    distance = np.full((heights.size, columns.size), np.inf, np.float32)
    for j in range(columns.size):
        line = skyline[:, j]
        first = np.searchsorted(line, heights)
        seen = first < steps
        k = np.maximum(first[seen], 1)
        part = (heights[seen] - line[k - 1]) / np.maximum(line[k] - line[k - 1], 1e-9)
        distance[seen, j] = z[k - 1] + np.clip(part, 0, 1) * (z[k] - z[k - 1])
    return distance


def land_light(coast: Coast, x: Floats, z: Floats, pixel: float) -> Floats:
    """Rock with strata and grass on the flats, in sunlight (with cast shadow) and light of the sky."""
    sun, table = coast.key, coast.table
    step = np.maximum(0.03, 1.2 * z * pixel)
    height = height_m(coast, x, z, 7)
    dx = (height_m(coast, x + step, z, 7) - height) / step
    dz = (height_m(coast, x, z + step, 7) - height) / step
    up = 1 / np.sqrt(1 + dx * dx + dz * dz)
    facing = np.clip((-dx * sun[0] + sun[1] - dz * sun[2]) * up, 0, 1)
    reach = 3 + 0.035 * z
    shadow = np.ones_like(x)
    for k in (0.15, 0.4, 1.0, 2.0, 3.5):
        blocked = height_m(coast, x + k * reach * sun[0], z + k * reach * sun[2], 4) - height - k * reach * sun[1]
        shadow *= smoothstep(0.5 * reach * k ** 0.5 * 0.4, -0.02 * reach, blocked)
    grain = fbm(0.9 * x, 0.9 * height + 0.4 * z, table, 5)
    strata = fbm(0.05 * x, 1.6 * height + 0.05 * z, table, 4)
    rock = mix(linear("#6d5f55"), linear("#b39a80"), smoothstep(-0.7, 0.8, strata + 0.6 * grain))
    rock = mix(linear("#2a2c2d"), rock, smoothstep(0.0, 2.2, height - 0.6 * grain))
    green = mix(linear("#4f6a2c"), linear("#a3a04a"), smoothstep(-0.6, 0.7, fbm(0.11 * x, 0.11 * z, table, 4)))
    # Under the drawn blades lies their shade.
    green = mix(green, 0.8 * linear("#26401a"), np.exp(-(z / 26) ** 2))
    grass = smoothstep(0.62, 0.8, up + 0.12 * grain + 1.1 * np.exp(-z / 16)) * smoothstep(2.5, 5.5, height)
    albedo = mix(rock, green, grass)
    ambient = (0.35 + 0.65 * up)[..., None] * (0.55 * coast.sky.middle + 0.2 * coast.sky.horizon)
    return albedo * (2.6 * (facing * shadow)[..., None] * coast.sky.sunlight + 0.85 * ambient)
