"""Style picture `woodcut`: mountains, a lake and pines in carved black lines, with two flat color blocks on warm paper.

The black block is a threshold: every region has a phase whose whole numbers are the lines, following its form, and a
tone that says how broad the ink stands between two cuts. Tone that changes along a line makes the tapered cut of a
gouge.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from sample_drawing.canvas import Canvas, Pixels, blur, canvas, color, finish, mix, smoothstep
from sample_drawing.noise import Floats, fbm, lattice, ridged, value_noise

_PAIRS = (("#d5432b", "#5f97a0"), ("#d9582a", "#7d9c7a"), ("#c8392f", "#c9a04e"), ("#dd7a2b", "#4f86a3"),
          ("#cf4a3a", "#8fa7b5"))


class Plan(NamedTuple):
    """What the seed decides."""

    sun: tuple[float, float, float]
    shore: float
    ranges: list[tuple[float, float, float]]  # base, amplitude, frequency of each crest, far to near
    side: float
    colors: tuple[Floats, Floats]
    paper: Floats
    table: Floats


class Block(NamedTuple):
    """The drawing under way: line phase, tone in [0, 1], and the areas of the two color blocks."""

    phase: Floats
    tone: Floats
    sun: Floats
    second: Floats


def woodcut(seed: int, long_side_px: int = 600) -> Pixels:
    """A woodcut, uint8 [H, W, 3] in 5:4; the seed moves sun, crests, shore, trees and picks the colors."""
    rng = np.random.default_rng(seed)
    view = canvas(long_side_px, 1.25)
    plan = _plan(rng)
    block = _sky(plan, view)
    land = _mountains(plan, view, block)
    _lake(plan, view, block, land)
    ink = _carve(plan, view, block)
    ink = _pines(rng, plan, view, ink)
    return finish(_print(plan, view, block, ink))


def _plan(rng: np.random.Generator) -> Plan:
    side = float(rng.choice([-1.0, 1.0]))
    sun = (0.625 + side * rng.uniform(0.06, 0.26), rng.uniform(0.22, 0.3), rng.uniform(0.11, 0.15))
    shore = rng.uniform(0.62, 0.68)
    ranges = [(shore - rng.uniform(0.17, 0.2), 0.15, rng.uniform(1.5, 2.0)),
              (shore - 0.09, 0.14, rng.uniform(1.9, 2.6)), (shore - 0.02, 0.055, rng.uniform(2.6, 3.4))]
    first, second = _PAIRS[rng.integers(len(_PAIRS))]
    paper = color(rng.choice(["#f1e6cf", "#efe0c4", "#f3ead8"]))
    return Plan(sun, shore, ranges, side, (color(first), color(second)), paper, lattice(rng))


def _sky(plan: Plan, view: Canvas) -> Block:
    """Long lines that part around the sun, darker upward, with white clouds cut free."""
    x, y = view.x, view.y
    sun_x, sun_y, radius = plan.sun
    dx, dy = x - sun_x, y - sun_y
    r = np.hypot(dx, dy)
    # Stream function of a flow around a cylinder: y·(1 − R²/r²), so the lines pass around the disc.
    bent = dy * (1 - (1.12 * radius) ** 2 / np.maximum(r, 1.12 * radius) ** 2)
    wave = 0.030 * fbm(1.4 * x, 2.5 * y, plan.table, 3)
    phase = 62 * (bent + wave)
    tone = 0.16 + 0.5 * smoothstep(0.34, -0.1, y + 0.12 * fbm(1.6 * x, 5 * y, plan.table, 3))
    cloud = fbm(1.5 * x + 3, 6.5 * y, plan.table, 4) + 0.12 * fbm(9 * x, 14 * y, plan.table, 2)
    tone = tone * smoothstep(0.34, 0.22, cloud) + 0.9 * np.exp(-((cloud - 0.28) / 0.018) ** 2) * (y < 0.5)
    tone = np.where(r < 1.12 * radius, 0, tone)
    disc = (r < radius).astype(np.float32)
    return Block(phase.astype(np.float32), tone.astype(np.float32), disc, np.zeros_like(x))


def _crest(plan: Plan, number: int, x: Floats, octaves: int = 6) -> Floats:
    """The height of a range above the places `x`; fewer octaves give its broad shape."""
    base, amplitude, frequency = plan.ranges[number]
    peaks = ridged(frequency * x + 11.3 * number, np.full_like(x, 3.1 * number), plan.table, octaves)
    return base - amplitude * (2.2 * peaks - 1.1)


def _mountains(plan: Plan, view: Canvas, block: Block) -> Floats:
    """Ranges from far to near; cuts run down the flanks, the side away from the sun is left black."""
    land = np.zeros_like(view.x)
    for number in range(3):
        crest = _crest(plan, number, view.x[:1])
        below = view.y - crest
        inside = (below > 0) & (view.y < plan.shore)
        scale = (5.5, 6.5, 9.0)[number]
        turned = scale * view.x + 0.9 * scale * below
        relief = ridged(turned + 5 * number, 0.4 * scale * below + 2, plan.table, 3)
        lit = plan.side * np.gradient(blur(relief, 0.007 / view.px), view.px, axis=1) / scale
        slope = plan.side * np.gradient(_crest(plan, number, view.x[:1], 3), view.px, axis=1)
        shade = 0.5 - 0.55 * lit + 0.28 * np.clip(slope, -1, 1) + 0.25 * (below < 0.012)
        flow = np.where(lit > 0, 1.0, -1.0)
        phase = (74, 66, 78)[number] * (view.x + 0.5 * below * flow + 0.012 * relief)
        snow = (0.55, 0.75, 1.0)[number] * smoothstep(-0.02, 0.2, below - 0.06 * relief)
        tone = np.clip((0.1 + shade) * (0.4 + 0.75 * snow), 0.04, 0.97)
        outline = below < 0.0045
        block.phase[inside], block.tone[inside] = phase[inside], tone[inside]
        block.tone[inside & outline] = 1.2
        block.sun[inside] = 0
        block.second[inside] = (1.0 if number == 1 else 0.0)
        land = np.maximum(land, inside)
    return land


def _lake(plan: Plan, view: Canvas, block: Block, land: Floats) -> None:
    """Level cuts, wider toward the viewer; mirrored land is dark, the mirrored sun stays open in broken pieces."""
    water = view.y >= plan.shore
    depth = np.maximum(view.y - plan.shore, 0)
    ripple = fbm(3.2 * view.x / (0.25 + depth), 26 * np.sqrt(depth), plan.table, 3)
    height, width = view.x.shape
    row = np.clip(((plan.shore - 0.9 * depth) / view.px).astype(int), 0, height - 1)
    column = np.clip((view.x / view.px + 0.018 * ripple / view.px).astype(int), 0, width - 1)
    dark = land[row, column]
    phase = 34 * np.sqrt(depth + 0.004) + 0.55 * ripple
    torn = value_noise(5.1 * np.floor(phase), 5 * view.x, plan.table)
    sun = np.exp(-((view.x - plan.sun[0]) / (0.075 + 0.1 * depth + 0.05 * torn)) ** 2) - 0.25 * np.abs(torn)
    tone = 0.30 + 0.42 * dark + 0.22 * ripple - 0.45 * sun + 0.25 * smoothstep(0.1, 0.4, depth)
    block.phase[water], block.tone[water] = phase[water], np.clip(tone, 0.03, 0.95)[water]
    block.second[water] = (sun < 0.55)[water]
    glints = water & (sun > 0.5) & (np.abs(phase % 1 - 0.5) < 0.27 + 0.15 * ripple)
    block.sun[glints] = 1
    line = np.abs(view.y - plan.shore + 0.002 * ripple) < 0.003
    block.tone[line] = 1.2


def _carve(plan: Plan, view: Canvas, block: Block) -> Floats:
    """Ink coverage: 1 where the distance to the next line is less than the tone, with a hand's unsteadiness."""
    hand = 0.16 * fbm(24 * view.x, 24 * view.y, plan.table, 2)
    number = np.floor(block.phase + 0.5)
    pressure = 0.13 * value_noise(number * 3.7, 7 * view.x + 5 * view.y, plan.table)
    distance = 2 * np.abs(block.phase + hand - np.floor(block.phase + hand + 0.5))
    rate = 2 * np.hypot(*np.gradient(block.phase)) + 1e-4
    # Phase jumps between regions would blur the edge there; a cut is never softer than two lines to the pixel.
    margin = (block.tone + pressure * (block.tone > 0.02) - distance) / np.minimum(rate, 0.5)
    return np.clip(0.5 + margin, 0, 1) * (block.tone > 0.02)


