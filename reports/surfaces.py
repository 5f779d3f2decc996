"""Surfaces of bodies over a picture: which part a pixel shows, and where on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PARTS = 24
_STRENGTH = 0.65
"""Of the colours over the picture."""
_RADIUS = 2
"""Of the disc of an annotated point, in pixels of the enlarged picture."""
_LARGE = 2
"""The picture is enlarged so many times, so that points do not hide each other."""


def part_colours() -> NDArray[np.uint8]:
    """Return a colour (25, 3), blue, green, red, of each part; 0 is the background's black."""
    import cv2

    # The golden angle keeps the hues of neighbouring numbers apart.
    hues = (np.arange(1, _PARTS + 1) * 180 * 0.381966) % 180
    light = np.where(np.arange(_PARTS) % 2, 255, 190)
    colours = np.stack([hues, np.full(_PARTS, 200), light], axis=-1).astype(np.uint8)
    drawn = cv2.cvtColor(colours[None], cv2.COLOR_HSV2BGR)[0]
    return np.concatenate([np.zeros((1, 3), np.uint8), drawn])


def paint_surfaces(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float64],
    pictures: Sequence[bytes],
    points: NDArray[np.float64],
    parts: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Draw surfaces over a picture, side by side by part and by u, v: (2 h, 4 w, 3).

    On the left each part has a colour, and so have the discs of the annotated points: a disc in
    another colour than its surroundings is a mistake. On the right red grows with u and green
    with v.

    Parameters
    ----------
    image : array (h, w, 3)
        Blue, green, red.
    boxes : array (n, 4)
        x, y, w, h in pixels; later ones are drawn over earlier ones.
    pictures : sequence of n bytes
        PNG of each box whose red, green and blue are part, 255 u and 255 v.
    points : array (m, 2)
        Annotated points x, y in pixels.
    parts : int array (m,)
        Their parts.
    """
    import cv2

    height, width = image.shape[:2]
    shown = np.zeros((height, width, 3), np.uint8)
    for box, content in zip(boxes, pictures, strict=True):
        iuv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        left, top = int(box[0]), int(box[1])
        x0, y0 = max(left, 0), max(top, 0)
        x1 = max(min(left + iuv.shape[1], width), x0)
        y1 = max(min(top + iuv.shape[0], height), y0)
        own = iuv[y0 - top : y1 - top, x0 - left : x1 - left]
        body = own[..., 0] > 0
        shown[y0:y1, x0:x1][body] = own[body]
    colours = part_colours()
    place = np.stack([np.full((height, width), 110, np.uint8), shown[..., 2], shown[..., 1]], -1)
    body = shown[..., :1] > 0
    panels = [
        cv2.resize(
            np.where(body, (1 - _STRENGTH) * image + _STRENGTH * paint, image).astype(np.uint8),
            (_LARGE * width, _LARGE * height),
            interpolation=cv2.INTER_LINEAR,
        )
        for paint in (colours[shown[..., 0]], place)
    ]
    for (x, y), part in zip(np.round((points + 0.5) * _LARGE).astype(int), parts, strict=True):
        at = (int(x), int(y))
        cv2.circle(panels[0], at, _RADIUS + 1, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(panels[0], at, _RADIUS, colours[part].tolist(), -1, cv2.LINE_AA)
    return np.concatenate(panels, axis=1)
