"""Style picture `watercolor`: a loose meadow bouquet in transparent washes on rough paper.

A wash is a shape with a noisy rim. Pigment absorbs light, so densities add and the paper shines through as
exp(−Σ thickness·absorbance) (Beer–Lambert). Water carries pigment to the rim (dark edges), into the hollows of the
paper (granulation), and pushes it back in blooms (effects after Curtis et al. 1997, drawn here without simulation).
"""

from typing import NamedTuple

import numpy as np

from sample_drawing.canvas import Canvas, Pixels, canvas, color, finish, slopes, smoothstep
from sample_drawing.noise import Floats, fbm, lattice, value_noise

_PETALS = (("#e8473a", "#f2872f", "#e0407a"), ("#e64b86", "#f08fb0", "#b757b0"), ("#5a6fd0", "#8a63c4", "#3f9fd0"),
           ("#f29a2e", "#f6c93c", "#e8603a"))
_BACKS = (("#9fdcd8", "#fbe39a", "#f8c3c8"), ("#a9d4f2", "#f9ecb0", "#c9e6b4"), ("#c8e4a8", "#a8dff0", "#f7d2b0"),
          ("#d5cbf0", "#fbe0a8", "#a8e0d8"))
_LEAVES = ("#6fa03c", "#3f9a78", "#93ad3f", "#4f8a5a", "#5fa88a")


class Sheet(NamedTuple):
    """The paper under way: optical density [H, W, 3], grain in [-1, 1], and fields shared by all washes."""

    density: Floats
    grain: Floats
    rough: Floats
    pool: Floats
    table: Floats


class Flower(NamedTuple):
    """Where a flower stands: center, radius, tilt (how much it is seen from the side), turn, and its pigments."""

    x: float
    y: float
    radius: float
    tilt: float
    turn: float
    pigments: tuple[str, ...]


def watercolor(seed: int, long_side_px: int = 600) -> Pixels:
    """A watercolor, uint8 [H, W, 3] in 5:4; the seed moves flowers, leaves, blooms and splashes and picks pigments."""
    rng = np.random.default_rng(seed)
    view = canvas(long_side_px, 1.25)
    sheet = _sheet(rng, view)
    _background(rng, view, sheet)
    flowers = _arrange(rng, view.aspect)
    root = (view.aspect * rng.uniform(0.42, 0.58), 1.12)
    for flower in flowers:
        _stem(rng, view, sheet, flower, root)
    for _ in range(int(rng.integers(24, 30))):
        _leaf(rng, view, sheet, root)
    for flower in flowers:
        _flower(rng, view, sheet, flower)
    _splashes(rng, view, sheet, flowers)
    dx, dy = slopes(sheet.grain)
    relief = 1 - (0.35 * dx + 0.45 * dy) * np.float32(0.0016 / view.px) * 0.13
    paper = color("#fbf8f0") * relief[..., None]
    return finish(paper * np.exp(-sheet.density))


def _sheet(rng: np.random.Generator, view: Canvas) -> Sheet:
    table = lattice(rng)
    grain = fbm(95 * view.x, 95 * view.y, table, 3)
    rough = 0.010 * fbm(11 * view.x, 11 * view.y, table, 4) + 0.0022 * grain
    pool = fbm(4.5 * view.x, 4.5 * view.y, table, 4)
    return Sheet(np.zeros((*view.x.shape, 3), np.float32), grain, rough, pool, table)


def _absorbance(code: str) -> Floats:
    return -np.log(np.clip(color(code), 0.02, 0.995))


def _box(view: Canvas, x: float, y: float, reach: float, reach_y: float | None = None) -> tuple[slice, slice]:
    """The pixels within `reach` of (x, y)."""
    rows, columns = view.x.shape
    tall = reach if reach_y is None else reach_y
    top, bottom = (int(np.clip((y + k * tall) / view.px, 0, rows)) for k in (-1, 1))
    left, right = (int(np.clip((x + k * reach) / view.px, 0, columns)) for k in (-1, 1))
    return slice(top, bottom), slice(left, right)


