"""Style picture `mosaic`: a boat, a rising sun and a scaled sea in tesserae of gold and colored glass.

Each figure has its own pair of coordinates, across and along its curves, in tile widths. Cutting them at whole
numbers (each cut a little off) gives tiles that run along the curves; every tile is slightly tilted, so it shines on
its own.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sample_drawing.canvas import Canvas, Pixels, blur, canvas, color, finish, mix, ramp, slopes, smoothstep
from sample_drawing.noise import Floats, cell_random, fbm, lattice

_TILE = 1 / 47  # of the picture's height
_SEAS = (("#0e2a6e", "#1f5fae", "#2f9fb8", "#8fd3d0"), ("#14235c", "#2a4fa8", "#4f8fd6", "#b9dcf0"),
         ("#0b3350", "#12708a", "#2fa59a", "#b8e2c4"), ("#1b1e58", "#3b4bb0", "#3c93c8", "#a8e0dc"))
_SKIES = (("#f7ecc8", "#8cc7c4", "#3f83bd", "#1c3f8c"), ("#f8e2cc", "#b7a8d0", "#5c6fbf", "#24307f"),
          ("#f7f0d0", "#7fc3d8", "#2f7fc0", "#123a80"))
_SUNS = (("#d8402c", "#ef8a2a", "#f6bf3c"), ("#c8322f", "#e0622e", "#f2a63a"), ("#cf4f2a", "#ee9a30", "#f8d468"))


class Mosaic(NamedTuple):
    """Per pixel: position in the tile (u, v in [-1, 1]), the tile's numbers, color, and how much gold leaf it has."""

    u: Floats
    v: Floats
    key: NDArray[np.int64]
    rgb: Floats
    gold: Floats


class Plan(NamedTuple):
    """What the seed decides."""

    sun: tuple[float, float, float]
    sea_level: float
    boat: tuple[float, float, float]
    scrolls: Floats  # rows of x, y, pitch, turns, hand
    sea: list[Floats]
    sky: list[Floats]
    sun_colors: list[Floats]
    rays: int
    table: Floats


def mosaic(seed: int, long_side_px: int = 600) -> Pixels:
    """A mosaic, uint8 [H, W, 3] in 5:4; the seed moves sun, scrolls, boat and scales, and picks the glass."""
    plan = _plan(np.random.default_rng(seed))
    view = canvas(long_side_px, 1.25)
    drift = 0.16 * _TILE * fbm(9 * view.x, 9 * view.y, plan.table, 2)
    x, y = view.x + drift, view.y + np.roll(drift, 40, axis=0)
    tiles = _sky(plan, x, y)
    for scroll in plan.scrolls:
        _scroll(plan, tiles, x, y, scroll)
    _boat(plan, tiles, x, y)
    _sea(plan, tiles, x, y)
    return finish(_shine(plan, view, tiles))


def _plan(rng: np.random.Generator) -> Plan:
    side = rng.choice([-1.0, 1.0])
    level = rng.uniform(0.60, 0.67)
    sun = (0.625 + side * rng.uniform(0.08, 0.24), level - rng.uniform(0.12, 0.2), rng.uniform(0.15, 0.19))
    scrolls = []
    for x, y, turns in ((0.625 - side * 0.45, 0.27, 1), (0.625 - side * 0.2, 0.1, 1), (0.625 + side * 0.42, 0.13, 2)):
        scrolls.append((x + rng.uniform(-0.04, 0.04), y + rng.uniform(-0.02, 0.05), rng.uniform(2.9, 3.2) * _TILE,
                        turns, side * (-1.0 if turns == 2 else 1.0)))
    boat = (0.625 - side * rng.uniform(0.1, 0.26), level - 0.005, rng.uniform(0.27, 0.32))
    pick = [[color(c) for c in table[rng.integers(len(table))]] for table in (_SEAS, _SKIES, _SUNS)]
    return Plan(sun, level, boat, np.array(scrolls, np.float32), pick[0], pick[1], pick[2], int(rng.integers(11, 19)),
                lattice(rng))


