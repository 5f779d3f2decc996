"""The embedded DensePose splits: official files, a chart that unfolds, the truth as prediction."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as rle
from scipy.spatial import cKDTree

from benchmarks.datasets.densepose import iuv_size
from benchmarks.metrics.geodesic import PARTS
from benchmarks.protocols.densepose import DensePose
from benchmarks.world import body, coco, densepose
from benchmarks.world.chart import COARSE, MIRRORED, TORSO, surface, unfold
from harness.api import DENSE_POSE, Dataset, Predictions, PrerequisiteError

PICTURES = 10
BENCHMARK = DensePose()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with both splits, each of a few pictures."""
    root = tmp_path_factory.mktemp("data") / "densepose"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco, "SPLITS", {"embedded-train": (1, 12), "embedded-val": (2, PICTURES)})
        for split in coco.SPLITS:
            densepose.make_split(root, split, workers=1)
    return root


@pytest.fixture(scope="module")
def dataset(world: Path) -> Dataset:
    return BENCHMARK.load(world, "embedded-val")


# --- the chart ------------------------------------------------------------------------------------


def skin() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    mesh = body.template()
    worn = np.array([part.name in body.OPTIONAL_PARTS for part in body.PARTS])
    kept = ~worn[mesh.vertex_part]
    return mesh.vertex_part[kept], mesh.vertices[kept]


def test_every_point_has_a_place_in_one_of_24_parts() -> None:
    part, u, v = unfold(*skin())
    assert set(part.tolist()) == set(range(1, PARTS + 1))
    assert ((u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)).all()
    for number in range(1, PARTS + 1):
        own = part == number
        assert np.ptp(u[own]) > 0.9, number
        assert np.ptp(v[own]) > 0.6, number


def test_right_and_left_are_the_persons_own_and_mirror_images() -> None:
    piece, rest = skin()
    aside = np.abs(rest[:, 0]) > 1e-9  # a point of the middle has one side only
    piece, rest = piece[aside], rest[aside]
    part, u, v = unfold(piece, rest)
    other, other_u, other_v = unfold(piece, rest * [-1, 1, 1])
    np.testing.assert_array_equal(np.array(MIRRORED)[part], other)
    np.testing.assert_array_equal(v, other_v)
    np.testing.assert_allclose(other_u, np.where(np.isin(part, TORSO), 1 - u, u), atol=1e-4)
    right = np.isin(part, [3, 6, 7, 9, 11, 13, 16, 18, 20, 22, 23])
    assert (rest[right, 0] < 0).all()
    assert set(COARSE[part].tolist()) == set(range(1, 15))


def test_near_points_of_a_part_are_near_in_u_and_v() -> None:
    """No part folds over itself: the nearest vertex in u, v is near on the body."""
    found = surface()
    for number in range(1, PARTS + 1):
        own = np.flatnonzero(found.part == number)
        flat = np.stack([found.u[own], found.v[own]], axis=1)
        _, nearest = cKDTree(flat).query(flat, k=2)
        away = found.distance(found.vertex[own], found.vertex[own[nearest[:, 1]]])
        assert np.percentile(away, 95) < 0.08, number


def test_distances_are_those_of_one_connected_body() -> None:
    found = surface()
    count = len(found.part)
    assert np.isfinite(found.geodesic).all()
    assert len(found.geodesic) == count * (count - 1) // 2
    mesh = body.template()
    points = {name: np.flatnonzero(np.isin(found.part, parts)) for name, parts in
              {"hands": (3, 4), "feet": (5, 6), "head": (23, 24)}.items()}  # fmt: skip
    hands, feet = (points[name] for name in ("hands", "feet"))
    assert found.distance(hands[:1], feet[:1])[0] > 1.4  # over the shoulder and down the side
    random = np.random.default_rng(0)
    a, b, c = random.integers(0, count, (3, 2000))
    assert (found.distance(a, c) <= found.distance(a, b) + found.distance(b, c) + 2e-5).all()
    # Never shorter than the straight line: the vertices are those of the template, less hidden.
    kept = cKDTree(mesh.vertices)
    assert kept.n > count


def test_thighs_that_nearly_touch_are_far_apart_on_the_surface() -> None:
    found = surface()
    inner = [
        np.flatnonzero((found.part == part) & (found.u < 0.1) & (found.v > 0.7))[0]
        for part in (9, 10)
    ]
    assert found.distance(*(np.array([vertex]) for vertex in inner))[0] > 0.3


