"""Samples of a result drawn for a gallery: people, hands, bodies, surfaces and sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from harness.api import Benchmark, Dataset, Predictions, PrerequisiteError, Sample
from harness.records.record import Record
from reports.meshes import draw_mesh
from reports.skeletons import skeleton_overlay, skeleton_views, track_overlay
from reports.surfaces import paint_surfaces

LONGEST_SIDE = 480
"""Of a picture on a page, in pixels."""

SIDE = 240
"""Of the square around a person with a mesh, in pixels."""

FRAMES, STRIP = 5, 240
"""Frames of a sequence in a strip, and their height in pixels."""


_NOTHING = Markup("")


@dataclass(frozen=True)
class Picture:
    """One drawn sample."""

    kind: str
    sample_id: str
    score: float
    file: str
    """Name of the image file beside the page; empty if there is no image."""
    size: tuple[int, int]
    """Width and height of the original image, or of the part that is shown."""
    overlay: Markup
    people: int
    """Annotated people with labelled joints."""
    drawn: int
    rows: int
    """Predictions drawn and predicted: as many are drawn as people are annotated, by score."""
    views: Markup = _NOTHING
    """Poses in space from two sides; empty for poses in the picture alone."""


class Truth:
    """A split as galleries see it: its samples, and what is known about their people.

    Raises
    ------
    PrerequisiteError
        If the data is no longer there.
    """

    def __init__(self, benchmark: Benchmark, record: Record) -> None:
        self.benchmark = benchmark
        self.dataset: Dataset = benchmark.load(Path(record.data_root), record.split)
        self.skeleton = benchmark.skeleton

    @cached_property
    def samples(self) -> Mapping[str, Sample]:
        """Samples by id, without boxes."""
        protocol = replace(self.benchmark.protocol(), box_source="none")
        return {s.id: s for s in self.benchmark.samples(self.dataset, protocol)}

    @cached_property
    def faces(self) -> NDArray[np.int64] | None:
        """Triangles (F, 3) of meshes; None if the files hold none."""
        return self.benchmark.faces(self.dataset)

    @cached_property
    def poses(self) -> Mapping[str, NDArray[np.float64]]:
        """Labelled joints of each sample's people; none if the files hold none."""
        try:
            return self.benchmark.poses(self.dataset)
        except PrerequisiteError:
            return {}

    @cached_property
    def surfaces(self) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
        """Annotated points of each sample's people: ``keypoints``, ``visible``, ``surface``."""
        pairs = self.benchmark.training_samples(self.dataset, None)
        return {sample.id: truth for sample, truth in pairs}


Draw = Callable[[str, str, float, Truth, Predictions, Path], Picture]
"""Draws one sample: what kind of choice it is, its id, its score, and the file for it."""


def draw_people(
    kind: str, sample_id: str, score: float, known: Truth, predictions: Predictions, file: Path
) -> Picture:
    """Draw the people of a picture: as many predictions as there are annotated people."""
    image = known.samples[sample_id].read_image()
    height, width = image.shape[:2]
    _write(image, file)
    skeleton = known.skeleton
    truth = known.poses.get(sample_id, np.zeros((0, len(skeleton), 2)))
    rows = predictions.rows_of(predictions.sample_ids.index(sample_id))
    # A result without any person at all has no columns.
    score_of_rows = rows.get("score", np.zeros(0))
    keypoints = rows.get("keypoints", np.zeros((0, len(skeleton), 2)))
    top = np.argsort(-score_of_rows, kind="stable")[: max(1, len(truth))]
    return Picture(
        kind=kind,
        sample_id=sample_id,
        score=score,
        file=f"{file.parent.name}/{file.name}",
        size=(width, height),
        overlay=skeleton_overlay((width, height), truth, keypoints[top], skeleton),
        people=len(truth),
        drawn=len(top),
        rows=len(score_of_rows),
    )