def _wash(view: Canvas, sheet: Sheet, box: tuple[slice, slice], field: Floats, codes: tuple[str, str], blend: Floats,
          strength: float, soft: float = 0.0, rim: float = 0.5, wobble: float = 1.0) -> None:
    """Adds a wash where `field` < 0 (in picture heights); its pigment runs from the first code to the second.

    thickness = strength · cover · (pooling + rim·exp(field/δ)) · granulation; `soft` is the width of a wet edge.
    """
    grain, pool = sheet.grain[box], sheet.pool[box]
    field = field + sheet.rough[box] * (wobble + 40 * soft)
    width = max(soft, 1.2 * view.px)
    cover = smoothstep(width, -width, field)
    edge = np.exp(np.minimum(field, 0) / 0.0035) + 0.55 * np.exp(np.minimum(field, 0) / 0.018)
    body = 0.72 + 0.36 * pool + rim * edge * (soft < 0.01)
    thickness = strength * cover * np.maximum(body, 0.08) * (1 + 0.17 * grain * (1.2 - 0.4 * cover))
    weight = np.clip(blend, 0, 1)[..., None]
    pigment = _absorbance(codes[0]) * (1 - weight) + _absorbance(codes[1]) * weight
    sheet.density[box] += thickness[..., None] * pigment


def _background(rng: np.random.Generator, view: Canvas, sheet: Sheet) -> None:
    """Wet washes in three tints, an irregular white border, then blooms that push the pigment outward."""
    x, y = view.x, view.y
    codes = _BACKS[rng.integers(len(_BACKS))]
    everywhere = (slice(None), slice(None))
    border = np.maximum(np.abs(x / view.aspect - 0.5), np.abs(y - 0.5)) - 0.48
    border = border + 0.045 * fbm(3.1 * x + 9, 3.1 * y, sheet.table, 3)
    blend = 0.5 + 0.8 * fbm(1.3 * x, 1.3 * y + 7, sheet.table, 2)
    _wash(view, sheet, everywhere, border, codes[:2], blend, 0.8, rim=0.35)
    for k in range(6):
        cx, cy, reach = rng.uniform(0.1, view.aspect - 0.1), rng.uniform(0.08, 0.9), rng.uniform(0.12, 0.3)
        field = np.hypot(x - cx, 0.8 * (y - cy)) - reach + 0.15 * fbm(3 * x + k, 3 * y, sheet.table, 2)
        _wash(view, sheet, everywhere, np.maximum(field, border), (codes[k % 3], codes[(k + 1) % 3]), sheet.pool,
              rng.uniform(0.5, 0.85), soft=rng.choice([0.0, 0.03, 0.06]), rim=0.3)
    for _ in range(int(rng.integers(7, 11))):
        cx, cy, reach = rng.uniform(0.05, view.aspect - 0.05), rng.uniform(0.05, 0.95), rng.uniform(0.035, 0.12)
        box = _box(view, cx, cy, 1.8 * reach)
        dx, dy = x[box] - cx, y[box] - cy
        lobes = fbm(0.5 * dx / reach + 7 * cx, 0.5 * dy / reach + 3, sheet.table, 6, 0.62)
        out = np.hypot(dx, dy) / reach + 0.42 * lobes
        # Pigment leaves the inside and settles in a feathered front.
        washed = 1 - 0.62 * smoothstep(1.0, 0.82, out) + 0.75 * np.exp(-((out - 1.02) / 0.05) ** 2) * (out < 1.04)
        sheet.density[box] *= washed[..., None]
    for _ in range(9):
        cx, cy = rng.uniform(0.2, view.aspect - 0.2), rng.uniform(0.45, 0.95)
        box = _box(view, cx, cy, 0.3)
        field = np.hypot(1.5 * (x[box] - cx), y[box] - cy) - rng.uniform(0.05, 0.12)
        pair = (str(rng.choice(_LEAVES)), codes[0])
        _wash(view, sheet, box, field, pair, 0.5 + sheet.pool[box], 0.42, soft=0.055)


