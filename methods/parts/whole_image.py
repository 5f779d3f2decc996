"""Whole images as network input: fitted for the test, drawn at random for training.

Coordinates are pixels with whole numbers at pixel centres. A map of stride s has the centre of its
cell i at input pixel ``s i + (s - 1) / 2``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.api import Skeleton
from methods.parts.crop import transform

Fit = Literal["height", "inside", "square", "short side"]

FITS: dict[Fit, str] = {
    "height": "the image's height becomes the input's; the width follows, padded on the right",
    "inside": "the whole image fits into the input, padded on the right and at the bottom",
    "square": "the image's long side becomes the input's height; centred in a square",
    "short side": "the image's short side becomes the input's height; centred",
}
"""How an image becomes network input, in words."""


def fitted(
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    fit: Fit,
    multiple: int,
    factor: float = 1.0,
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the matrix (2, 3) from the image to the input, and the input's width and height.

    Parameters
    ----------
    image_size : (int, int)
        Width, height.
    input_size : (int, int)
        Width, height of the variant; the width counts only for the fit ``inside``.
    fit : str
        A key of :data:`FITS`.
    multiple : int
        Width and height are padded up to a multiple of it.
    factor : float
        Of the input's size, for a test on several scales.
    """
    width, height = image_size
    if fit == "inside":
        scale = factor * min(input_size[0] / width, input_size[1] / height)
        size = (padded(factor * input_size[0], multiple), padded(factor * input_size[1], multiple))
        return half_pixel_scaling(scale), size
    if fit == "height":
        scale = factor * input_size[1] / height
        return half_pixel_scaling(scale), (
            padded(round(width * scale), multiple),
            padded(round(height * scale), multiple),
        )
    if fit == "square":
        side = padded(factor * input_size[1], multiple)
        scale, size = side / max(image_size), (side, side)
    else:
        side = padded(factor * input_size[1], multiple)
        scale = side / min(image_size)
        size = (padded(width * scale, multiple), padded(height * scale, multiple))
    offset = np.array(size) / 2 - scale * np.array(image_size) / 2
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]]), size


def padded(length: float, multiple: int) -> int:
    """Return a length rounded up to a multiple."""
    return math.ceil(round(length, 6) / multiple) * multiple


def half_pixel_scaling(scale: float) -> NDArray[np.float64]:
    """Return the matrix (2, 3) of a resize that keeps the image's corner where it is."""
    shift = (scale - 1) / 2
    return np.array([[scale, 0, shift], [0, scale, shift]])


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (2, 3) of the way back."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


@dataclass(frozen=True)
class SceneView:
    """Random views of a whole image with all its people, for training.

    Parameters
    ----------
    scaling : (float, float)
        Least and largest factor on the scale at which the image fits into the input.
    rotation : float
        Degrees, drawn evenly from both sides of 0.
    shift : float
        Input pixels, drawn evenly from both sides of 0, along x and along y.
    mirrored : float
        Probability.
    person : float, optional
        The view is centred on a person drawn at random and scaled (before ``scaling``) so that the
        person's labelled joints span this share of the input's height; without it the view is
        centred on the image.
    """

    scaling: tuple[float, float]
    rotation: float
    shift: float
    mirrored: float = 0.5
    person: float | None = None

    def draw(
        self,
        image: NDArray[np.uint8],
        joints: NDArray[np.float64],
        visible: NDArray[np.bool_],
        regions: NDArray[np.float64],
        skeleton: Skeleton,
        output: tuple[int, int],
        border: tuple[int, int, int],
        random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
        """Draw one view.

        Parameters
        ----------
        image : array (h, w, 3)
        joints, visible : arrays (n, K, 2) and (n, K)
            Image pixels, and whether a joint is labelled.
        regions : array (m, 4)
            Boxes x, y, w, h without labels that the loss leaves out.
        output : (int, int)
            Width, height of the view.
        border : (int, int, int)
            Colour outside the image.

        Returns
        -------
        view : array (H, W, 3)
        joints, visible : arrays (n, K, 2) and (n, K)
            Pixels of the view; what is outside the view is not visible.
        regions : array (m, 4, 2)
            Corners in pixels of the view.
        """
        x, y, w, h = regions.reshape(-1, 4).T
        corners = np.stack([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]).transpose(2, 0, 1)
        if random.random() < self.mirrored:
            image = image[:, ::-1]
            mirror = np.array([[-1.0, 0, image.shape[1] - 1], [0, 1, 0]])
            joints = transform(joints, mirror)[:, skeleton.flip_order]
            visible = visible[:, skeleton.flip_order]
            corners = transform(corners, mirror)
        matrix = self._matrix(image.shape[:2], joints, visible, output, random)
        view = cv2.warpAffine(
            np.ascontiguousarray(image), matrix, output, flags=cv2.INTER_LINEAR, borderValue=border
        )
        joints = transform(joints, matrix)
        inside = ((joints > -0.5) & (joints < np.array(output) - 0.5)).all(axis=-1)
        return np.asarray(view, np.uint8), joints, visible & inside, transform(corners, matrix)

    def _matrix(
        self,
        size: tuple[int, int],
        joints: NDArray[np.float64],
        visible: NDArray[np.bool_],
        output: tuple[int, int],
        random: np.random.Generator,
    ) -> NDArray[np.float64]:
        height, width = size
        center = np.array([width - 1, height - 1]) / 2
        scale = min(output[0] / width, output[1] / height)
        if self.person is not None:
            labelled = np.flatnonzero(visible.sum(axis=1) > 1)
            if len(labelled):
                chosen = random.choice(labelled)
                points = joints[chosen][visible[chosen]]
                low, high = points.min(axis=0), points.max(axis=0)
                center = (low + high) / 2
                scale = self.person * output[1] / max((high - low).max(), 1.0)
        scale *= random.uniform(*self.scaling)
        angle = np.deg2rad(random.uniform(-self.rotation, self.rotation))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = (np.array(output) - 1) / 2 + random.uniform(-self.shift, self.shift, 2)
        return np.concatenate([turn, (middle - turn @ center)[:, None]], axis=1)


def labelled_area(
    regions: NDArray[np.float64], size: tuple[int, int], stride: int
) -> NDArray[np.float32]:
    """Return 1 where the loss counts and 0 inside regions (m, 4, 2) of the view: (h, w)."""
    mask = np.ones(size, np.float32)
    cells = (regions + 0.5) / stride - 0.5
    for polygon in np.rint(cells).astype(np.int32):
        cv2.fillConvexPoly(mask, polygon, 0.0)
    return mask


def to_input(
    image: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    border: tuple[int, int, int],
    interpolation: int = cv2.INTER_LINEAR,
) -> NDArray[Any]:
    """Bring an image (h, w, 3) to the input's width and height by a matrix (2, 3)."""
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=interpolation, borderValue=border), np.uint8
    )