def draw_surface(
    kind: str, sample_id: str, score: float, known: Truth, predictions: Predictions, file: Path
) -> Picture:
    """Draw the surfaces of a picture's people, as many as are annotated, and annotated points."""
    image = known.samples[sample_id].read_image()
    truth = known.surfaces.get(sample_id, {})
    seen = truth.get("visible", np.zeros((0, 0), dtype=np.bool_))
    rows = predictions.rows_of(predictions.sample_ids.index(sample_id))
    scores = rows.get("score", np.zeros(0))
    top = np.argsort(-scores, kind="stable")[: max(1, len(seen))][::-1]
    drawn = paint_surfaces(
        image,
        rows["box"][top] if len(top) else np.zeros((0, 4)),
        [rows["iuv"][row] for row in top],
        truth["keypoints"][seen] if len(seen) else np.zeros((0, 2)),
        truth["surface"][seen][:, 0].astype(np.int64) if len(seen) else np.zeros(0, np.int64),
    )
    _write(drawn, file, longest=2 * LONGEST_SIDE)
    return Picture(
        kind=kind,
        sample_id=sample_id,
        score=score,
        file=f"{file.parent.name}/{file.name}",
        size=(drawn.shape[1], drawn.shape[0]),
        overlay=_NOTHING,
        people=len(seen),
        drawn=len(top),
        rows=len(scores),
    )


def draw_in_space(
    kind: str, unit: str, score: float, known: Truth, predictions: Predictions, file: Path
) -> Picture:
    """Draw poses in space, and over their picture if it is there; of a sequence its middle frame.

    Skeletons with a pelvis are laid upon each other there, as the metrics of bodies do.
    """
    skeleton = known.skeleton
    # Frames that the protocol does not score may have no pose.
    every = _frames(predictions, unit)
    own = [i for i in every if np.isfinite(predictions.rows_of(i)["joints"]).any()]
    index = own[len(own) // 2]
    sample = known.samples[predictions.sample_ids[index]]
    truth, joints = known.poses[sample.id], predictions.rows_of(index)["joints"]
    if "pelvis" in skeleton.joints:
        pelvis = skeleton.joints.index("pelvis")
        joints = joints - joints[:, pelvis, None] + truth[:, pelvis, None]
    camera = sample.inputs.get("camera", np.eye(3))
    image, corner = _picture(sample, truth, camera)
    size, overlay = (0, 0), _NOTHING
    if image is not None:
        _write(image, file)
        size = (image.shape[1], image.shape[0])
        flat = [_projected(poses, camera) - corner for poses in (truth, joints)]
        overlay = skeleton_overlay(size, *flat, skeleton)
    down = np.array([1, np.sign(camera[1, 1]), 1])  # some files of hands let y rise
    return Picture(
        kind=kind,
        sample_id=sample.id,
        score=score,
        file=f"{file.parent.name}/{file.name}" if image is not None else "",
        size=size,
        overlay=overlay,
        views=skeleton_views(truth * down, joints * down, skeleton),
        people=len(truth),
        drawn=len(joints),
        rows=len(joints),
    )


def draw_body(
    kind: str, sample_id: str, score: float, known: Truth, predictions: Predictions, file: Path
) -> Picture:
    """Draw a person twice, the second time with the mesh over it, and the joints in space.

    Joints are laid upon each other at the pelvis. A mesh without a camera is not drawn.
    """
    import cv2

    sample = known.samples[sample_id]
    rows = predictions.rows_of(predictions.sample_ids.index(sample_id))
    truth, joints = known.poses[sample_id], rows["joints"]
    pelvis = known.skeleton.joints.index("pelvis")
    image, box = sample.read_image(), np.asarray(sample.boxes)[0]
    side = 1.3 * box[2:].max()
    scale, corner = SIDE / side, box[:2] + box[2:] / 2 - side / 2
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    part = np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE)), np.uint8)
    parts = [part]
    if "camera" in rows and known.faces is not None:
        vertices = rows["vertices"][0] + np.append(rows["camera"][0, 1:], 0)
        vertices = scale * (rows["camera"][0, 0] * vertices - np.append(corner, 0))
        parts.append(draw_mesh(part, vertices, known.faces))
    _write(np.concatenate(parts, axis=1), file, longest=len(parts) * SIDE)
    return Picture(
        kind=kind,
        sample_id=sample_id,
        score=score,
        file=f"{file.parent.name}/{file.name}",
        size=(len(parts) * SIDE, SIDE),
        overlay=_NOTHING,
        views=skeleton_views(
            truth - truth[:, pelvis, None], joints - joints[:, pelvis, None], known.skeleton
        ),
        people=len(truth),
        drawn=len(joints),
        rows=len(joints),
    )


