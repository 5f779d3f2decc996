"""Why keypoints are wrong: jitter, inversion, swap or miss, and the AP that each of them costs.

The taxonomy is that of Ronchi and Perona (Benchmarking and Error Diagnosis in Multi-Instance Pose
Estimation, ICCV 2017); the numbers are those of their tool coco-analyze (commit 9eb8a0a), apart
from a similarity of exactly 0.85, which that tool leaves out and which is good here.

A predicted joint of a matched person is compared with the same joint and with the mirrored joint
of every person in the image. The most similar of these says what happened:

- ``miss``: it is less similar than 0.5, so the joint is near nothing;
- ``good``, ``jitter``: it is the joint itself, at least as similar as 0.85, or less;
- ``inversion``: it is the person's own mirrored joint;
- ``swap``: it is a joint of another person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.average_precision import precision_recall
from benchmarks.metrics.matching import match, outcomes, pairs_within
from benchmarks.metrics.oks import keypoint_similarity, object_keypoint_similarity
from harness.api import Ragged, Statistics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SOURCE = (
    "Ronchi, Perona. Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation. ICCV 2017"
)

KINDS = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)

CORRECTED = (MISS, SWAP, INVERSION, JITTER)
"""The order in which errors are corrected, each on top of those before."""

MATCHED_FROM = 0.1
"""OKS from which on a detection is compared with a person, however badly it is placed."""

NEAR, ALMOST = 0.5, 0.85
"""Similarity from which on a joint is near another, and from which on it is good."""

_AREA = (32.0**2, 1e5**2)  # square pixels; coco-analyze evaluates no smaller people
_THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10))
_RECALLS = 101
_GUARD = 1e-10


@dataclass(frozen=True, eq=False)
class Detected:
    """Detected people of n images, image by image, best score first, 20 an image at most.

    Parameters
    ----------
    keypoints : array (D, K, 2)
        x, y in pixels, NaN for a joint that was not predicted.
    score, area : array (D,)
        Area in square pixels.
    offsets : int array (n + 1,)
    """

    keypoints: Floats
    score: Floats
    area: Floats
    offsets: Ints


@dataclass(frozen=True, eq=False)
class Annotated:
    """Annotated people of n images, image by image.

    Parameters
    ----------
    keypoints : array (G, K, 2)
    labelled : bool array (G, K)
    area : array (G,)
    box : array (G, 4)
        x, y, w, h.
    crowd : bool array (G,)
    offsets : int array (n + 1,)
    """

    keypoints: Floats
    labelled: Bools
    area: Floats
    box: Floats
    crowd: Bools
    offsets: Ints

    @property
    def ignored(self) -> Bools:
        """Whether a person counts neither as found nor as missed, (G,)."""
        outside = (self.area < _AREA[0]) | (self.area > _AREA[1])
        return np.asarray(self.crowd | ~self.labelled.any(axis=1) | outside)


@dataclass(frozen=True, eq=False)
class Errors:
    """What happened to each joint of M matched detections.

    Parameters
    ----------
    detection, person : int array (M,)
        Rows of the detected and of the annotated person.
    kind : int array (M, K)
        Place in :data:`KINDS`; -1 where the joint is not labelled.
    similarity : array (M, K)
        With the most similar joint.
    """

    detection: Ints
    person: Ints
    kind: Ints
    similarity: Floats


@dataclass(frozen=True, eq=False)
class ErrorAnalysis:
    """How many joints are wrong in which way, and what that costs.

    Parameters
    ----------
    matches : int
        Number of detections that were matched with a person with labelled joints.
    counts : int array (5, K)
        Joints by kind, in the order of :data:`KINDS`.
    precision : tuple of 5 floats
        AP as detected, and after each step of :data:`CORRECTED`; NaN without truth.
    """

    matches: int
    counts: Ints
    precision: tuple[float, ...]

    def document(self, joints: Sequence[str]) -> dict[str, Any]:
        """Return the analysis as :meth:`harness.api.Benchmark.error_analysis` promises it."""
        values = [None if np.isnan(value) else value for value in self.precision]
        gains = np.diff(self.precision).tolist()
        return {
            "source": SOURCE,
            "metric": "AP",
            "matches": self.matches,
            "baseline": values[0],
            "kinds": {
                kind: dict(zip(joints, row.tolist(), strict=True))
                for kind, row in zip(KINDS, self.counts, strict=True)
            },
            "steps": [
                {"kind": KINDS[kind], "value": value, "gain": None if np.isnan(gain) else gain}
                for kind, value, gain in zip(CORRECTED, values[1:], gains, strict=True)
            ],
        }


def analyse(
    detected: Detected, annotated: Annotated, sigmas: Sequence[float], mirror: Ints
) -> ErrorAnalysis:
    """Classify every joint of the matched detections, and correct one kind of error after another.

    Parameters
    ----------
    detected : Detected
    annotated : Annotated
    sigmas : K floats
        Of the OKS.
    mirror : int array (K,)
        Each joint's mirrored joint; its own place where it has none.
    """
    errors = classify(detected, annotated, sigmas, mirror)
    precision = [average_precision(detected, annotated, sigmas)]
    for kind in CORRECTED:
        detected = correct(detected, annotated, errors, kind, sigmas)
        precision.append(average_precision(detected, annotated, sigmas))
    counts = np.stack([(errors.kind == kind).sum(axis=0) for kind in range(len(KINDS))])
    return ErrorAnalysis(len(errors.detection), counts, tuple(precision))


def classify(
    detected: Detected, annotated: Annotated, sigmas: Sequence[float], mirror: Ints
) -> Errors:
    """Say what happened to each joint of every detection that is matched at all.

    Detections matched with a crowd or with a person outside the size range are analysed like any
    other, those matched with a person without labelled joints are not.
    """
    winner = _match(detected, annotated, sigmas, (MATCHED_FROM,))[:, 0, 0]
    matched = winner >= 0
    matched[matched] = annotated.labelled[winner[matched]].any(axis=1)
    detection = np.flatnonzero(matched)
    person = winner[detection]
    owner = np.repeat(np.arange(len(detected.offsets) - 1), np.diff(detected.offsets))
    offsets = np.searchsorted(owner[detection], np.arange(len(detected.offsets)))
    row, other = pairs_within(offsets, annotated.offsets)
    same = _similarity(detected, annotated, detection[row], other, sigmas)
    mirrored = _similarity(detected, annotated, detection[row], other, sigmas, mirror)
    own = other == person[row]
    # The first of equals: the joint itself, other people's, the mirrored one, others' mirrored.
    candidates = np.stack(
        [
            same[own],
            _best_by_row(np.where(own[:, None], -1.0, same), row, len(detection)),
            mirrored[own],
            _best_by_row(np.where(own[:, None], -1.0, mirrored), row, len(detection)),
        ]
    )
    similarity = candidates.max(axis=0, initial=-1.0)
    kind = np.array([GOOD, SWAP, INVERSION, SWAP])[candidates.argmax(axis=0)]
    kind = np.where((kind == GOOD) & (similarity < ALMOST), JITTER, kind)
    kind = np.where(similarity < NEAR, MISS, kind)
    kind = np.where(annotated.labelled[person], kind, -1)
    return Errors(detection, person, kind, similarity)


def _similarity(
    detected: Detected,
    annotated: Annotated,
    detection: Ints,
    person: Ints,
    sigmas: Sequence[float],
    order: Ints | slice = slice(None),
) -> Floats:
    """Return the similarity (P, K) of pairs; -1 where the annotated joint is not labelled."""
    found = keypoint_similarity(
        detected.keypoints[detection],
        annotated.keypoints[:, order][person],
        annotated.area[person],
        sigmas,
    )
    return np.where(annotated.labelled[:, order][person], found, -1.0)


def _best_by_row(values: Floats, row: Ints, rows: int) -> Floats:
    """Return the largest of each row's values (P, K), (rows, K); every row has some, in order."""
    if not rows:
        return np.zeros((0, values.shape[1]))
    starts = np.searchsorted(row, np.arange(rows))
    return np.asarray(np.maximum.reduceat(values, starts, axis=0))


