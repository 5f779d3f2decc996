"""The embedded world in the layouts of MPII, LSP and FLIC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.protocols.flic import Flic
from benchmarks.protocols.lip import Lip
from benchmarks.protocols.lsp import Lsp
from benchmarks.protocols.mpii import Mpii
from benchmarks.protocols.single_person import SinglePerson, one_person_each
from benchmarks.world import single_person
from harness.api import PrerequisiteError, content_digest
from harness.api.skeleton import COCO_MPII_21, H36M_17, MPII_16

BENCHMARKS: dict[str, SinglePerson] = {b.name: b for b in (Mpii(), Lsp(), Flic())}
PICTURES = 3


def few(pictures: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the splits with a few pictures each."""
    return {name: (code, pictures) for name, (code, _) in single_person.SPLITS.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small embedded splits of all three, made in this process."""
    root = tmp_path_factory.mktemp("single-person")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_person, "SPLITS", few(PICTURES))
        for name in BENCHMARKS:
            single_person.make_split(root / name / "embedded-val", name, workers=1)
    return root


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_official_readers_read_it(world: Path, name: str) -> None:
    benchmark = BENCHMARKS[name]
    root = world / name
    assert benchmark.splits(root) == ("embedded-val",)
    dataset = benchmark.load(root, "embedded-val")
    assert dataset.synthetic
    assert dataset.split == "embedded-val"
    assert dataset.root == root
    samples = benchmark.samples(dataset, benchmark.protocol())
    assert len(samples) == PICTURES
    people = benchmark.people(dataset, benchmark.protocol())
    for sample, points in zip(samples, people.keypoints, strict=True):
        height, width, _ = sample.read_image().shape
        seen = points[~np.isnan(points[:, 0])]
        assert ((seen >= 0) & (seen <= [width - 1, height - 1])).all()
        assert sample.boxes.shape == (1, 4)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_truth_scores_full_marks_and_a_shifted_one_does_not(world: Path, name: str) -> None:
    benchmark = BENCHMARKS[name]
    protocol = benchmark.protocol()
    dataset = benchmark.load(world / name, "embedded-val")
    truth = benchmark.people(dataset, protocol).keypoints

    def value(keypoints: np.ndarray) -> float:
        predictions = one_person_each(dataset.sample_ids, keypoints)
        statistics = benchmark.statistics(dataset, predictions, protocol)
        return benchmark.compute(statistics, protocol)[benchmark.primary]

    assert value(truth) == 100
    assert value(truth + 40) < 20


def test_labels_are_right(world: Path) -> None:
    """MPII misses what is outside the picture; everyone in LSP has all joints."""
    lsp = BENCHMARKS["lsp"]
    people = lsp.people(lsp.load(world / "lsp", "embedded-val"), lsp.protocol())
    assert np.isfinite(people.keypoints).all()
    mpii = BENCHMARKS["mpii"]
    dataset = mpii.load(world / "mpii", "embedded-val")
    truth = mpii.people(dataset, mpii.protocol())
    neck_to_top = np.linalg.norm(truth.keypoints[:, 8] - truth.keypoints[:, 9], axis=1)
    # 0.6 x the head box's diagonal is about the length of a head.
    assert ((truth.size / neck_to_top > 0.4) & (truth.size / neck_to_top < 1.6)).all()
    sample = mpii.samples(dataset, mpii.protocol())[0]
    box = sample.boxes[0]
    shown = truth.keypoints[0][~np.isnan(truth.keypoints[0, :, 0])]
    assert ((shown >= box[:2] - 6) & (shown <= box[:2] + box[2:] + 6)).all()


def test_training_takes_any_skeleton_that_the_world_converts_to(world: Path) -> None:
    mpii = BENCHMARKS["mpii"]
    dataset = mpii.load(world / "mpii", "embedded-val")
    truth = mpii.people(dataset, mpii.protocol()).keypoints
    pairs = mpii.training_samples(dataset, MPII_16)
    assert len(pairs) == PICTURES
    for (sample, known), points in zip(pairs, truth, strict=True):
        assert sample.boxes.shape == (1, 4)
        seen = known["visible"][0]
        np.testing.assert_array_equal(seen, np.isfinite(points[:, 0]))
        np.testing.assert_allclose(known["keypoints"][0][seen], points[seen], atol=1e-9)
    (_, known), *_ = mpii.training_samples(dataset, COCO_MPII_21)
    assert known["keypoints"].shape == (1, 21, 2)
    with pytest.raises(PrerequisiteError, match="no training labels in h36m-17"):
        mpii.training_samples(dataset, H36M_17)


def test_a_finished_split_is_left_alone_and_an_old_one_made_again(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_person, "SPLITS", few(PICTURES))
    folder = world / "lsp" / "embedded-val"
    before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (folder / "mine.txt").touch()
    single_person.make_split(folder, "lsp", workers=1)
    assert (folder / "mine.txt").exists()
    (folder / "embedded.json").write_text(json.dumps({"synthetic": True, "version": 0}))
    single_person.make_split(folder, "lsp", workers=1)
    assert {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_an_interrupted_split_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_person, "SPLITS", few(2))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        single_person.make_split(tmp_path / "embedded-val", "lsp", stop, workers=1)
    assert BENCHMARKS["lsp"].splits(tmp_path) == ()


def test_problems_are_told(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"embedded-test.*mpii\.\n.*embedded-val"):
        Mpii().make_embedded(tmp_path, "embedded-test", lambda done, total: None)
    with pytest.raises(PrerequisiteError, match=r"no embedded split 'embedded-val' of lip"):
        Lip().make_embedded(tmp_path, "embedded-val", lambda done, total: None)
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        single_person.make_split(tmp_path / "file" / "embedded-val", "lsp")


def test_annotations_are_locked() -> None:
    """A change of these digests must change VERSION."""
    digests = {}
    for name in BENCHMARKS:
        image, labels = single_person.draw_person(name, "embedded-val", 1)
        parts = [image.sum(), labels.keypoints.tolist(), labels.box.tolist(), labels.head.tolist()]
        digests[name] = content_digest([int(parts[0]), str(parts[1:])])[:16]
    assert digests == LOCKED


LOCKED = {
    "mpii": "45bc3206ab852849",
    "lsp": "32ad33db18800ef7",
    "flic": "543d68baf7c17d36",
}


def test_mat_files_do_not_name_the_time(world: Path) -> None:
    """Two machines must give a data set the same digest."""
    head = (world / "mpii/embedded-val/annot/gt_valid.mat").read_bytes()[:116]
    assert head.rstrip() == b"MATLAB 5.0 MAT-file, pose-harness embedded world"
