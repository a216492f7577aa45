"""The buildings of the picture `street`: convex solids along a bending street, and rays that meet them.

Lengths are meters: x to the right, y up, z away from the viewer, who stands at the origin at eye height.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sample_drawing.canvas import linear
from sample_drawing.noise import Floats, lattice
from sample_drawing.sky import Sky, make_sky

WALL, ROOF, PLAIN = 0, 1, 2
Face = tuple[float, float, float, float, int]  # outward normal, offset, material
_PLASTER = ("#d9a066", "#c96f4a", "#e3c58f", "#b9b4a2", "#7f9aa0", "#cf8f7c", "#a8b08a", "#e0d3bd", "#b5564a",
            "#6f87a8")
_SLATES = ("#8a4a38", "#9c5a40", "#5a5f6b", "#7b4036", "#4f5560")
_FABRIC = ("#a8332f", "#2f6b62", "#d9a441", "#35507f")


class Solid(NamedTuple):
    """The points with normals · p ≤ offsets; each face has a material and an along-the-face axis (0 = x, 2 = z)."""

    normals: Floats
    offsets: Floats
    materials: tuple[int, ...]
    paint: Floats
    roof_paint: Floats
    origin: tuple[float, float]  # x and z where the windows are counted from
    size: tuple[float, float]  # facade width and height to the eaves
    traits: Floats  # uniform numbers that decide shutters, windows, timber


class Street(NamedTuple):
    """What the seed decides; a lamp is (x, y, z, power)."""

    sky: Sky
    eye_m: float
    horizon: float
    half_m: float
    bend: float
    solids: list[Solid]
    lamps: Floats
    table: Floats


class Hit(NamedTuple):
    """For each ray the distance (infinite where none), the solid and its face."""

    distance: Floats
    solid: NDArray[np.int16]
    face: NDArray[np.int16]


def center_m(bend: float, z: Floats) -> Floats:
    """x of the middle of the street at z."""
    return bend * np.maximum(z - 8, 0) ** 2


def _solid(planes: list[Face], paint: Floats, roof_paint: Floats,
           origin: tuple[float, float], size: tuple[float, float], traits: Floats) -> Solid:
    table = np.array([plane[:4] for plane in planes], np.float32)
    length = np.linalg.norm(table[:, :3], axis=1)
    return Solid(table[:, :3] / length[:, None], table[:, 3] / length, tuple(plane[4] for plane in planes), paint,
                 roof_paint, origin, size, traits)


def _box(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], material: int) -> list[Face]:
    return [(-1, 0, 0, -x[0], material), (1, 0, 0, x[1], material), (0, 0, -1, -z[0], material),
            (0, 0, 1, z[1], material), (0, -1, 0, -y[0], PLAIN), (0, 1, 0, y[1], PLAIN)]


def _house(rng: np.random.Generator, x: tuple[float, float], z: tuple[float, float], floors: int) -> list[Solid]:
    """A house with a ridge along or across the street, its chimney, and sometimes an awning."""
    eaves = 0.9 + 2.9 * floors + rng.uniform(-0.2, 0.5)
    paint = linear(_PLASTER[rng.integers(len(_PLASTER))]) * np.float32(rng.uniform(0.7, 1.0))
    slate = linear(_SLATES[rng.integers(len(_SLATES))])
    traits = rng.uniform(size=6).astype(np.float32)
    walls = _box(x, (0, eaves + 30), z, WALL)[:5]
    middle_x, middle_z = (x[0] + x[1]) / 2, (z[0] + z[1]) / 2
    if traits[0] < 0.45:  # gable to the street: the two slopes fall along z
        pitch = rng.uniform(1.1, 1.5)
        half = (z[1] - z[0]) / 2
        slopes: list[Face] = [(0, 1, k * pitch, eaves + pitch * (k * middle_z + half), ROOF) for k in (-1, 1)]
    else:
        pitch = rng.uniform(0.8, 1.1)
        slopes = [(k * pitch, 1, 0, eaves + pitch * (k * middle_x + (x[1] - x[0]) / 2), ROOF) for k in (-1, 1)]
    solids = [_solid(walls + slopes, paint, slate, (x[0], z[0]), (z[1] - z[0], eaves), traits)]
    toward = -1 if middle_x > 0 else 1
    stack_x = middle_x + 1.2 * toward
    stack = _box((stack_x - 0.45, stack_x + 0.45), (eaves, eaves + 4.4), (z[0] + 0.5, z[0] + 1.2), PLAIN)
    solids.append(_solid(stack, linear("#7a5040"), slate, (0, 0), (1, 1), traits))
    if rng.uniform() < 0.5:
        wall_x = x[1] if toward > 0 else x[0]
        depth = 1.3
        low, high = (wall_x, wall_x + depth) if toward > 0 else (wall_x - depth, wall_x)
        awning = _box((low, high), (2.35, 9), (z[0] + 0.7, z[1] - 0.7), PLAIN)[:5]
        awning.append((0.55 * toward, 1, 0, 3.15 + 0.55 * toward * wall_x, PLAIN))
        fabric = linear(_FABRIC[rng.integers(len(_FABRIC))])
        solids.append(_solid(awning, fabric, fabric, (0, 0), (2, 1), traits))
    return solids


def _tower(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    """A church tower: a shaft, a belfry storey with a ledge, and a steep spire."""
    half, height = rng.uniform(2.6, 3.2), rng.uniform(24, 29)
    stone, slate, traits = linear("#a3937c"), linear("#4c6a68"), np.array([1, 0.1, 1, 1, 1, 1], np.float32)
    shaft = _box((x - half, x + half), (0, height), (z - half, z + half), WALL)
    ledge = _box((x - half - 0.35, x + half + 0.35), (height, height + 0.6), (z - half - 0.35, z + half + 0.35), PLAIN)
    steep = rng.uniform(3.6, 4.6)
    top = height + 0.6 + steep * half
    spire: list[Face] = [(k * steep, 1, 0, top + k * steep * x, ROOF) for k in (1, -1)]
    spire += [(0, 1, k * steep, top + k * steep * z, ROOF) for k in (1, -1)]
    spire.append((0, -1, 0, -height - 0.6, PLAIN))
    return [_solid(planes, stone, slate, (x - half, z - half), (2 * half, height), traits)
            for planes in (shaft, ledge, spire)]


def plan_street(rng: np.random.Generator) -> Street:
    """Two rows of houses along a parabola, a tower behind the bend, lamps on the walls."""
    sky = make_sky(rng, ("dusk", "dusk", "ember", "violet"), rng.uniform(-0.25, 0.25), rng.uniform(0.02, 0.05))
    half = rng.uniform(3.9, 4.6)
    bend = rng.choice([-1, 1]) * rng.uniform(0.0028, 0.0042)
    solids: list[Solid] = []
    lamps: list[tuple[float, float, float, float]] = []
    for side in (-1, 1):
        z = rng.uniform(-2, 1.5)
        while z < 85:
            width = rng.uniform(5.0, 7.8)
            wall = float(center_m(bend, np.array(z + width / 2))) + side * (half + rng.uniform(0, 0.35))
            x = (wall, wall + 9) if side > 0 else (wall - 9, wall)
            solids += _house(rng, x, (z, z + width), int(rng.integers(2, 4)) + (rng.uniform() < 0.25))
            if len(lamps) % 2 == 0 or rng.uniform() < 0.75:
                lamps.append((wall - side * 0.75, rng.uniform(3.5, 3.9), z + 0.3, rng.uniform(8, 12)))
            z += width
    far = 78.0
    solids += _tower(rng, 0.45 * float(center_m(bend, np.array(far))) + rng.uniform(-1, 1), far + 14)
    return Street(sky, 1.75, rng.uniform(0.57, 0.63), half, bend, solids, np.array(lamps, np.float32), lattice(rng))


def trace(solids: list[Solid], origin: tuple[Floats | float, ...], direction: tuple[Floats, Floats, Floats]) -> Hit:
    """The first solid on each ray origin + t·direction: a convex solid is met at the last of its entries."""
    shape = direction[0].shape
    along = [d.reshape(-1) for d in direction]
    start = [np.broadcast_to(np.asarray(o, np.float32), shape).reshape(-1) for o in origin]
    best = Hit(np.full(along[0].size, np.inf, np.float32), np.full(along[0].size, -1, np.int16),
               np.zeros(along[0].size, np.int16))
    for number, solid in enumerate(solids):
        rays: NDArray[np.intp] | slice = slice(None)
        leave = best.distance.copy()
        enter, face = np.full(leave.size, 1e-3, np.float32), np.full(leave.size, -1, np.int16)
        for index, (normal, offset) in enumerate(zip(solid.normals, solid.offsets, strict=True)):
            axes = [k for k in range(3) if normal[k]]
            slope = sum(normal[k] * along[k][rays] for k in axes)
            t = (offset - sum(normal[k] * start[k][rays] for k in axes)) / np.where(slope == 0, np.float32(1e-9), slope)
            entering = (slope < 0) & (t > enter)
            enter[entering], face[entering] = t[entering], index
            leave = np.where(slope > 0, np.minimum(leave, t), leave)
            if index == 3:  # the four upright faces have dropped most rays
                left = np.flatnonzero(enter < leave)
                rays, enter, leave, face = left, enter[left], leave[left], face[left]
        hit = (face >= 0) & (enter < leave)
        index_hit = np.arange(best.distance.size)[rays][hit]
        best.distance[index_hit], best.solid[index_hit], best.face[index_hit] = enter[hit], number, face[hit]
    return Hit(best.distance.reshape(shape), best.solid.reshape(shape), best.face.reshape(shape))