def draw_strip(
    kind: str, unit: str, score: float, known: Truth, predictions: Predictions, file: Path
) -> Picture:
    """Draw frames of a sequence side by side, every track in its colour."""
    import cv2

    skeleton = known.skeleton
    every = _frames(predictions, unit)
    chosen = np.linspace(0, len(every) - 1, min(FRAMES, len(every))).round().astype(int)
    nobody = np.zeros((0, len(skeleton), 2))
    images, truth, people, left = [], [nobody], [nobody], 0
    tracks: list[int] = []
    for index in (every[i] for i in chosen):
        sample_id, rows = predictions.sample_ids[index], predictions.rows_of(index)
        image = known.samples[sample_id].read_image()
        scale = STRIP / image.shape[0]
        image = cv2.resize(image, (round(scale * image.shape[1]), STRIP))
        for poses, placed in (
            (known.poses.get(sample_id, nobody), truth),
            (rows.get("keypoints", nobody), people),
        ):
            placed.append(scale * (poses + 0.5) - 0.5 + np.array([left, 0]))
        tracks += rows.get("track_id", np.zeros(len(people[-1]), np.int64)).tolist()
        images.append(image)
        left += image.shape[1]
    _write(np.concatenate(images, axis=1), file, longest=left)
    order = {track: number for number, track in enumerate(dict.fromkeys(tracks))}
    styles = [order[track] for track in tracks]
    truth_placed, placed = np.concatenate(truth), np.concatenate(people)
    return Picture(
        kind=kind,
        sample_id=unit,
        score=score,
        file=f"{file.parent.name}/{file.name}",
        size=(left, STRIP),
        overlay=track_overlay((left, STRIP), truth_placed, placed, styles, skeleton),
        people=len(truth_placed),
        drawn=len(placed),
        rows=len(placed),
    )


def _frames(predictions: Predictions, unit: str) -> list[int]:
    """Return where the samples of a unit are: the sample of that name, or frames of a sequence."""
    frames = f"{unit}/"
    ids = enumerate(predictions.sample_ids)
    return [i for i, name in ids if name == unit or name.startswith(frames)]


def _picture(
    sample: Sample, truth: NDArray[np.float64], camera: NDArray[np.float64]
) -> tuple[NDArray[np.uint8] | None, NDArray[np.float64]]:
    """Return a sample's picture, if there is one, and its upper left corner in pixels (2,).

    Of a depth image it is the surroundings of the hand in grey, near is bright.
    """
    corner = np.zeros(2)
    if not sample.images or not Path(sample.images[0]).is_file():
        return None, corner
    if "hand_center" not in sample.inputs:
        return sample.read_image(), corner
    depth = sample.read_depth()
    flat = _projected(truth, camera).reshape(-1, 2)
    room = 0.3 * np.ptp(flat, axis=0).max()
    x, y = np.maximum(np.floor(flat.min(axis=0) - room), 0).astype(int)
    right, bottom = np.ceil(flat.max(axis=0) + room).astype(int)
    part = depth[y:bottom, x:right]
    shade = 150 - 0.7 * (part - truth[..., 2].mean())
    grey = np.where(part > 0, np.clip(shade, 40, 255), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), np.array([x, y], np.float64)


def _projected(joints: NDArray[np.float64], camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pixels (..., 2) of points in millimetres (..., 3)."""
    seen = joints @ camera.T
    return np.asarray(seen[..., :2] / seen[..., 2:])


def _write(image: NDArray[np.uint8], file: Path, longest: int = LONGEST_SIDE) -> None:
    """Write an image, made smaller if it is large."""
    import cv2

    height, width = image.shape[:2]
    shrink = min(1.0, longest / max(height, width))
    if shrink < 1:
        small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 82])
