"""Making the files of a split: in several processes, one maker at a time, equal bytes each time."""

from __future__ import annotations

import fcntl
import io
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_JPEG_QUALITY = 92


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process at a time pass; a killed one lets go."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_order(
    make: Callable[[int], Any],
    total: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Any]:
    """Yield ``make(0)``, ``make(1)``, ... made by that many processes.

    ``progress`` is told how many are done, and ``total``.
    """
    for number, made in enumerate(_made(make, total, workers), start=1):
        yield made
        if progress:
            progress(number, total)


def _made(make: Callable[[int], Any], total: int, workers: int) -> Iterator[Any]:
    if workers == 1:
        yield from map(make, range(total))
        return
    spawn = multiprocessing.get_context("spawn")  # safe beside the threads of Ray and torch
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_one_thread) as pool:
        yield from pool.map(make, range(total), chunksize=4)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def write_jpeg(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a BGR picture (height, width, 3).

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import cv2

    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
        raise OSError(f"{path} could not be written")


def write_mat(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a .mat file that depends on nothing but them.

    The text at the start of such a file names the time; a data set's digest must not.
    """
    import scipy.io

    content = io.BytesIO()
    scipy.io.savemat(content, dict(arrays))
    content.seek(0)
    content.write(b"MATLAB 5.0 MAT-file, pose-harness embedded world".ljust(116))
    path.write_bytes(content.getvalue())