# --- the files ------------------------------------------------------------------------------------


def annotations(world: Path) -> list[dict[str, Any]]:
    text = (world / "annotations/densepose_embedded-val.json").read_text()
    records: list[dict[str, Any]] = json.loads(text)["annotations"]
    return records


def test_the_official_reader_reads_it(world: Path, dataset: Dataset) -> None:
    assert BENCHMARK.splits(world) == ("embedded-train", "embedded-val")
    assert dataset.synthetic
    assert len(dataset.sample_ids) == PICTURES
    samples = BENCHMARK.samples(dataset, BENCHMARK.protocol())
    theirs = world.parent / "coco" / "embedded-val"
    for sample in samples:
        assert Path(sample.images[0]).resolve().parent == theirs
        assert sample.read_image().shape[2] == 3
    assert json.loads((world / "eval_data/embedded.json").read_text())["synthetic"]


def test_points_lie_on_the_mask_of_their_part(world: Path) -> None:
    annotated = [record for record in annotations(world) if "dp_x" in record]
    assert len(annotated) > 10
    for record in annotated:
        masks = np.zeros((256, 256), dtype=np.int64)
        for number, code in enumerate(record["dp_masks"], start=1):
            if code:
                masks[rle.decode(code) > 0] = number
        x, y = (np.array(record[f"dp_{axis}"]) for axis in "xy")
        assert ((x > 0) & (x < 255) & (y > 0) & (y < 255)).all()
        column, row = (
            ((np.floor(axis / 255 * size) + 0.5) * 256 / size).astype(int)
            for axis, size in zip((x, y), record["bbox"][2:], strict=True)
        )
        # A pixel shows up to four points; the mask has the part of one of them.
        assert (masks[row, column] == COARSE[record["dp_I"]]).mean() > 0.8
        assert (masks[row, column] > 0).all() or max(record["bbox"][2:]) > 256
        assert np.bincount(record["dp_I"]).max() <= densepose.POINTS


def test_people_without_keypoints_have_no_points(world: Path) -> None:
    records = annotations(world)
    assert all(("dp_x" in record) == (record["num_keypoints"] > 0) for record in records)
    assert any("dp_x" not in record for record in records)


def test_view_and_picture_are_of_the_same_people() -> None:
    for index in range(3):
        view = densepose.DenseView("embedded-val", index)
        np.testing.assert_array_equal(view.owner, coco.draw_picture("embedded-val", index).owner)


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.*"))
        if path.is_file() and path.suffix in (".json", ".npy", ".mat") and "val" in str(path)
    }


def test_files_are_the_same_for_any_number_of_processes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "SPLITS", {"embedded-train": (1, 12), "embedded-val": (2, PICTURES)})
    densepose.make_split(tmp_path / "densepose", "embedded-val", workers=2)
    assert files(tmp_path) == files(world.parent)
    assert len(files(tmp_path)) == 6


def test_a_finished_split_is_left_alone_and_another_version_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "SPLITS", {"embedded-val": (2, 1)})
    path = densepose.make_split(tmp_path / "densepose", "embedded-val", workers=1)
    text = path.read_text()
    path.write_text(text + " ")
    densepose.make_split(tmp_path / "densepose", "embedded-val", workers=1)
    assert path.read_text() == text + " "
    path.write_text(text.replace(f'"version":"{densepose.VERSION} ', '"version":"0 '))
    densepose.make_split(tmp_path / "densepose", "embedded-val", workers=1)
    assert path.read_text() == text
    with pytest.raises(PrerequisiteError, match="embedded-test"):
        densepose.make_split(tmp_path / "densepose", "embedded-test")


def test_annotations_are_locked(world: Path) -> None:
    """A change of these digests must change VERSION, and needs new shipped weights."""
    digests = [hashlib.sha256((world / name).read_bytes()).hexdigest()[:16] for name in LOCKED]
    assert digests == list(LOCKED.values())


LOCKED = {
    "annotations/densepose_embedded-val.json": "9fd6d85688e6b2a9",
    "eval_data/SMPL_subdiv.mat": "cd07091647fc3a89",
    "eval_data/SMPL_SUBDIV_TRANSFORM.mat": "20bda1aad8d3cd7e",
    "eval_data/Pdist_matrix.npy": "4a584574be6fbe35",
}


# --- numbers --------------------------------------------------------------------------------------


def encoded(iuv: NDArray[np.float64]) -> bytes:
    levels = iuv * [1, 255, 255]
    return cv2.imencode(".png", np.round(levels[..., ::-1]).astype(np.uint8))[1].tobytes()


