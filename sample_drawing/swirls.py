"""Style picture `swirls`: a night sky in thick brush strokes that follow a flow with vortices.

A smooth underpainting gives each stroke its color, the flow gives its path. Strokes are laid down in passes from broad
to fine; each sets color and paint height, and the height is lit at the end (impasto).
"""

from typing import NamedTuple

import numpy as np

from sample_drawing.canvas import Canvas, Pixels, blur, canvas, color, finish, mix, ramp, slopes, smoothstep
from sample_drawing.noise import Floats, fbm, lattice

_NIGHTS = (  # darkest, deep, middle, light, pale
    ("#0b1440", "#14307c", "#2a62b0", "#5fa3cf", "#b9d9d4"),
    ("#0a1a3a", "#123f73", "#1f7a9a", "#5cb3b0", "#cfe3c0"),
    ("#150f3d", "#2b2a80", "#4a5fb8", "#8aa0d8", "#cfd6ea"),
    ("#0d1830", "#1c3a6b", "#35659c", "#7fa6bd", "#d9dcc0"),
)
_GOLDS = (("#f9efb4", "#f3c63f", "#d98f1f"), ("#fff3cf", "#f2b950", "#cf7a2b"), ("#f7f3c0", "#e9d24a", "#b9a02a"))
_BRISTLES = 14


class Night(NamedTuple):
    """What the seed decides: stars and vortices as rows (x, y, radius, turn), the skyline, the colors."""

    stars: Floats
    vortices: Floats
    sky: list[Floats]
    gold: list[Floats]
    skyline: float
    trees: Floats
    table: Floats


class Paint(NamedTuple):
    """The painted surface: color [H·W, 3] and height [H·W]."""

    rgb: Floats
    height: Floats


def swirls(seed: int, long_side_px: int = 600) -> Pixels:
    """A swirling night, uint8 [H, W, 3] in 5:4; the seed moves stars, vortices, hills, trees and palette."""
    rng = np.random.default_rng(seed)
    view = canvas(long_side_px, 1.25)
    night = _plan(rng, view.aspect)
    crest = _crest(night, view.x[:1])
    flow_x, flow_y = _flow(night, view, crest)
    under = _underpainting(night, view, crest, flow_x, flow_y)
    paint = Paint(under.reshape(-1, 3) * 0.8, np.zeros(view.x.size, np.float32))
    for count, length, width in ((1000, 0.17, 0.030), (2300, 0.12, 0.0175), (2600, 0.075, 0.011)):
        _lay(rng, view, paint, under, (flow_x, flow_y), count, length, width)
    return finish(_lit(view, paint))


def _plan(rng: np.random.Generator, aspect: float) -> Night:
    """Stars kept apart by rejection; one large vortex near the middle of the sky and a companion turning against it."""
    stars = [(rng.choice([0.16, 0.84]) * aspect + rng.uniform(-0.06, 0.06), rng.uniform(0.14, 0.2), 0.085, 1.0)]
    for _ in range(400):
        star = (rng.uniform(0.06, aspect - 0.06), rng.uniform(0.05, 0.56), rng.uniform(0.022, 0.045),
                rng.choice([-1.0, 1.0]))
        if all(np.hypot(star[0] - s[0], star[1] - s[1]) > 0.17 + s[2] for s in stars) and len(stars) < 11:
            stars.append(star)
    turn = rng.choice([-1.0, 1.0])
    x, y = aspect * rng.uniform(0.4, 0.6), rng.uniform(0.32, 0.4)
    away = rng.choice([-1.0, 1.0])
    vortices = [(x, y, 0.17, turn), (x + away * rng.uniform(0.3, 0.36), y + rng.uniform(0.03, 0.12), 0.11, -turn),
                (x - away * rng.uniform(0.36, 0.5), y + rng.uniform(-0.15, 0.1), 0.09, -turn)]
    stars = [s for s in stars if all(np.hypot(s[0] - v[0], s[1] - v[1]) > 0.75 * v[2] for v in vortices)]
    foot = aspect * (rng.uniform(0.1, 0.2) if stars[0][0] > aspect / 2 else rng.uniform(0.8, 0.9))
    trees = [(foot, 1.05, rng.uniform(0.6, 0.72), 0.06), (foot + 0.09, 1.05, rng.uniform(0.38, 0.46), 0.042)]
    night, gold = _NIGHTS[rng.integers(len(_NIGHTS))], _GOLDS[rng.integers(len(_GOLDS))]
    return Night(np.array(stars, np.float32), np.array(vortices, np.float32), [color(c) for c in night],
                 [color(c) for c in gold], rng.uniform(0.68, 0.75), np.array(trees, np.float32), lattice(rng))