def _cut(plan: Plan, across: Floats, along: Floats, salt: int, period: NDArray[np.int64] | None = None
         ) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """u, v, row and column of the tile at (across, along), with cuts up to a fifth of a tile off."""
    row = np.floor(across).astype(np.int64)
    v = 2 * (across - row) - 1
    if period is None:
        along = along + cell_random(row, np.full_like(row, 5), plan.table, salt)
    column = np.floor(along).astype(np.int64)

    def offset(number: NDArray[np.int64]) -> Floats:
        wrapped = number if period is None else number % period
        return 0.2 * (2 * cell_random(row, wrapped, plan.table, salt + 1) - 1)

    part = along - column
    before = part < offset(column)
    column = column - before
    after = ~before & (part > 1 + offset(column + 1))
    column = column + after
    start, end = column + offset(column), column + 1 + offset(column + 1)
    u = 2 * (along - start) / (end - start) - 1
    return u, v, row, column if period is None else column % period


def _ring(plan: Plan, r: Floats, theta: Floats, salt: int) -> tuple[Floats, Floats, NDArray[np.int64], Floats, Floats]:
    """Tiles in rings: u, v, key, the ring's number and the tile's angle as a part of the turn."""
    across = r / _TILE
    row = np.floor(across)
    count = np.maximum(3, np.round(2 * np.pi * (row + 0.5) / 1.08)).astype(np.int64)
    turn = theta / (2 * np.pi) % 1
    phase = cell_random(row.astype(np.int64), np.zeros(row.shape, np.int64), plan.table, salt + 7)
    u, v, number, column = _cut(plan, across, (turn * count + phase).astype(np.float32), salt, count)
    return u, v, (number * 1000 + column) * 64 + salt % 64, row, ((column + 0.5 - phase) / count).astype(np.float32)


def _put(tiles: Mosaic, where: Floats, u: Floats, v: Floats, key: NDArray[np.int64], rgb: Floats,
         gold: Floats | float) -> None:
    """Lays a figure over what is there."""
    tiles.u[where], tiles.v[where], tiles.key[where], tiles.rgb[where] = u, v, key, rgb
    tiles.gold[where] = gold