def _arrange(rng: np.random.Generator, aspect: float) -> list[Flower]:
    """Flowers by rejection: a few large ones near the middle, smaller ones around; back to front by size."""
    main, other = rng.permutation(len(_PETALS))[:2]
    placed: list[Flower] = []
    for _ in range(900):
        if len(placed) == 16:
            break
        radius = rng.uniform(0.13, 0.18) if len(placed) < 5 else rng.uniform(0.04, 0.09)
        spread = 0.24 if len(placed) < 5 else 0.42
        x, y = aspect / 2 + rng.normal(0, spread), 0.38 + rng.normal(0, 0.5 * spread)
        if not (radius * 0.7 < x < aspect - radius * 0.7 and radius * 0.8 < y < 0.72):
            continue
        if any(np.hypot(x - f.x, y - f.y) < 0.78 * (radius + f.radius) for f in placed):
            continue
        set_ = _PETALS[main if rng.uniform() < 0.68 else other]
        tilt, turn = rng.uniform(0.55, 0.95), rng.uniform(0, 2 * np.pi)
        placed.append(Flower(x, y, radius, tilt, turn, tuple(rng.permutation(set_))))
    return sorted(placed, key=lambda flower: flower.radius)


def _flower(rng: np.random.Generator, view: Canvas, sheet: Sheet, flower: Flower) -> None:
    """Overlapping petals, each its own wash that fades to the middle; a dark wet heart; dots of stamens."""
    box = _box(view, flower.x, flower.y, 1.5 * flower.radius)
    if 0 in view.x[box].shape:
        return
    # A petal covers what is behind it: lift the older pigment, as a painter leaves the white of the paper.
    dx, dy = view.x[box] - flower.x, (view.y[box] - flower.y) / flower.tilt
    r, theta = np.hypot(dx, dy) / flower.radius, np.arctan2(dy, dx)
    sheet.density[box] *= (1 - 0.9 * smoothstep(1.0, 0.86, r + 12 * sheet.rough[box]))[..., None]
    count = int(rng.integers(4, 7))
    for k in rng.permutation(count):
        lean = flower.turn + 2 * np.pi * k / count + rng.normal(0, 0.14)
        away = np.abs((theta - lean + np.pi) % (2 * np.pi) - np.pi)
        spread = 2 * np.pi / count * rng.uniform(0.62, 0.8)
        frill = 0.06 * value_noise(5 * theta + 9 * k, np.full_like(theta, 3 * flower.x), sheet.table)
        tip = rng.uniform(0.86, 1.05) * np.clip(np.cos(np.clip(away / spread, 0, 1) * np.pi / 2), 0, 1) ** 0.42 + frill
        field = flower.radius * np.maximum(0.8 * (r - tip), (0.05 - r) * 0.6)
        veins = 0.16 * value_noise(26 * theta, 1.5 * r, sheet.table)
        _wash(view, sheet, box, field, (flower.pigments[0], flower.pigments[int(rng.integers(1, 3))]),
              1.15 * r - 0.35 + 0.5 * sheet.pool[box] + veins, rng.uniform(0.5, 0.78), rim=0.55)
        _pencil(view, sheet, box, field)
    heart = flower.radius * (r - 0.21 - 0.05 * np.cos(7 * theta))
    _wash(view, sheet, box, heart, ("#4a2f55", "#3c4a2f"), 2.2 * r, 0.8, soft=0.05 * flower.radius)
    for _ in range(26):
        angle, out = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.36) * flower.radius
        _dot(view, sheet, flower.x + out * np.cos(angle), flower.y + flower.tilt * out * np.sin(angle),
             rng.uniform(0.012, 0.03) * flower.radius, "#3a2840", 0.95)


def _pencil(view: Canvas, sheet: Sheet, box: tuple[slice, slice], field: Floats) -> None:
    """A broken graphite line beside the outline, from the drawing under the washes."""
    near = field + 0.5 * sheet.rough[box] + 0.003
    broken = smoothstep(-0.1, 0.5, sheet.pool[box]) * smoothstep(-0.9, 0.5, sheet.grain[box])
    line = 0.42 * np.exp(-(near / (0.0007 + 0.5 * view.px)) ** 2) * broken
    sheet.density[box] += line[..., None]


def _dot(view: Canvas, sheet: Sheet, x: float, y: float, radius: float, code: str, strength: float) -> None:
    box = _box(view, x, y, 2 * radius + 4 * view.px)
    if 0 in view.x[box].shape:
        return
    field = np.hypot(view.x[box] - x, view.y[box] - y) - radius - sheet.rough[box] * 0.85
    cover = smoothstep(1.2 * view.px, -1.2 * view.px, field)
    ring = 0.7 + 0.6 * np.exp(np.minimum(field, 0) / (0.25 * radius))
    sheet.density[box] += (strength * cover * ring)[..., None] * _absorbance(code)


