"""What a benchmark hands to a method: one sample, without its truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import SampleError


@dataclass(frozen=True, eq=False)
class Sample:
    """One unit of prediction: an image, a frame, a video sequence or a set of 2D joints.

    A sample asks for ``n`` people (or hands, or targets); a method that finds people by itself
    ignores the boxes. Pixel coordinates are those of the image file: 0-based, x to the right,
    y down, whole numbers at pixel centres; EXIF rotation is not applied.

    Parameters
    ----------
    id : str
        Unique in the split.
    images : tuple of str
        Paths of the image files: one for an image, several in order for a sequence, none for
        lifting from 2D joints.
    boxes : array (n, 4), optional
        Person boxes x, y, w, h in pixels from the protocol's box source, not enlarged.
    box_scores : array (n,), optional
        Confidence of each box; 1 for ground truth.
    inputs : mapping of str to array
        Anything else the protocol gives, by its documented name: ``center`` (n, 2) and ``scale``
        (n,) of MPII, ``keypoints_2d`` (n, K, 2), ``camera`` (3, 3), ``hand_center`` (3,).
    """

    id: str
    images: tuple[str, ...] = ()
    boxes: NDArray[np.float64] | None = None
    box_scores: NDArray[np.float64] | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def read_image(self, index: int = 0) -> NDArray[np.uint8]:
        """Read an image file as (height, width, 3) in **BGR** order, as OpenCV stores it.

        Raises
        ------
        SampleError
            If the file is missing or is no readable image.
        """
        import cv2  # a quarter of a second to import: not on the way to `harness list`

        path = Path(self.images[index])
        if not path.is_file():
            raise SampleError(self.id, f"image {path} does not exist")
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise SampleError(self.id, f"image {path} cannot be decoded; is the file complete?")
        return np.asarray(image, dtype=np.uint8)

    def read_depth(self, index: int = 0) -> NDArray[np.float32]:
        """Read a depth image (height, width) in millimetres; 0 where nothing was measured.

        A PNG of three channels is NYU's (green holds the upper, blue the lower eight bits), one of
        16 bits is ICVL's, ``.bin`` is MSRA's: six int32 (width, height, left, top, right, bottom of
        the part that is stored) and float32 values of that part.

        Raises
        ------
        SampleError
            If the file is missing or no such image.
        """
        import cv2

        path = Path(self.images[index])
        if not path.is_file():
            raise SampleError(self.id, f"depth image {path} does not exist")
        if path.suffix == ".bin":
            return self._stored_part(path)
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise SampleError(self.id, f"depth image {path} cannot be decoded")
        if image.ndim == 3 and image.dtype == np.uint8:
            return np.asarray(image[..., 0] + 256.0 * image[..., 1], np.float32)
        if image.ndim == 2 and image.dtype == np.uint16:
            return image.astype(np.float32)
        raise SampleError(
            self.id, f"depth image {path} has shape {image.shape} of {image.dtype}: neither NYU's "
            "three channels of 8 bits nor one of 16"
        )  # fmt: skip

    def _stored_part(self, path: Path) -> NDArray[np.float32]:
        data = path.read_bytes()
        header = np.frombuffer(data[:24], "<i4")
        if len(header) == 6:
            width, height, left, top, right, bottom = header.tolist()
            part = np.frombuffer(data[24:], "<f4")
            inside = 0 <= left < right <= width and 0 <= top < bottom <= height
            if inside and len(part) == (right - left) * (bottom - top):
                depth = np.zeros((height, width), np.float32)
                depth[top:bottom, left:right] = part.reshape(bottom - top, right - left)
                return depth
        raise SampleError(self.id, f"depth image {path} is no complete file of MSRA's kind")
