"""Points in space that a depth image shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def points_near(
    depth: NDArray[np.float32],
    camera: NDArray[np.float64],
    center: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float64]:
    """Return the measured points (n, 3), millimetres, whose depth is within reach of a centre's."""
    v, u = np.nonzero((depth > 0) & (np.abs(depth - center[2]) <= reach))
    z = depth[v, u].astype(np.float64)
    x = (u - camera[0, 2]) * z / camera[0, 0]
    y = (v - camera[1, 2]) * z / camera[1, 1]
    return np.stack([x, y, z], axis=1)