def _crest(night: Night, x: Floats) -> Floats:
    """The skyline of the hills."""
    return night.skyline + 0.075 * fbm(1.7 * x, np.zeros_like(x), night.table, 3)


def _tree_cover(night: Night, view: Canvas) -> Floats:
    """1 inside the flame-shaped trees."""
    cover = np.zeros_like(view.x)
    for foot, base, tall, wide in night.trees:
        up = (base - view.y) / tall
        bend = foot + 0.025 * np.sin(7 * up + foot * 9) * up
        half = wide * np.clip(np.sin(np.pi * np.clip(up, 0, 1) ** 0.55), 0, 1) * (1.05 - 0.35 * up)
        cover = np.maximum(cover, ((np.abs(view.x - bend) < half) & (up > 0) & (up < 1)).astype(np.float32))
    return cover


def _flow(night: Night, view: Canvas, crest: Floats) -> tuple[Floats, Floats]:
    """Unit directions: a wavy drift, turned around stars and vortices; along the slopes on hills; upwards in trees."""
    wave = fbm(1.3 * view.x, 1.3 * view.y + 4, night.table, 3)
    along_x, along_y = np.cos(0.9 * wave), np.sin(0.9 * wave)
    for x, y, radius, turn in np.concatenate([night.vortices * [1, 1, 1.75, 1], night.stars * [1, 1, 1.3, 1]]):
        dx, dy = view.x - np.float32(x), view.y - np.float32(y)
        r = np.hypot(dx, dy) + 1e-6
        # A weight instead of a sum: the eye of the whirl stays where its color is.
        weight = np.exp(-((r / radius) ** 2.4))
        along_x = along_x * (1 - weight) + weight * (-turn * dy / r + 0.12 * dx / r)
        along_y = along_y * (1 - weight) + weight * (turn * dx / r + 0.12 * dy / r)
    slope = np.gradient(crest, view.px, axis=1) + 0.5 * fbm(3 * view.x, 5 * view.y, night.table, 3)
    hill = smoothstep(-0.015, 0.01, view.y - crest)
    along_x, along_y = along_x * (1 - hill) + hill, along_y * (1 - hill) + hill * slope
    tree = _tree_cover(night, view) > 0
    along_x = np.where(tree, 0.45 * np.sin(14 * view.y + 9 * view.x), along_x)
    along_y = np.where(tree, -1, along_y)
    length = np.hypot(along_x, along_y) + 1e-6
    return (along_x / length).astype(np.float32), (along_y / length).astype(np.float32)


