"""A sky as a function of direction: gradient, sun, and two layers of clouds lit from the sun's side."""

from typing import NamedTuple

import numpy as np

from sample_drawing.canvas import linear, mix, ramp, smoothstep
from sample_drawing.noise import Floats, fbm, lattice


class Sky(NamedTuple):
    """Colors in linear light; `sun` is a unit vector (right, up, forward)."""

    sun: Floats
    sunlight: Floats
    horizon: Floats
    middle: Floats
    zenith: Floats
    cloud_lit: Floats
    cloud_shade: Floats
    cover: float
    table: Floats


_PALETTES = {  # sunlight, horizon, middle, zenith, lit cloud, shaded cloud
    "golden": ("#ffb45e", "#fbc98a", "#86b4d8", "#2f69ad", "#fff0d6", "#8f8fb0"),
    "rose": ("#ffb08c", "#f7c3ae", "#b0a8cf", "#5a75b5", "#ffd9cf", "#8d86ad"),
    "clear": ("#ffe3b8", "#d9e6ea", "#7db2da", "#2f6cb4", "#ffffff", "#9fb0c4"),
    "dusk": ("#ff9d5c", "#f2a06a", "#5d7db0", "#22386e", "#f0a58c", "#5a628c"),
    "ember": ("#ff8a4a", "#ee8a5a", "#7a6f9c", "#2c3566", "#f59a78", "#61587f"),
    "violet": ("#ffa08a", "#e9a594", "#6f72b4", "#2b2f70", "#eaa0a8", "#5c5690"),
    "storm": ("#ffd9a0", "#e8d9b4", "#8aa3ae", "#4c6a80", "#f7ead0", "#66727f"),
}


def make_sky(rng: np.random.Generator, names: tuple[str, ...], azimuth: float, elevation: float) -> Sky:
    """A sky of one of the named palettes; angles in radians, the azimuth to the right of straight ahead."""
    sunlight, horizon, middle, zenith, lit, shade = map(linear, _PALETTES[names[rng.integers(len(names))]])
    sun = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    cover = float(rng.uniform(-0.06, 0.1))
    return Sky(sun.astype(np.float32), sunlight, horizon, middle, zenith, lit, shade, cover, lattice(rng))


def _clouds(sky: Sky, x: Floats, z: Floats, sharpness: float, octaves: int) -> tuple[Floats, Floats]:
    """Density in [0, 1] and how strongly it is lit, from the density's fall towards the sun."""
    warp = fbm(0.7 * x + 5, 0.7 * z, sky.table, 2)
    x, z = x + 0.3 * warp, z + 0.2 * warp
    here = fbm(x, z, sky.table, octaves)
    step = 0.22 * sky.sun[[0, 2]] / np.hypot(sky.sun[0], sky.sun[2])
    there = fbm(x + step[0], z + step[1], sky.table, max(2, octaves - 2))
    density = smoothstep(-sky.cover, sharpness - sky.cover, here)
    return density, np.clip(0.66 + 1.7 * (here - there) - 0.4 * density, 0, 1)


def sky_light(sky: Sky, x: Floats, y: Floats, z: Floats, octaves: int = 6) -> Floats:
    """Linear light from the direction (x, y, z), which need not have length 1; below the horizon y counts as 0."""
    length = np.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, np.maximum(y / length, 0), z / length
    toward_sun = np.clip(x * sky.sun[0] + y * sky.sun[1] + z * sky.sun[2], 0, 1)
    light = ramp(y, [0.0, 0.17, 0.5], [sky.horizon, sky.middle, sky.zenith])
    light = light + sky.sunlight * (0.5 * toward_sun ** 9 * np.exp(-6 * y) + 0.7 * toward_sun ** 60)[..., None]
    # High ice clouds: drawn out along one direction, thin; then the heaps, flattened by perspective.
    reach = 1 / (y + 0.06)
    streaks = fbm(0.9 * x * reach + 3, 4.1 * z * reach - 1.7 * x * reach, sky.table, octaves)
    light = mix(light, 1.3 * sky.cloud_lit, 0.3 * smoothstep(0.05, 0.7, streaks) * smoothstep(0.02, 0.3, y))
    density, lit = _clouds(sky, 1.25 * x * reach + 11, 1.25 * z * reach, 0.42, octaves)
    through = 1 + 1.2 * toward_sun ** 8
    cloud = mix(0.85 * sky.cloud_shade, 1.7 * sky.cloud_lit, lit) * through[..., None]
    cloud = mix(cloud, sky.horizon, 0.75 * np.exp(-9 * y))
    light = mix(light, cloud, 0.95 * density * smoothstep(0.0, 0.1, y))
    disc = smoothstep(0.99965, 0.9999, toward_sun) * (1 - 0.4 * density)
    return light + 9 * sky.sunlight * disc[..., None]
