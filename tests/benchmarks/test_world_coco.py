"""The embedded COCO splits: official files with exact ground truth."""

from __future__ import annotations

import hashlib
import json
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO

from benchmarks.protocols.coco import Coco
from benchmarks.world import coco
from harness.api import COCO_17, PrerequisiteError, content_digest
from harness.api.skeleton import COCO_MPII_21, MPII_16

PICTURES = 14


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with both splits, each of a few pictures."""
    root = tmp_path_factory.mktemp("coco")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco, "SPLITS", {"embedded-train": (1, 4), "embedded-val": (2, PICTURES)})
        for split in coco.SPLITS:
            coco.make_split(root, split, workers=1)
    return root


@pytest.fixture(scope="module")
def people(world: Path) -> list[tuple[dict[str, Any], NDArray[np.bool_]]]:
    """Every annotation with the pixels that show its person."""
    document = json.loads((world / "annotations/person_keypoints_embedded-val.json").read_text())
    owners = [coco.draw_picture("embedded-val", i).owner for i in range(PICTURES)]
    return [
        (record, owners[record["image_id"] - 2_000_000] == record["id"] % 10)
        for record in document["annotations"]
    ]


def test_the_official_reader_reads_it(world: Path) -> None:
    benchmark = Coco()
    assert benchmark.splits(world) == ("embedded-train", "embedded-val")
    dataset = benchmark.load(world, "embedded-val")
    assert dataset.synthetic
    assert len(dataset.sample_ids) == PICTURES
    assert {s.read_image().shape[2] for s in benchmark.samples(dataset, benchmark.protocol())} == {
        3
    }
    training = benchmark.training_samples(benchmark.load(world, "embedded-train"), COCO_17)
    assert sum(len(truth["keypoints"]) for _, truth in training) > 4


def test_pycocotools_reads_it(world: Path) -> None:
    official = COCO(world / "annotations/person_keypoints_embedded-val.json")
    assert official.loadCats(1)[0]["keypoints"] == list(COCO_17.joints)
    for image in official.loadImgs(official.getImgIds()):
        pixels = cv2.imread(str(world / "embedded-val" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)


def test_boxes_and_areas_are_those_of_the_pixels(
    people: list[tuple[dict[str, Any], NDArray[np.bool_]]],
) -> None:
    for record, mask in people:
        encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert record["bbox"] == rle.toBbox(encoded).tolist()
        assert record["area"] == mask.sum()


def test_polygons_are_the_masks(people: list[tuple[dict[str, Any], NDArray[np.bool_]]]) -> None:
    for record, mask in people:
        polygons = rle.frPyObjects(record["segmentation"], *mask.shape)
        again = rle.decode(rle.merge(polygons)).astype(bool)
        assert (again & mask).sum() / (again | mask).sum() > 0.96, record["id"]


def test_a_hole_in_a_mask_stays_a_hole() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:50, 5:50] = True
    mask[12:30, 20:40] = mask[35:45, 10:20] = False
    again = rle.decode(rle.merge(rle.frPyObjects(coco.outline(mask), *mask.shape))).astype(bool)
    assert (again & mask).sum() / (again | mask).sum() > 0.99  # a filled hole would give 0.77


def test_visible_joints_lie_on_their_person(
    people: list[tuple[dict[str, Any], NDArray[np.bool_]]],
) -> None:
    kinds = np.zeros(3, dtype=int)
    for record, mask in people:
        triples = np.array(record["keypoints"]).reshape(17, 3)
        kinds += np.bincount(triples[:, 2].astype(int), minlength=3)
        assert record["num_keypoints"] == (triples[:, 2] > 0).sum()
        for x, y, v in triples:
            if v == 2:
                assert mask[round(y), round(x)], record["id"]
            elif v == 1:
                assert 0 <= x <= mask.shape[1] - 1
                assert 0 <= y <= mask.shape[0] - 1
            else:
                assert x == y == 0
    assert (kinds > 20).all()  # visible, hidden and outside all happen


def test_joints_have_sub_pixel_places(
    people: list[tuple[dict[str, Any], NDArray[np.bool_]]],
) -> None:
    points = np.array([record["keypoints"] for record, _ in people]).reshape(-1, 3)
    labelled = points[points[:, 2] > 0, :2]
    assert (labelled % 1 != 0).mean() > 0.9


def test_small_or_hidden_people_have_no_joints(
    people: list[tuple[dict[str, Any], NDArray[np.bool_]]],
) -> None:
    small = [record for record, _ in people if record["area"] < 32**2]
    assert small
    assert all(record["num_keypoints"] == 0 for record in small)


def test_ids_are_unique_over_both_splits(world: Path) -> None:
    images, annotations = [], []
    for split in coco.SPLITS:
        text = (world / f"annotations/person_keypoints_{split}.json").read_text()
        document = json.loads(text)
        images += [image["id"] for image in document["images"]]
        annotations += [record["id"] for record in document["annotations"]]
    assert len(set(images)) == len(images)
    assert len(set(annotations)) == len(annotations)


def test_no_two_pictures_of_any_split_share_their_random_numbers() -> None:
    states = set()
    numbers = 0
    for code, count in coco.SPLITS.values():
        for index in range(count):
            seeds = np.random.SeedSequence([coco.VERSION, code, index])
            states.add(seeds.generate_state(4).tobytes())
            numbers += 1
    assert len(states) == numbers == 2250


def test_files_are_the_same_for_any_number_of_processes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker processes have the true SPLITS: same codes, so the same first pictures.
    monkeypatch.setattr(coco, "SPLITS", {"embedded-train": (1, 4), "embedded-val": (2, PICTURES)})
    calls: list[tuple[int, int]] = []
    coco.make_split(tmp_path, "embedded-val", lambda *done: calls.append(done), workers=2)
    assert calls == [(i + 1, PICTURES) for i in range(PICTURES)]
    assert files(tmp_path, "embedded-val") == files(world, "embedded-val")


def files(root: Path, split: str) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and split in path.name + path.parent.name and path.suffix != ".lock"
    }


def test_a_finished_split_is_left_alone_and_another_version_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "SPLITS", {"embedded-val": (2, 2)})
    path = coco.make_split(tmp_path, "embedded-val", workers=1)
    first = files(tmp_path, "embedded-val")
    marker = tmp_path / "embedded-val" / "mine.txt"
    marker.touch()
    coco.make_split(tmp_path, "embedded-val", workers=1)
    assert marker.exists()
    path.write_text(path.read_text().replace(f'"version": {coco.VERSION}', '"version": 0'))
    coco.make_split(tmp_path, "embedded-val", workers=1)
    assert not marker.exists()
    assert files(tmp_path, "embedded-val") == first


def test_an_interrupted_split_never_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "SPLITS", {"embedded-val": (2, 3)})

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coco.make_split(tmp_path, "embedded-val", stop, workers=1)
    assert Coco().splits(tmp_path) == ()
    assert not (tmp_path / "embedded-val").exists()
    coco.make_split(tmp_path, "embedded-val", workers=1)
    assert Coco().splits(tmp_path) == ("embedded-val",)
    assert len(list((tmp_path / "embedded-val").iterdir())) == 3
    assert not list(tmp_path.glob("*.partial"))


def test_the_benchmark_makes_its_own_embedded_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "SPLITS", {"embedded-val": (2, 1)})
    monkeypatch.setattr(coco, "in_order", lambda write, total, *_: map(write, range(total)))
    benchmark = Coco()
    assert benchmark.embedded_split == "embedded-val"
    benchmark.make_embedded(tmp_path, benchmark.embedded_split, lambda done, total: None)
    assert benchmark.splits(tmp_path) == ("embedded-val",)


def test_bad_requests_are_explained(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"embedded-test.*\n.*embedded-val"):
        coco.make_split(tmp_path, "embedded-test")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        coco.make_split(file / "coco", "embedded-val")


def test_annotations_are_locked() -> None:
    """A change of these digests must change VERSION, and needs new shipped weights."""
    digests = {
        (split, i): content_digest(coco.annotate(split, i, coco.draw_picture(split, i)))[:16]
        for split, i in product(coco.SPLITS, (0, 5))
    }
    assert digests == LOCKED


LOCKED = {
    ("embedded-train", 0): "de34961c70bee693",
    ("embedded-train", 5): "7ef10c39387ed818",
    ("embedded-val", 0): "dc510d749b0fc06c",
    ("embedded-val", 5): "4509eceb0679611e",
}


def test_training_learns_the_joints_that_coco_lacks(world: Path) -> None:
    benchmark = Coco()
    dataset = benchmark.load(world, "embedded-train")
    pairs = zip(
        benchmark.training_samples(dataset, COCO_17),
        benchmark.training_samples(dataset, COCO_MPII_21),
        strict=True,
    )
    tall = 0
    for (_, coco_truth), (sample, truth) in pairs:
        np.testing.assert_array_equal(truth["keypoints"][:, :17], coco_truth["keypoints"])
        np.testing.assert_array_equal(truth["visible"][:, :17], coco_truth["visible"])
        for points, seen, box in zip(
            truth["keypoints"], truth["visible"], sample.boxes, strict=True
        ):
            if seen[17:].all():
                tall += 1
                low, high = box[:2] - 3, box[:2] + box[2:] + 3
                assert ((points[17:] >= low) & (points[17:] <= high)).all()
    assert tall >= 3


def test_training_needs_labels_of_the_skeleton(world: Path) -> None:
    benchmark = Coco()
    dataset = benchmark.load(world, "embedded-train")
    with pytest.raises(PrerequisiteError, match=r"coco is labelled in coco-17.*predicts mpii-16"):
        benchmark.training_samples(dataset, MPII_16)
    path = world / "annotations/person_keypoints_embedded-train.json"
    text = path.read_text()
    try:
        path.write_text(text.replace("extra_keypoints", "more_keypoints"))
        with pytest.raises(PrerequisiteError, match=r"embedded-train.json.*extra_keypoints"):
            benchmark.training_samples(dataset, COCO_MPII_21)
    finally:
        path.write_text(text)