def correct(
    detected: Detected, annotated: Annotated, errors: Errors, kind: int, sigmas: Sequence[float]
) -> Detected:
    """Return the detections with all errors of one kind made good.

    A joint is put beside its true place, at the distance where it is as similar as it should be:
    a miss 0.5, jitter 0.85, inversion and swap as similar as it was to the wrong joint. As in
    coco-analyze that distance is taken with sigma where similarity has two sigma, so that the
    similarity comes out as the fourth root.
    """
    row, joint = np.nonzero(errors.kind == kind)
    detection, person = errors.detection[row], errors.person[row]
    similarity = {MISS: np.full(len(row), NEAR), JITTER: np.full(len(row), ALMOST)}.get(
        kind, errors.similarity[row, joint]
    )
    variance = np.asarray(sigmas)[joint] ** 2 * (annotated.area[person] + np.spacing(1.0))
    keypoints = detected.keypoints.copy()
    keypoints[detection, joint] = annotated.keypoints[person, joint]
    keypoints[detection, joint, 0] += np.sqrt(-2 * variance * np.log(similarity))
    return replace(detected, keypoints=keypoints)


def average_precision(detected: Detected, annotated: Annotated, sigmas: Sequence[float]) -> float:
    """Return the mean AP over OKS thresholds .50:.05:.95, people of 32^2 square pixels and more."""
    ignored = annotated.ignored[:, None]
    outside = (detected.area < _AREA[0]) | (detected.area > _AREA[1])
    winner = _match(detected, annotated, sigmas, _THRESHOLDS)
    outcome = outcomes(winner, ignored, outside[:, None])
    images = len(detected.offsets) - 1
    owner = np.repeat(np.arange(images), np.diff(annotated.offsets))
    statistics = Statistics(
        np.arange(images),
        {
            "score": Ragged(detected.score, detected.offsets),
            "outcome": Ragged(outcome, detected.offsets),
            "truths": np.bincount(owner[~ignored[:, 0]], minlength=images)[:, None],
        },
    )
    return float(precision_recall(statistics, _RECALLS).average_precision(0)[0])


def _match(
    detected: Detected, annotated: Annotated, sigmas: Sequence[float], thresholds: Sequence[float]
) -> Ints:
    """Return the matched person of each detection at each threshold, (D, 1, T); -1 for none."""
    pairs = pairs_within(detected.offsets, annotated.offsets)
    similarity = object_keypoint_similarity(
        detected.keypoints,
        annotated.keypoints,
        annotated.labelled,
        annotated.area,
        annotated.box,
        sigmas,
        pairs,
    )
    counts = np.diff(detected.offsets)
    rank = np.arange(len(detected.score)) - np.repeat(detected.offsets[:-1], counts)
    ignored = annotated.ignored[:, None]
    return match(similarity, pairs, rank, ignored, annotated.crowd, thresholds, _GUARD)