def _pick(plan: Plan, key: NDArray[np.int64], salt: int) -> Floats:
    return cell_random(key, key // 8191, plan.table, salt)


def _sky(plan: Plan, x: Floats, y: Floats) -> Mosaic:
    """Rings around the sun: the disc in reds and gold, gold rays, then glass from warm to deep blue."""
    sun_x, sun_y, radius = plan.sun
    r, theta = np.hypot(x - sun_x, y - sun_y), np.arctan2(y - sun_y, x - sun_x)
    u, v, key, row, turn = _ring(plan, r, theta, 1)
    tile_r = (row + 0.5) * _TILE
    beyond = (tile_r - radius) / 0.75
    random = _pick(plan, key, 3)
    rgb = ramp(beyond + 0.2 * (random - 0.5), [0.02, 0.22, 0.5, 1.0], plan.sky)
    ray = np.abs((turn * plan.rays) % 1 - 0.5) * 2
    in_ray = (beyond > 0.06) & (ray < 0.62 - 0.55 * beyond + 0.12 * (random - 0.5)) & (beyond < 0.95)
    gold = np.where(in_ray, 0.9, (random > 0.93) * 0.7)
    rgb = np.where(in_ray[..., None], mix(color("#e8b53a"), color("#f6e0a0"), random), rgb)
    disc = tile_r < radius
    inner = ramp(tile_r / radius + 0.25 * (random - 0.5), [0.0, 0.6, 1.0], plan.sun_colors)
    rgb = np.where(disc[..., None], inner, rgb)
    rim = disc & (tile_r > radius - 1.01 * _TILE)
    rgb = np.where(rim[..., None], color("#f7e6b0"), rgb)
    gold = np.where(disc, np.where(rim, 0.9, 0.55 * (random > 0.55)), gold)
    return Mosaic(u, v, key, rgb.astype(np.float32), gold.astype(np.float32))


def _scroll(plan: Plan, tiles: Mosaic, x: Floats, y: Floats, scroll: Floats) -> None:
    """A cloud rolled up as an Archimedean spiral r = pitch·T/2π: three tiles wide, white and gold, with a tail."""
    center_x, center_y, pitch, turns, hand = (float(value) for value in scroll)
    dx, dy = hand * (x - center_x), y - center_y
    r, theta = np.hypot(dx, dy), np.arctan2(dy, dx) % (2 * np.pi)
    wind = np.maximum(np.round(r / pitch - theta / (2 * np.pi)), 0)
    turned = theta + 2 * np.pi * wind
    off, length = r - pitch * turned / (2 * np.pi), pitch * turned ** 2 / (4 * np.pi)
    last = 2 * np.pi * (np.floor(turns) + 0.25)
    on_spiral = turned < last
    # The tail leaves where the spiral heads straight left (a quarter turn, at the bottom) and runs out level.
    foot = pitch * last / (2 * np.pi)
    bow = dy - foot + 0.10 * np.maximum(-dx, 0) ** 1.5
    tail = (dx < 0) & (np.abs(bow) < 2 * _TILE) & (dx > -0.42)
    off = np.where(on_spiral, off, bow)
    length = np.where(on_spiral, length, pitch * last ** 2 / (4 * np.pi) - dx)
    half = np.where(on_spiral, 1.5, 1.5 * smoothstep(-0.42, -0.12, dx) + 0.3) * smoothstep(0, 0.1, length)
    where = (on_spiral & (turned > 1.0) | tail) & (np.abs(off) / _TILE < half)
    u, v, row, column = _cut(plan, (off / _TILE + 1.5)[where], (length / _TILE / 1.1)[where], 40)
    key = (row * 1000 + column) * 64 + 41 + int(100 * center_x)
    random = _pick(plan, key, 5)
    edge = (row != 1)
    rgb = np.where(edge[:, None], mix(color("#eaf1ee"), color("#bcd9e6"), random), color("#e2ad34"))
    _put(tiles, where, u, v, key, rgb, np.where(edge, 0.12, 0.95))


def _boat(plan: Plan, tiles: Mosaic, x: Floats, y: Floats) -> None:
    """Two sails with rows along the leech, a mast, and a hull with rows along the keel."""
    foot_x, foot_y, tall = plan.boat
    hand = 1.0 if foot_x < plan.sun[0] else -1.0
    dx, up = hand * (x - foot_x) / tall, (foot_y - 0.055 - y) / tall
    belly = 0.13 * np.sin(np.pi * np.clip(up, 0, 1))
    sails = (((dx > 0.03) & (dx < 0.62 * np.maximum(1 - up, 0) ** 0.85 + belly) & (up > 0.07) & (up < 1), 0.62, 50),
             ((dx < -0.035) & (dx > -0.40 * (0.86 - up) - 0.5 * belly) & (up > 0.09) & (up < 0.86), -0.4, 52))
    for where, lean, salt in sails:
        leech = (dx - lean * (1 - up) - np.sign(lean) * belly) * tall / _TILE
        u, v, row, column = _cut(plan, leech[where], (up * tall / _TILE / 1.1)[where], salt)
        key = (row * 1000 + column) * 64 + salt
        random = _pick(plan, key, 6)
        stripe = column % 6 < 2
        rgb = np.where(stripe[:, None], mix(color("#c23a2c"), color("#e2703a"), random),
                       mix(color("#f7efdc"), color("#ecd6a8"), random))
        _put(tiles, where, u, v, key, rgb, np.where(stripe, 0.15, 0.25 * (random > 0.7)))
    keel = up + 0.06 - 0.20 * dx ** 2
    hull = (keel < 0) & (keel > -0.26) & (np.abs(dx) < 0.66)
    mast = (np.abs(dx) < 0.035) & (up > -0.06) & (up < 1.05)
    for where, across, along, salt in ((mast, dx * tall / _TILE + 0.5, up * tall / _TILE / 1.3, 54),
                                       (hull, -keel * tall / _TILE, dx * tall / _TILE / 1.2, 56)):
        u, v, row, column = _cut(plan, across[where], along[where], salt)
        key = (row * 1000 + column) * 64 + salt
        trim = (row == 0) & (salt == 56)
        rgb = np.where(trim[:, None], color("#e8b53a"), mix(color("#4a2418"), color("#7a3b22"), _pick(plan, key, 7)))
        _put(tiles, where, u, v, key, rgb, np.where(trim, 0.95, 0.05))


def _sea(plan: Plan, tiles: Mosaic, x: Floats, y: Floats) -> None:
    """Overlapping scales, larger toward the viewer; each is a fan of rings from a pale edge to a deep heart."""
    level, spread = plan.sea_level, 0.11
    for line in range(9):
        radius = 0.085 + 0.016 * line
        base = level + radius * 0.9 + 0.05 * line + 0.004 * line ** 2
        if base - radius > 1.05:
            break
        step = 1.72 * radius
        shifted = x / step + 0.5 * (line % 2) + 0.37 * spread * line
        fan = np.floor(shifted)
        dx, dy = (shifted - fan - 0.5) * step, y - base
        r = np.hypot(dx, dy)
        where = (r < radius) | (dy > 0)
        inward, theta = (radius - r)[where], np.arctan2(dy, dx)[where]
        number = fan[where].astype(np.int64)
        row = np.floor(inward / _TILE)
        count = np.maximum(3, np.round(2 * np.pi * (radius - (row + 0.5) * _TILE) / _TILE / 1.08)).astype(np.int64)
        along = ((theta / (2 * np.pi) % 1) * count).astype(np.float32)
        u, v, ring, column = _cut(plan, inward / _TILE, along, 60 + line, count)
        key = ((ring + 100 * (number + 9)) * 200 + column) * 64 + 20 + line
        random, fan_random = _pick(plan, key, 8), cell_random(number, np.full_like(number, line), plan.table, 9)
        depth = (ring + 0.5) / (radius / _TILE) + 0.22 * (random - 0.5) + 0.3 * (fan_random - 0.4) * (ring > 0)
        rgb = ramp(depth, [0.0, 0.2, 0.5, 0.9], plan.sea[::-1])
        rgb = np.where((ring == 0)[:, None], mix(color("#f3efd8"), plan.sea[2], 0.25 + 0.6 * random), rgb)
        gilt = (ring == 1) & (fan_random > 0.62)
        rgb = np.where(gilt[:, None], color("#e3b03a"), rgb)
        sunny = np.exp(-((x[where] - plan.sun[0]) / 0.16) ** 2) * (random < 0.36) * (ring > 0)
        rgb = mix(rgb, plan.sun_colors[2], 0.85 * sunny)
        _put(tiles, where, u, v, key, rgb, np.where(gilt, 0.95, 0.6 * sunny))


def _shine(plan: Plan, view: Canvas, tiles: Mosaic) -> Floats:
    """Grout between tiles, a rounded rim, and for each tile its own tilt: glass glints, gold mirrors a warm room."""
    chip = 0.06 * fbm(60 * view.x, 60 * view.y, plan.table, 3)
    edge = (np.abs(tiles.u) ** 5 + np.abs(tiles.v) ** 5) ** 0.2 + chip
    # Where two figures meet, neighbors have different keys but no common cut: grout is drawn along the change too.
    change = np.zeros(view.x.shape, np.float32)
    change[1:] += tiles.key[1:] != tiles.key[:-1]
    change[:, 1:] += tiles.key[:, 1:] != tiles.key[:, :-1]
    seam = np.minimum(blur(np.minimum(change, 1), 0.0011 / view.px) * 0.0035 / view.px, 1)
    tile = smoothstep(0.94, 0.83, edge) * smoothstep(0.95, 0.45, seam)
    dx, dy = slopes(blur(tile, 0.0009 / view.px) * (0.0022 / view.px))
    tilt_x = 0.34 * (_pick(plan, tiles.key, 11) - 0.5) - 1.1 * dx
    tilt_y = 0.34 * (_pick(plan, tiles.key, 12) - 0.5) - 1.1 * dy
    ripple = 0.07 * fbm(150 * view.x, 150 * view.y, plan.table, 2)
    facing = 1 - 0.55 * (tilt_x + ripple) * 0.9 - 0.75 * (tilt_y + ripple)
    facing = np.clip(facing, 0.2, 1.8)
    tone = 0.80 + 0.34 * _pick(plan, tiles.key, 13) + 0.10 * fbm(90 * view.x, 40 * view.y, plan.table, 3)
    glass = tiles.rgb * (tone * (0.45 + 0.52 * facing))[..., None] + (0.5 * smoothstep(1.16, 1.42, facing))[..., None]
    room = ramp(facing + 0.15 * (tone - 1), [0.6, 0.86, 1.02, 1.14, 1.3],
                [color(c) for c in ("#4a2a08", "#a8701a", "#dba32e", "#f5d468", "#fff8da")])
    gilded = room * (0.55 + 0.45 * tiles.rgb / np.maximum(tiles.rgb.max(-1, keepdims=True), 0.2))
    shown = mix(glass, gilded, tiles.gold)
    sand = 0.5 + 0.10 * fbm(220 * view.x, 220 * view.y, plan.table, 2)
    grout = color("#b5a78f") * (sand * (0.55 + 0.35 * blur(1 - tile, 0.002 / view.px)))[..., None]
    return mix(grout, shown, tile)
