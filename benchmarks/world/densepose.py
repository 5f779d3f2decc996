"""The embedded world as DensePose-COCO: annotations and geodesic tables in the official layout.

The pictures and people are those of the embedded COCO splits. The body and its tables are the
embedded world's own (:mod:`benchmarks.world.chart`), not SMPL: neither is any number of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.world import coco
from benchmarks.world.chart import COARSE, surface, unfold
from benchmarks.world.marker import made_once
from benchmarks.world.pictures import alone, in_order, write_mat
from harness.api.errors import PrerequisiteError

VERSION = 1
"""Changes whenever a number of the annotations or tables changes."""

POINTS = 6
"""Annotated points of each part, as far as so many of its pixels are seen."""
SIDE = 256
"""Of the masks, drawn in a person's box."""

_MASKS = 14

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class DenseView:
    """What is seen of the people of one picture: parts and u, v of their surface.

    Parameters
    ----------
    split : str
    index : int
        Number of the picture.
    """

    def __init__(self, split: str, index: int) -> None:
        from benchmarks.world.draw import view_surface
        from benchmarks.world.scene import sample_scene

        scene = sample_scene(coco.stream(split, index))
        view = view_surface(scene)
        self.people = len(scene.people)
        self.owner = view.owner
        shown = view.fine_owner > 0
        self.iuv = np.zeros((*shown.shape, 3))
        """Part, u, v of every pixel of twice the resolution; zeros where nobody is."""
        self.iuv[shown] = np.stack(unfold(view.part[shown], view.rest[shown]), axis=1)
        whose = np.repeat(np.repeat(self.owner, 2, axis=0), 2, axis=1)
        self.sure = shown & (view.fine_owner == whose)
        """Which of them show whom the whole pixel of the picture shows."""

    def box(self, person: int) -> tuple[slice, slice]:
        """Return rows and columns of a person (from 1) in the picture."""
        mask = self.owner == person
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def in_box(self, person: int) -> Floats:
        """Return part, u, v (h, w, 3) of a person's pixels in the person's box."""
        rows, columns = self.box(person)
        mask = (self.owner == person)[rows, columns]
        height, width = mask.shape
        found = np.zeros((height, width, 3))
        for i, j in ((1, 1), (1, 0), (0, 1), (0, 0)):  # the first quarter that shows the person
            quarter = np.index_exp[
                2 * rows.start + i : 2 * rows.stop : 2, 2 * columns.start + j : 2 * columns.stop : 2
            ]
            own = mask & self.sure[quarter]
            found[own] = self.iuv[quarter][own]
        return found


def annotate(split: str, index: int) -> dict[int, dict[str, Any]]:
    """Return the fields that DensePose-COCO adds to COCO's, for the people of a picture from 1."""
    view = DenseView(split, index)
    random = np.random.default_rng(
        np.random.SeedSequence([VERSION, coco.SPLITS[split][0], index, 0])
    )
    return {
        person: _points(view, person, random) | {"dp_masks": _masks(view.in_box(person)[..., 0])}
        for person in range(1, view.people + 1)
        if (view.owner == person).any()
    }


def _points(view: DenseView, person: int, random: np.random.Generator) -> dict[str, Any]:
    """Draw points on every part that is seen of a person; x and y are 0 to 255 of the box."""
    box_rows, box_columns = view.box(person)
    whose = np.repeat(np.repeat(view.owner == person, 2, axis=0), 2, axis=1)
    rows, columns = np.nonzero(view.sure & whose)
    iuv = view.iuv[rows, columns]
    chosen = np.concatenate([
        random.permutation(np.flatnonzero(iuv[:, 0] == part))[:POINTS]
        for part in range(1, len(COARSE))
    ])  # fmt: skip
    x, y = (
        ((places[chosen] + 0.5) / 2 - box.start) * 255 / (box.stop - box.start)
        for places, box in ((columns, box_columns), (rows, box_rows))
    )
    parts = iuv[chosen, 0].astype(int)
    values = {"dp_x": (x, 2), "dp_y": (y, 2), "dp_U": (iuv[chosen, 1], 3),
              "dp_V": (iuv[chosen, 2], 3)}  # fmt: skip
    rounded = {name: np.round(*value).tolist() for name, value in values.items()}
    return {"dp_I": parts.tolist()} | rounded