def predictions(dataset: Dataset, draw: Any) -> Predictions:
    """Predict every annotated box of the split; ``draw`` makes what is in it."""
    people, rows = dataset.truth.people, []
    for image, sample_id in enumerate(dataset.sample_ids):
        own = range(people.offsets[image], people.offsets[image + 1])
        pictures = np.empty(len(own), dtype=object)
        pictures[:] = [encoded(draw(image, row)) for row in own]
        rows.append((sample_id, {"box": people.box[own.start : own.stop],
                                 "score": np.ones(len(own)), "iuv": pictures}))  # fmt: skip
    return Predictions.from_samples(DENSE_POSE, rows)


def scored(dataset: Dataset, draw: Any, variant: str | None = None) -> dict[str, float]:
    protocol = BENCHMARK.protocol(variant)
    statistics = BENCHMARK.statistics(dataset, predictions(dataset, draw), protocol)
    return BENCHMARK.compute(statistics, protocol)


def true_surface(dataset: Dataset) -> Any:
    views = [densepose.DenseView("embedded-val", index) for index in range(PICTURES)]
    people = dataset.truth.people
    return lambda image, row: views[image].in_box(int(people.id[row]) % 10)


def test_the_truth_as_prediction_is_nearly_perfect(dataset: Dataset) -> None:
    metrics = scored(dataset, true_surface(dataset))
    assert metrics["gps/AP"] > 98
    assert metrics["gps/AP50"] > 99.9
    assert metrics["gpsm/AP"] > 90
    assert metrics["iou/AP"] > 85


def test_errors_cost_what_they_should(dataset: Dataset) -> None:
    """Sides exchanged, one part for all, and the mean surface of all people in true boxes."""
    truth = true_surface(dataset)

    def exchanged(image: int, row: int) -> NDArray[np.float64]:
        found = truth(image, row)
        found[..., 0] = np.array(MIRRORED)[found[..., 0].astype(int)]
        return np.asarray(found)

    def chest(image: int, row: int) -> NDArray[np.float64]:
        found = truth(image, row)
        found[found[..., 0] > 0] = (2, 0.5, 0.5)
        return np.asarray(found)

    whole = scored(dataset, truth)["gps/AP"]
    swapped, flat = (scored(dataset, draw)["gps/AP"] for draw in (exchanged, chest))
    assert swapped < whole / 2
    assert flat < 5


def mean_surface(dataset: Dataset, side: int = 16) -> NDArray[np.float64]:
    """Return the floor (side, side, 3): at each place of a box the commonest part's mean u, v."""
    count, total = np.zeros((side, side, PARTS + 1)), np.zeros((side, side, PARTS + 1, 2))
    for points in dataset.truth.points:
        if points is not None:
            row, column = ((axis * side / 255).astype(int) for axis in (points.y, points.x))
            np.add.at(count, (row, column, points.part), 1)
            np.add.at(total, (row, column, points.part), np.stack([points.u, points.v], axis=1))
    mean = total / np.maximum(count, 1)[..., None]
    best = count.argmax(axis=2)
    rows, columns = np.indices((side, side))
    return np.concatenate([best[..., None], mean[rows, columns, best]], axis=-1)


def test_the_mean_surface_is_a_low_floor(world: Path, dataset: Dataset) -> None:
    mean = mean_surface(BENCHMARK.load(world, "embedded-train"))
    people = dataset.truth.people

    def draw(image: int, row: int) -> NDArray[np.float64]:
        height, width = iuv_size(people.box[row])
        return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_NEAREST))

    assert scored(dataset, draw)["gps/AP"] < 10


def test_training_gets_points_masks_and_who_is_left_out(world: Path) -> None:
    dataset = BENCHMARK.load(world, "embedded-train")
    left_out = 0
    for sample, truth in BENCHMARK.training_samples(dataset, None):
        assert sample.boxes is not None
        left_out += len(truth["unlabelled"])
        for box, points, seen, masks in zip(
            sample.boxes, truth["keypoints"], truth["visible"], truth["masks"], strict=True
        ):
            inside = (points[seen] >= box[:2] - 0.5) & (points[seen] <= box[:2] + box[2:] + 0.5)
            assert inside.all()
            assert len(masks) == 14
        parts = truth["surface"][..., 0]
        assert ((parts > 0) == truth["visible"]).all()
    assert left_out > 0