def _pines(rng: np.random.Generator, plan: Plan, view: Canvas, ink: Floats) -> Floats:
    """A black bank with pines on the side away from the sun, white cuts in their boughs, grass, and some birds."""
    height, width = view.x.shape
    image = Image.fromarray((ink * 255).astype(np.uint8))
    brush = ImageDraw.Draw(image)
    start = 0.0 if plan.side > 0 else view.aspect
    reach = np.linspace(0, 1, 120)
    bank = 0.80 + 0.17 * reach ** 1.4 + 0.014 * np.sin(9 * reach + plan.sun[1] * 40) + rng.normal(0, 0.0022, 120)
    edge = [((start + plan.side * 0.95 * s) * height, b * height) for s, b in zip(reach, bank, strict=True)]
    brush.polygon([*edge, ((start + plan.side * 0.95) * height, height * 1.1), (start * height, height * 1.1)],
                  fill=255)
    for _ in range(150):
        s, sink = rng.uniform(0, 0.8), rng.uniform(0.012, 0.2)
        x, y = start + plan.side * 0.95 * s, 0.80 + 0.17 * s ** 1.4 + sink
        run, rise = rng.uniform(0.015, 0.05), rng.uniform(0.004, 0.02)
        _cut(brush, height, (x, y), (x + plan.side * run, y + rise), 0.0022 + 0.006 * sink, 0)
    for _ in range(110):
        s = rng.uniform(0, 0.92)
        x, y = start + plan.side * 0.95 * s, 0.803 + 0.17 * s ** 1.4
        _cut(brush, height, (x, y), (x + rng.normal(0.004, 0.012), y - rng.uniform(0.015, 0.045)), 0.003, 255)
    places = [(rng.uniform(0.05, 0.1), rng.uniform(0.62, 0.7)), (rng.uniform(0.2, 0.26), rng.uniform(0.42, 0.5)),
              (rng.uniform(0.32, 0.4), rng.uniform(0.24, 0.32))]
    for away, tall in places:
        _pine(rng, brush, height, start + plan.side * away, 0.82 + 0.06 * away, tall, plan.side)
    flock_x, flock_y = plan.sun[0] - plan.side * 0.2, plan.sun[1] + rng.uniform(-0.02, 0.08)
    for k in range(int(rng.integers(3, 7))):
        x, y, span = flock_x + 0.045 * k + rng.normal(0, 0.008), flock_y + 0.02 * abs(k - 2), rng.uniform(0.013, 0.021)
        for sign in (-1, 1):
            _cut(brush, height, (x, y), (x + sign * span, y - 0.45 * span), 0.0042, 255)
    return np.asarray(image, np.float32) / np.float32(255)