def _underpainting(night: Night, view: Canvas, crest: Floats, flow_x: Floats, flow_y: Floats) -> Floats:
    """Color before brushing; tones come from noise read upstream, so light and dark bands follow the flow."""
    height, width = view.x.shape
    x, y = view.x.copy(), view.y.copy()
    for _ in range(10):
        row = np.clip((y / view.px).astype(int), 0, height - 1)
        column = np.clip((x / view.px).astype(int), 0, width - 1)
        x, y = x - 0.022 * flow_x[row, column], y - 0.022 * flow_y[row, column]
    bands = fbm(4.6 * x, 4.6 * y, night.table, 4) + 0.35 * fbm(14 * x, 14 * y, night.table, 2)
    level = 0.40 + 0.32 * bands + 0.34 * smoothstep(0.05, night.skyline, view.y) ** 2
    for vortex_x, vortex_y, radius, turn in night.vortices:
        dx, dy = view.x - vortex_x, view.y - vortex_y
        r = np.hypot(dx, dy) / radius
        arms = 0.5 + 0.5 * np.cos(2 * np.arctan2(dy, dx) - turn * 7.5 * np.sqrt(r + 0.02))
        level = level + (0.75 * arms - 0.2) * np.exp(-1.2 * r * r) + 0.25 * np.exp(-14 * r * r)
    under = ramp(level, [0.0, 0.25, 0.5, 0.75, 1.05], night.sky)
    for star_x, star_y, radius, _ in night.stars:
        r = np.hypot(view.x - star_x, view.y - star_y) / radius + 0.12 * bands
        halo = ramp(r, [0.0, 0.55, 1.0, 1.5], [*night.gold, night.sky[3]])
        rings = 0.8 + 0.2 * np.cos(8.5 * r)
        under = mix(under, halo, np.exp(-(np.maximum(r - 0.5, 0) / 0.85) ** 2) * rings)
    return _land(night, view, crest, under, bands)


def _land(night: Night, view: Canvas, crest: Floats, under: Floats, bands: Floats) -> Floats:
    """Hills in blue and green with lit fields, a few warm windows, and the dark trees in front."""
    down = (view.y - crest) / (1.02 - night.skyline)
    fields = 0.5 + 0.5 * np.sin(15 * down + 6 * fbm(2.2 * view.x, 3 * view.y, night.table, 3))
    hills = ramp(down, [0.0, 0.35, 1.0], [color("#34608c"), color("#2a6a62"), color("#24503a")])
    hills = mix(hills, color("#a3ab52"), 0.65 * fields * smoothstep(0.1, 0.6, down))
    hills = mix(hills, night.gold[2], 0.35 * smoothstep(0.35, 0.9, bands) * smoothstep(0.25, 0.6, down))
    under = mix(under, hills, smoothstep(-0.004, 0.004, view.y - crest))
    rim = np.exp(-((view.y - crest) / 0.012) ** 2)
    under = mix(under, night.sky[4], 0.5 * rim)
    leaves = mix(color("#10241f"), color("#56662c"), smoothstep(0.1, 0.8, bands))
    return mix(under, leaves, _tree_cover(night, view))


def _paths(view: Canvas, flow: tuple[Floats, Floats], x: Floats, y: Floats, length: Floats, steps: int
           ) -> tuple[Floats, Floats]:
    """Stroke center lines [n, steps] by Euler steps along the flow, centered on (x, y)."""
    height, width = flow[0].shape

    def at(px: Floats, py: Floats) -> tuple[Floats, Floats]:
        row = np.clip((py / view.px).astype(int), 0, height - 1)
        column = np.clip((px / view.px).astype(int), 0, width - 1)
        return flow[0][row, column], flow[1][row, column]

    half = steps // 2
    path_x, path_y = np.empty((2, x.size, steps), np.float32)
    path_x[:, half], path_y[:, half] = x, y
    for sign, order in ((1, range(half + 1, steps)), (-1, range(half - 1, -1, -1))):
        px, py = x, y
        for k in order:
            dx, dy = at(px, py)
            px, py = px + sign * dx * length / steps, py + sign * dy * length / steps
            path_x[:, k], path_y[:, k] = px, py
    return path_x, path_y


def _lay(rng: np.random.Generator, view: Canvas, paint: Paint, under: Floats, flow: tuple[Floats, Floats],
         count: int, length: float, width: float) -> None:
    """One pass of strokes in random order, by groups that keep the arrays small."""
    rows, columns = view.x.shape
    x = rng.uniform(0, view.aspect, count).astype(np.float32)
    y = rng.uniform(0, 1, count).astype(np.float32)
    size = rng.uniform(0.7, 1.25, count).astype(np.float32)
    tone = rng.normal(0, 0.055, (count, 3)).astype(np.float32) * [1.0, 0.8, 1.1] + rng.normal(0, 0.05, (count, 1))
    base = under[np.clip((y * rows).astype(int), 0, rows - 1), np.clip((x * rows).astype(int), 0, columns - 1)]
    bristles = rng.uniform(0, 1, (2, count, _BRISTLES)).astype(np.float32)
    for start in range(0, count, 200):
        part = slice(start, start + 200)
        path = _paths(view, flow, x[part], y[part], length * size[part], 17)
        _scatter(view, paint, path, width * size[part], np.clip(base + tone, 0, 1)[part].astype(np.float32),
                 bristles[:, part], length)