def _curve(start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float], view: Canvas,
           box: tuple[slice, slice]) -> tuple[Floats, Floats]:
    """Signed distance to a quadratic Bézier curve and the parameter of the nearest point, by 14 segments."""
    t = np.linspace(0, 1, 15)
    points = [(1 - t) ** 2 * start[k] + 2 * t * (1 - t) * middle[k] + t ** 2 * end[k] for k in range(2)]
    x, y = view.x[box], view.y[box]
    best, signed, at = np.full(x.shape, np.inf, np.float32), np.zeros_like(x), np.zeros_like(x)
    for k in range(14):
        ax, ay = np.float32(points[0][k]), np.float32(points[1][k])
        bx, by = np.float32(points[0][k + 1]) - ax, np.float32(points[1][k + 1]) - ay
        part = np.clip(((x - ax) * bx + (y - ay) * by) / (bx * bx + by * by + 1e-12), 0, 1)
        dx, dy = x - ax - part * bx, y - ay - part * by
        square = dx * dx + dy * dy
        closer = square < best
        best = np.where(closer, square, best)
        signed = np.where(closer, bx * dy - by * dx, signed)
        at = np.where(closer, (k + part) / 14, at)
    return np.sqrt(best) * np.sign(signed), at


def _stem(rng: np.random.Generator, view: Canvas, sheet: Sheet, flower: Flower, root: tuple[float, float]) -> None:
    """A thin stem from the flower down to where the bouquet is held."""
    foot = (root[0] + 0.4 * (flower.x - root[0]) + rng.normal(0, 0.05), root[1])
    middle = (flower.x + rng.normal(0, 0.05), 0.5 * (flower.y + 1.0))
    left, right = sorted((flower.x, foot[0]))
    box = _box(view, (left + right) / 2, (flower.y + 1) / 2, (right - left) / 2 + 0.06, (1 - flower.y) / 2 + 0.02)
    off, t = _curve((flower.x, flower.y), middle, foot, view, box)
    field = np.abs(off) - 0.0045 - 0.002 * np.sin(9 * t + flower.turn)
    _wash(view, sheet, box, field, (str(rng.choice(_LEAVES)), "#7a6a3a"), t, 0.7, rim=0.25, wobble=0.3)


def _leaf(rng: np.random.Generator, view: Canvas, sheet: Sheet, root: tuple[float, float]) -> None:
    """A lens-shaped leaf on an arc; its halves take different amounts of pigment, the midrib stays light."""
    x, y = root[0] + rng.normal(0, 0.33), rng.uniform(0.5, 1.05)
    length, angle = rng.uniform(0.14, 0.3), -np.pi / 2 + np.sign(x - root[0]) * rng.uniform(0.2, 1.25)
    tip = (x + length * np.cos(angle), y + length * np.sin(angle))
    middle = ((x + tip[0]) / 2 + rng.normal(0, 0.05), (y + tip[1]) / 2 + rng.normal(0, 0.04))
    box = _box(view, (x + tip[0]) / 2, (y + tip[1]) / 2, 0.75 * length)
    if 0 in view.x[box].shape:
        return
    off, t = _curve((x, y), middle, tip, view, box)
    half = rng.uniform(0.11, 0.19) * length * np.maximum(np.sin(np.pi * np.clip(t, 0, 1) ** 0.8), 0) ** 0.85
    first, second = rng.choice(_LEAVES, 2, replace=False)
    for side, strength in ((1, rng.uniform(0.5, 0.9)), (-1, rng.uniform(0.25, 0.55))):
        field = np.maximum(np.abs(off) - half, 0.0012 - side * off)
        _wash(view, sheet, box, field, (str(first), str(second)), t + 0.6 * sheet.pool[box], strength, rim=0.5)
    _pencil(view, sheet, box, np.abs(off) - half)


def _splashes(rng: np.random.Generator, view: Canvas, sheet: Sheet, flowers: list[Flower]) -> None:
    """Drops flicked from the brush: many small, few large."""
    for _ in range(90):
        flower = flowers[rng.integers(len(flowers))]
        x, y = flower.x + rng.normal(0, 0.2), flower.y + rng.normal(0, 0.17)
        _dot(view, sheet, x, y, 0.0016 + 0.0075 * rng.uniform() ** 5, flower.pigments[int(rng.integers(3))],
             rng.uniform(0.3, 0.7))