def _cut(brush: ImageDraw.ImageDraw, height: int, start: tuple[float, float], end: tuple[float, float], width: float,
         fill: int) -> None:
    """One gouge mark: broadest a third along, pointed at both ends."""
    x0, y0, x1, y1 = (value * height for value in (*start, *end))
    length = np.hypot(x1 - x0, y1 - y0) + 1e-6
    nx, ny = -(y1 - y0) / length * width * height / 2, (x1 - x0) / length * width * height / 2
    mx, my = x0 + 0.35 * (x1 - x0), y0 + 0.35 * (y1 - y0)
    brush.polygon([(x0 + 0.3 * nx, y0 + 0.3 * ny), (mx + nx, my + ny), (x1, y1), (mx - nx, my - ny),
                   (x0 - 0.3 * nx, y0 - 0.3 * ny)], fill=fill)


def _pine(rng: np.random.Generator, brush: ImageDraw.ImageDraw, height: int, x: float, foot: float, tall: float,
          light: float) -> None:
    """A pine: a bent trunk, boughs as fans of needles drooping with length, then white cuts on the lit side."""
    lean = rng.normal(0, 0.02)
    for k in range(24):
        low, high = k / 24, (k + 1) / 24
        half = 0.013 * tall * (1.15 - low)
        x0, x1 = x + lean * low ** 2 + half, x + lean * high ** 2
        bottom, top = (foot - tall * low) * height, (foot - tall * high) * height
        brush.polygon([((x0 - 2 * half) * height, bottom), (x0 * height, bottom), ((x1 + 0.9 * half) * height, top),
                       ((x1 - 0.9 * half) * height, top)], fill=255)
    level = 0.16
    while level < 0.99:
        for sign in (-1, 1):
            span = tall * (0.27 * (1 - level) ** 0.8 + 0.015) * rng.uniform(0.65, 1.15)
            root_x, root_y = x + lean * level ** 2, foot - tall * level
            droop = 0.22 + 0.25 * (1 - level)
            for s in np.linspace(0.04, 1, max(8, int(span * 170))):
                bough_x, bough_y = root_x + sign * span * s, root_y + span * droop * s ** 1.5
                size = tall * 0.038 * (1.15 - 0.6 * s)
                tip = (bough_x + sign * size * rng.uniform(0.4, 1), bough_y + size * rng.uniform(0.4, 1.1))
                _cut(brush, height, (bough_x - sign * size * 0.5, bough_y - size * 0.1), tip, 0.3 * size + 0.002, 255)
            if sign == light:
                for s in rng.uniform(0.2, 0.9, 4):
                    bough_x, bough_y = root_x + sign * span * s, root_y + span * droop * s ** 1.5 + 0.2 * size
                    _cut(brush, height, (bough_x, bough_y), (bough_x + sign * 0.028 * tall, bough_y + 0.016 * tall),
                         0.0034, 0)
        level += rng.uniform(0.045, 0.07)
    _cut(brush, height, (x + lean, foot - tall * 0.95), (x + lean, foot - tall * 1.07), 0.008, 255)