def _scatter(view: Canvas, paint: Paint, path: tuple[Floats, Floats], width: Floats, tint: Floats,
             bristles: Floats, length: float) -> None:
    """Strokes as dense points (along s, across t) written in painting order: later points cover earlier ones."""
    rows, columns = view.x.shape
    along, across = int(1.45 * length / view.px) + 4, int(1.5 * float(width.max()) / view.px) + 4
    s, t = np.linspace(0, 1, along, dtype=np.float32), np.linspace(-1, 1, across, dtype=np.float32)
    knot = s * (path[0].shape[1] - 1)
    k = np.minimum(knot.astype(int), path[0].shape[1] - 2)
    part = knot - k
    x, y = (p[:, k] * (1 - part) + p[:, k + 1] * part for p in path)
    normal_x, normal_y = np.gradient(y, axis=1), -np.gradient(x, axis=1)
    half = width[:, None] * (0.5 * smoothstep(0, 0.1, s) ** 0.5 * (1 - 0.45 * s ** 3))
    half = half / (np.hypot(normal_x, normal_y) + 1e-9)
    column = ((x[..., None] + (normal_x * half)[..., None] * t) / view.px).astype(np.int32)
    row = ((y[..., None] + (normal_y * half)[..., None] * t) / view.px).astype(np.int32)
    position = (t + 1) / 2 * (_BRISTLES - 1)
    low = np.minimum(position.astype(int), _BRISTLES - 2)
    ridge, reach = (b[:, low] * (1 - position + low) + b[:, low + 1] * (position - low) for b in bristles)
    # Each bristle runs dry at its own length, so the end of a stroke is ragged.
    wet = s[None, :, None] < (0.78 + 0.3 * reach * (1 - 0.5 * t * t))[:, None, :]
    inside = wet & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    # Only the number of the covering point is scattered; color and height are looked up once for each pixel.
    top = np.full(rows * columns, -1, np.int32)
    top[(row * columns + column)[inside]] = np.flatnonzero(inside)
    covered = np.flatnonzero(top >= 0)
    stroke, step, bristle = np.unravel_index(top[covered], inside.shape)
    load = (0.55 + 0.45 * ridge) * (1 - 0.75 * t ** 6) * (width / view.px)[:, None]
    profile = 1 - 0.5 * s ** 2 + 0.35 * np.exp(-((s - 0.88) / 0.07) ** 2)
    paint.rgb[covered] = tint[stroke] * (1 + 0.26 * (ridge[stroke, bristle] - 0.5))[:, None]
    paint.height[covered] = load[stroke, bristle] * profile[step]


def _lit(view: Canvas, paint: Paint) -> Floats:
    """Light from the upper left on the relief: diffuse shading, and highlights on the ridges of wet paint."""
    shape = view.x.shape
    relief = blur(paint.height.reshape(shape), 0.00085 / view.px)
    dx, dy = slopes(relief)
    steep = 0.28
    length = np.sqrt(1 + (steep * dx) ** 2 + (steep * dy) ** 2)
    diffuse = (0.45 * steep * dx + 0.55 * steep * dy + 0.72) / length
    half = (0.27 * steep * dx + 0.33 * steep * dy + 0.905) / length
    rgb = blur(paint.rgb.reshape(*shape, 3), 0.0005 / view.px)
    return rgb * (0.36 + 0.86 * diffuse)[..., None] + (0.30 * np.clip(half, 0, 1) ** 42 - 0.012)[..., None]
