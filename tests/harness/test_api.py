"""The vocabulary: digests, predictions, statistics, protocols."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import (
    PARSING,
    PEOPLE_2D,
    Predictions,
    Protocol,
    Ragged,
    Statistics,
    canonical_json,
    content_digest,
    merge,
    quirk,
)


def people(counts: list[int], seed: int = 0, joints: int = 3) -> Predictions:
    """Random predictions with the given number of people per sample, some joints missing."""
    random = np.random.default_rng(seed)
    samples = []
    for i, count in enumerate(counts):
        keypoints = random.normal(size=(count, joints, 2))
        keypoints[random.random((count, joints)) < 0.2] = np.nan
        scores = random.random((count, joints))
        rows = {"keypoints": keypoints, "keypoint_scores": scores, "score": random.random(count)}
        samples.append((f"s{i}", rows))
    return Predictions.from_samples(PEOPLE_2D, samples)


def same(left: Predictions, right: Predictions) -> bool:
    """Whether two containers hold the same bits."""
    return left.sample_ids == right.sample_ids and left.digest() == right.digest()


counts = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(counts, st.integers(0, 9))
def test_predictions_survive_arrow_to_the_bit(sizes: list[int], seed: int) -> None:
    before = people(sizes, seed)
    after = Predictions.from_arrow(before.to_arrow())
    assert same(before, after)
    for name, column in before.columns.items():
        np.testing.assert_array_equal(column, after.columns[name])


@given(counts, st.integers(0, 11))
def test_cut_and_joined_predictions_are_the_same(sizes: list[int], cut: int) -> None:
    whole = people(sizes)
    ids = whole.sample_ids
    parts = [whole.select(part) for part in (ids[:cut], ids[cut:])]
    assert same(whole, Predictions.concatenate(parts))
    assert same(whole.select(ids[::-1]).select(ids), whole)


def test_encoded_pictures_survive_arrow() -> None:
    blobs = np.empty(2, dtype=object)
    blobs[:] = [b"\x00png", b""]
    samples = [("a", {"labels": blobs[:1]}), ("b", {"labels": blobs[1:]})]
    before = Predictions.from_samples(PARSING, samples)
    assert same(before, Predictions.from_arrow(before.to_arrow()))


def test_no_sample_at_all_survives_arrow() -> None:
    nothing = Predictions.from_samples(PEOPLE_2D, [])
    assert same(nothing, Predictions.from_arrow(nothing.to_arrow()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.array([math.nan])}, "row 0: .*nan.* is not finite"),
        ({"keypoints": np.full((1, 3, 2), math.inf)}, "is not finite"),
        ({"keypoints": np.zeros((1, 4, 2))}, r"'keypoint_scores' has shape \(1, 3\)"),
        ({"keypoints": np.zeros((1, 3, 3))}, "'keypoints' has shape"),
        ({"score": np.zeros(1, dtype=np.float32)}, "is float32, expected float64"),
        ({"limbs": np.zeros(1)}, "limbs"),
    ],
)
def test_bad_columns_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    good = {
        "keypoints": np.zeros((1, 3, 2)),
        "keypoint_scores": np.zeros((1, 3)),
        "score": np.zeros(1),
    }
    Predictions.from_samples(PEOPLE_2D, [("a", good)])
    with pytest.raises((ValueError, KeyError), match=message):
        Predictions.from_samples(PEOPLE_2D, [("a", good | change)])


def test_a_doubled_sample_is_refused() -> None:
    rows = people([1]).rows_of(0)
    with pytest.raises(ValueError, match="sample a appears twice"):
        Predictions.from_samples(PEOPLE_2D, [("a", rows), ("a", rows)])


@given(counts, st.integers(0, 99))
def test_boxes_are_grown_from_the_known_joints(sizes: list[int], seed: int) -> None:
    found = people(sizes, seed)
    boxed = found.boxed()
    for sample in range(len(sizes)):
        rows, boxes = found.rows_of(sample), iter(boxed.rows_of(sample)["box"])
        for points, score in zip(rows["keypoints"], rows["score"], strict=True):
            known = points[np.isfinite(points[:, 0])]
            if len(known) < 2:  # has no extent
                continue
            x, y, width, height = next(boxes)
            assert score in boxed.rows_of(sample)["score"]
            extent = np.maximum(np.ptp(known, axis=0), 1)
            np.testing.assert_allclose((width, height), 1.25 * extent)
            middle = (known.min(axis=0) + known.max(axis=0)) / 2
            np.testing.assert_allclose((x + width / 2, y + height / 2), middle)
        assert next(boxes, None) is None


@given(counts, st.randoms(use_true_random=False))
def test_statistics_merge_in_any_order_and_cut(sizes: list[int], random: object) -> None:
    values = [np.random.default_rng(i).normal(size=size) for i, size in enumerate(sizes)]
    numbers = np.arange(len(sizes))
    whole = Statistics(numbers, {"each": Ragged.from_lists(values), "one": numbers * 2.0})
    shuffled = list(numbers)
    random.shuffle(shuffled)
    cut = random.randint(0, len(shuffled))
    parts = [whole.take(np.array(p, dtype=np.int64)) for p in (shuffled[:cut], shuffled[cut:])]
    merged = merge([part for part in parts if len(part)])
    np.testing.assert_array_equal(merged.position, whole.position)
    np.testing.assert_array_equal(merged.dense("one"), whole.dense("one"))
    np.testing.assert_array_equal(merged.ragged("each").values, whole.ragged("each").values)
    np.testing.assert_array_equal(merged.ragged("each").offsets, whole.ragged("each").offsets)


def test_merging_a_sample_twice_is_refused() -> None:
    part = Statistics(np.array([3]), {"one": np.array([1.0])})
    with pytest.raises(ValueError, match="position 3 is in two parts"):
        merge([part, part])


def test_canonical_json_has_one_text_per_value() -> None:
    assert canonical_json({"b": (1, np.float64(0.1)), "a": np.arange(2)}) == (
        '{"a":[0,1],"b":[1,0.1]}'
    )
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(math.nan)


def test_protocol_digest_follows_quirks_and_not_names() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Example(Protocol):
        threshold: float = quirk("A hit is closer than this.", default=0.5)

    first = Example(variant="a", title="A", benchmark="x")
    assert first.digest == dataclasses.replace(first, variant="b", title="B").digest
    assert first.digest != dataclasses.replace(first, threshold=0.51).digest
    assert first.digest != dataclasses.replace(first, box_source="ground truth").digest
    assert first.digest == content_digest(first.quirks())
    assert first.meanings()["threshold"] == "A hit is closer than this."