def _print(plan: Plan, view: Canvas, block: Block, ink: Floats) -> Floats:
    """Paper with fibers; color blocks with the grain of the plank, a little out of register; worn black ink."""
    fibers = fbm(40 * view.x, 160 * view.y, plan.table, 3) + 0.6 * fbm(210 * view.x, 210 * view.y, plan.table, 2)
    blank = plan.paper * (1 + 0.022 * fibers)[..., None]
    paper: Floats = blank
    grain = fbm(2.2 * view.x + 0.6 * fbm(2 * view.x, 9 * view.y, plan.table, 2), 55 * view.y, plan.table, 3)
    shift = max(1, round(0.0022 / view.px))
    soft = 0.0007 / view.px
    for area, ink_color, strength in ((block.second, plan.colors[1], 0.82), (block.sun, plan.colors[0], 0.96)):
        cover = np.roll(blur(area, soft), (shift, -shift), axis=(0, 1)) * strength * np.clip(0.93 + 0.10 * grain, 0, 1)
        paper = mix(paper, paper * ink_color * 1.04, cover)
    worn = smoothstep(0.7, 1.0, fbm(160 * view.x, 120 * view.y, plan.table, 2) + 0.25 * grain)
    black = mix(color("#1d1a1c"), color("#2b2727"), 0.5 + 0.5 * fibers)
    margin = np.minimum(np.minimum(view.x, view.aspect - view.x), np.minimum(view.y, 1 - view.y))
    plate = smoothstep(0.018, 0.021, margin + 0.0022 * fbm(30 * view.x, 30 * view.y, plan.table, 3))
    frame = plate * smoothstep(0.027, 0.025, margin + 0.002 * fbm(22 * view.x, 22 * view.y, plan.table, 2))
    rgb = mix(paper, black, np.maximum(ink, frame) * (0.97 - 0.35 * worn))
    return mix(blank, rgb, plate)
