"""Smooth random fields: value noise, its fractal sums, and random numbers for lattice cells.

Every field is a function of continuous coordinates, so a picture keeps its composition at any size.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_SIDE = 256
# An irrational-looking turn between octaves keeps their lattices from lining up.
_COS, _SIN = np.float32(0.7986), np.float32(0.6018)


def lattice(rng: np.random.Generator) -> Floats:
    """A periodic table of 256·256 uniform numbers in [-1, 1): the only randomness of a field."""
    return rng.uniform(-1, 1, _SIDE * _SIDE).astype(np.float32)


def value_noise(x: Floats, y: Floats, table: Floats) -> Floats:
    """Lattice values joined by the quintic 6t⁵ − 15t⁴ + 10t³ (Perlin 2002): twice differentiable, in [-1, 1]."""
    floor_x, floor_y = np.floor(x), np.floor(y)
    u, v = x - floor_x, y - floor_y
    u = u * u * u * (u * (u * 6 - 15) + 10)
    v = v * v * v * (v * (v * 6 - 15) + 10)
    # The table is read as one endless line: the cell below lies _SIDE entries further on.
    cell = floor_y.astype(np.intp) * _SIDE + floor_x.astype(np.intp)
    top_left, top_right, bottom_left, bottom_right = (
        table.take((cell + shift) & (_SIDE * _SIDE - 1), mode="clip") for shift in (0, 1, _SIDE, _SIDE + 1))
    upper = top_left + (top_right - top_left) * u
    lower = bottom_left + (bottom_right - bottom_left) * u
    return upper + (lower - upper) * v


def fbm(x: Floats, y: Floats, table: Floats, octaves: int = 5, gain: float = 0.5) -> Floats:
    """Fractal Brownian motion Σ gainᵏ noise(2ᵏ p), scaled to about [-1, 1]; the octaves are turned and shifted."""
    total, amplitude, norm = np.zeros(np.broadcast(x, y).shape, np.float32), 1.0, 0.0
    for octave in range(octaves):
        total += np.float32(amplitude) * value_noise(x + 17.3 * octave, y + 9.1 * octave, table)
        norm += amplitude
        amplitude *= gain
        x, y = 2.03 * (_COS * x - _SIN * y), 2.03 * (_SIN * x + _COS * y)
    return (total * np.float32(1.6 / norm)).astype(np.float32)


def ridged(x: Floats, y: Floats, table: Floats, octaves: int = 5) -> Floats:
    """Ridged multifractal Σ 2⁻ᵏ (1 − |noise|)², in [0, 1]: sharp crests for rock and hills (Musgrave 1993)."""
    total, amplitude, norm = np.zeros(np.broadcast(x, y).shape, np.float32), 1.0, 0.0
    for octave in range(octaves):
        crest = 1 - np.abs(value_noise(x + 31.7 * octave, y + 5.3 * octave, table))
        total += np.float32(amplitude) * crest * crest
        norm += amplitude
        amplitude *= 0.5
        x, y = 2.03 * (_COS * x - _SIN * y), 2.03 * (_SIN * x + _COS * y)
    return (total / np.float32(norm)).astype(np.float32)


def cell_random(i: NDArray[np.integer], j: NDArray[np.integer], table: Floats, salt: int = 0) -> Floats:
    """A uniform number in [0, 1) for each integer cell (i, j); another `salt` gives an independent one."""
    index = (i.astype(np.int64) * 7919 + j.astype(np.int64) * 104729 + salt * 15485863) % (_SIDE * _SIDE)
    # A second look-up breaks the straight lines that equal sums of i and j would leave.
    index = (index * 31 + (table.take(index) * 32768).astype(np.int64) + 32768) % (_SIDE * _SIDE)
    return table.take(index) * np.float32(0.5) + np.float32(0.5)
