"""Dense optical flow by the package opencv-python-headless of the extra `video`."""

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]      # [H, W]
Flow = NDArray[np.float32]    # [H, W, 2]: (columns, rows) by which each pixel of one picture lies elsewhere in another
# The pyramid of DIS needs patches of 8 pixels at its coarsest level.
SMALLEST_PX = 16


def has_flow() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("cv2") is not None


def optical_flow(one: Gray, other: Gray) -> Flow:
    """Where each pixel of a picture is in another one of its size.

    Returns:
        w with one(p) ≈ other(p + w(p)).
    Source: DIS, Kroeger et al. 2016, at the preset `medium`.
    """
    cv2: Any = importlib.import_module("cv2")
    # One thread: the sums are then the same on every machine.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow: Flow = dis.calc(np.ascontiguousarray(one), np.ascontiguousarray(other), None)
    finally:
        cv2.setNumThreads(threads)
    return flow