def _masks(parts: Floats) -> list[Any]:
    """Return the 14 run-length masks of parts (h, w) in a box; an empty list for one not seen."""
    from pycocotools import mask

    row, column = (((np.arange(SIDE) + 0.5) * size / SIDE).astype(int) for size in parts.shape)
    drawn = COARSE[parts.astype(int)][np.ix_(row, column)]
    found: list[Any] = []
    for number in range(1, _MASKS + 1):
        own = drawn == number
        code = mask.encode(np.asfortranarray(own, dtype=np.uint8))
        found.append({**code, "counts": code["counts"].decode()} if own.any() else [])
    return found


def write_tables(folder: Path) -> None:
    """Write the surface in the form of the official files, of which no byte is SMPL's."""
    found = surface()
    write_mat(
        folder / "SMPL_subdiv.mat",
        {"U_subdiv": found.u, "V_subdiv": found.v, "Part_ID_subdiv": found.part},
    )
    write_mat(folder / "SMPL_SUBDIV_TRANSFORM.mat", {"index": found.vertex + 1})
    np.save(folder / "Pdist_matrix.npy", found.geodesic)


def make_split(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split's files below ``root``; nothing is done where they are there already.

    The annotation file comes last, so that an interrupted split never looks finished.

    Parameters
    ----------
    root : Path
        Gets ``annotations/densepose_SPLIT.json``, ``eval_data`` and the link ``SPLIT`` to the
        pictures, which are those of the embedded COCO split in the folder ``coco`` beside it.
    split : str
        A key of :data:`benchmarks.world.coco.SPLITS`.
    progress : callable, optional
        Called with the number of pictures made and wanted, of COCO's first if they are not there.
    workers : int
        Processes; the files are the same for any number.

    Returns
    -------
    Path
        The annotation file.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or ``root`` cannot be written.
    """
    pictures = coco.make_split(root.parent / "coco", split, progress, workers)
    made_once(root / "eval_data", VERSION, write_tables)
    annotations = root / "annotations" / f"densepose_{split}.json"
    try:
        annotations.parent.mkdir(parents=True, exist_ok=True)
        with alone(root / f".{split}.lock"):
            if not _is_current(annotations):
                _make(root, split, annotations, pictures, progress, workers)
    except OSError as error:
        raise PrerequisiteError(
            f"The embedded split {split} cannot be written to {root}: {error}",
            "Set HARNESS_CACHE to a folder that can be written, with 200 MB free.",
        ) from error
    return annotations


_INFO = {"synthetic": True, "version": f"{VERSION} of COCO's {coco.VERSION}"}
_HEAD = json.dumps({"info": _INFO}, separators=(",", ":"))[:-2].encode()


def _is_current(annotations: Path) -> bool:
    """Return whether a finished split of this very generator is there."""
    if not annotations.is_file():
        return False
    with annotations.open("rb") as file:  # `info` is written first
        return file.read(len(_HEAD)) == _HEAD


def _make(
    root: Path, split: str, annotations: Path, pictures: Path,
    progress: Callable[[int, int], None] | None, workers: int,
) -> None:  # fmt: skip
    document = json.loads(pictures.read_text(encoding="utf-8"))
    total = coco.SPLITS[split][1]
    fields = {}
    made = in_order(partial(annotate, split), total, workers, progress)
    for index, own in enumerate(made):
        image = document["images"][index]["id"]
        fields |= {coco.annotation_id(image, number): new for number, new in own.items()}
    for record in document["annotations"]:
        del record["extra_keypoints"]
        if record["num_keypoints"]:  # COCO's people without keypoints have no points here either
            record |= fields[record["id"]]
    document["info"] = _INFO | {  # still the first of the keys
        "description": f"pose-harness embedded world, split {split}; the body is its own, not SMPL"
    }
    annotations.unlink(missing_ok=True)
    link = root / split
    link.unlink(missing_ok=True)
    link.symlink_to(Path("..") / "coco" / split)
    unfinished = annotations.with_suffix(".partial")
    unfinished.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    os.replace(unfinished, annotations)
