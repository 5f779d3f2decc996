"""What must hold for every single-person benchmark and each of its protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from single_person_files import WORLDS, Array, near_truth, predictions

from benchmarks.protocols.bbc_pose import Chalearn
from benchmarks.protocols.mpii import Mpii
from benchmarks.protocols.single_person import SinglePerson
from harness.api import PEOPLE_2D, Dataset, Predictions, PrerequisiteError, Statistics, merge

Kind = type[SinglePerson]
Datasets = dict[str, Dataset]

CASES = [
    pytest.param(kind, variant, id=f"{kind.name}-{variant}")
    for kind in WORLDS
    for variant in kind.protocols
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    found = {}
    for kind, write in WORLDS.items():
        root = tmp_path_factory.mktemp(kind.name)
        write(root)
        found[kind.name] = kind().load(root, kind.default_split)
    return found


def measured(benchmark: SinglePerson, dataset: Dataset, variant: str) -> Statistics:
    given = predictions(dataset.sample_ids, near_truth(benchmark, dataset))
    return benchmark.statistics(dataset, given, benchmark.protocol(variant))


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_perfect_predictions_score_100(kind: Kind, variant: str, datasets: Datasets) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    protocol = benchmark.protocol(variant)
    truth = benchmark.people(dataset, protocol).keypoints
    given = predictions(dataset.sample_ids, np.nan_to_num(truth, nan=50.0))
    statistics = benchmark.statistics(dataset, given, protocol)
    values = benchmark.compute(statistics, protocol)
    values.pop("n_valid_joints", None)
    assert set(values.values()) == {100.0}
    for curve in benchmark.curves(statistics, protocol):
        np.testing.assert_array_equal(curve.y, 100.0)


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_shards_of_any_cut_and_order_give_the_same_bits(
    kind: Kind, variant: str, datasets: Datasets
) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    protocol = benchmark.protocol(variant)
    given = predictions(dataset.sample_ids, near_truth(benchmark, dataset))
    whole = benchmark.compute(benchmark.statistics(dataset, given, protocol), protocol)
    order = np.random.default_rng(3).permutation(len(dataset.sample_ids))
    for cut in (1, 5, 11):
        parts = [order[:cut], order[cut:]]
        shards = [
            benchmark.statistics(dataset, given.select([given.sample_ids[i] for i in p]), protocol)
            for p in parts
        ]
        assert benchmark.compute(merge(shards), protocol) == whole


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_weights_are_repetitions_and_draws_are_computed_as_one(
    kind: Kind, variant: str, datasets: Datasets
) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    protocol = benchmark.protocol(variant)
    statistics = measured(benchmark, dataset, variant)
    weights = np.random.default_rng(4).integers(0, 4, size=(3, len(statistics)))
    resampled = benchmark.resample(statistics, protocol, weights)
    for row, draw in enumerate(weights):
        values = benchmark.compute(statistics, protocol, draw)
        repeated = statistics.take(np.repeat(np.arange(len(statistics)), draw))
        np.testing.assert_equal(values, benchmark.compute(repeated, protocol))
        np.testing.assert_equal(values, {name: v[row] for name, v in resampled.items()})


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_columns_breakdown_and_curves_agree_with_the_metrics(
    kind: Kind, variant: str, datasets: Datasets
) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    protocol = benchmark.protocol(variant)
    statistics = measured(benchmark, dataset, variant)
    values = benchmark.compute(statistics, protocol)
    assert {column.metric for column in benchmark.columns} <= set(values)
    assert benchmark.primary in {column.metric for column in benchmark.columns}
    joint = benchmark.breakdown(statistics, protocol)["joint"]
    for name, joints in protocol.groups:
        assert values[name] == pytest.approx(np.mean([joint[j] for j in joints]), abs=1e-9)
    curves = {curve.name: curve for curve in benchmark.curves(statistics, protocol)}
    for name, _ in protocol.groups:
        curve = curves[name]
        assert (np.diff(curve.y) >= 0).all()
        at = np.flatnonzero(curve.x == protocol.threshold)
        if protocol.comparison == "<=" and len(at):
            assert curve.y[at[0]] == values[name]


@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_accuracy_per_sample_averages_to_the_pooled_rate(
    kind: Kind, variant: str, datasets: Datasets
) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    protocol = benchmark.protocol(variant)
    statistics = measured(benchmark, dataset, variant)
    scored = [benchmark.skeleton.joints.index(j) for _, group in protocol.groups for j in group]
    errors = statistics.dense("joint")[:, scored]
    own = benchmark.per_sample(statistics, protocol)["accuracy"]
    for row, value in zip(errors, own, strict=True):
        counted = row[~np.isnan(row)]
        hits = [
            e < protocol.threshold if protocol.comparison == "<" else e <= protocol.threshold
            for e in counted
        ]
        np.testing.assert_allclose(value, 100 * np.mean(hits) if len(hits) else np.nan)


@pytest.mark.parametrize("kind", WORLDS, ids=lambda kind: kind.name)
def test_neutral_file_gives_the_same_as_the_predictions(
    kind: Kind, datasets: Datasets, tmp_path: Path
) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    protocol = benchmark.protocol()
    keypoints = near_truth(benchmark, dataset)
    np.savez(tmp_path / "p.npz", predictions=keypoints + protocol.pixel_base)
    read = benchmark.read_predictions(tmp_path / "p.npz", dataset, protocol)
    np.testing.assert_allclose(read.columns["keypoints"], keypoints, atol=1e-12)
    assert read.sample_ids == dataset.sample_ids


@pytest.mark.parametrize("kind", WORLDS, ids=lambda kind: kind.name)
def test_samples_name_images_and_boxes_around_the_person(kind: Kind, datasets: Datasets) -> None:
    benchmark, dataset = kind(), datasets[kind.name]
    if kind.name == "lsp":  # the .json annotation does not name the images
        with pytest.raises(PrerequisiteError, match="does not name the images"):
            benchmark.samples(dataset, benchmark.protocol())
        return
    samples = benchmark.samples(dataset, benchmark.protocol())
    assert tuple(sample.id for sample in samples) == dataset.sample_ids
    for sample in samples:
        assert len(sample.images) == 1
        assert Path(sample.images[0]).is_relative_to(dataset.root)
        assert sample.boxes.shape == (1, 4)
        assert (sample.boxes[:, 2:] > 0).all()
    with pytest.raises(PrerequisiteError, match="takes no detections"):
        benchmark.samples(dataset, benchmark.protocol(), Path("boxes.json"))


def person(score: float, at: float) -> dict[str, np.ndarray]:
    return {
        "keypoints": np.full((1, 7, 2), at),
        "keypoint_scores": np.ones((1, 7)),
        "score": np.array([score]),
    }


def test_of_several_people_the_best_scored_counts_and_none_is_a_miss(datasets: Datasets) -> None:
    benchmark, dataset = Chalearn(), datasets["chalearn"]
    protocol = benchmark.protocol()
    first, second, third = dataset.sample_ids[:3]
    truth = dataset.truth.people["test.txt"].keypoints
    both = {k: np.concatenate([person(0.2, 1e4)[k], person(0.9, 30)[k], person(0.9, 60)[k]])
            for k in person(0, 0)}  # fmt: skip
    nobody = {k: v[:0] for k, v in person(0, 0).items()}
    given = Predictions.from_samples(
        PEOPLE_2D, [(first, both), (second, nobody), (third, person(1, 30))]
    )
    errors = benchmark.statistics(dataset, given, protocol).dense("joint")
    np.testing.assert_allclose(errors[0], np.linalg.norm(truth[0] - 30, axis=1))
    assert np.isinf(errors[1]).all()
    np.testing.assert_allclose(errors[2], np.linalg.norm(truth[2] - 30, axis=1))


def test_predictions_of_another_skeleton_are_refused(datasets: Datasets) -> None:
    dataset = datasets["mpii"]
    given = predictions(dataset.sample_ids, np.zeros((len(dataset.sample_ids), 17, 2)))
    with pytest.raises(ValueError, match="17 joints, 16 are due"):
        Mpii().statistics(dataset, given, Mpii().protocol())


WRONG = [
    (lambda a: a.transpose(1, 2, 0), "looks transposed"),
    (lambda a: a.transpose(0, 2, 1), "looks transposed"),
    (lambda a: a[:-1], "11 people where 12 are due"),
    (lambda a: a[:, :-2], "14 joints where 16 are due"),
    (lambda a: np.concatenate([a, a[..., :1]], axis=2), "3 coordinates where 2 are due"),
    (lambda a: a.reshape(len(a), -1), "2 axes where 3 are due"),
    (lambda a: np.where(np.arange(12)[:, None, None] == 3, np.inf, a), "person 3, right_ankle"),
    (lambda a: np.where(np.arange(2) == 1, np.nan, a), "person 0, right_ankle"),
    (lambda a: a / 200, "divided by the image size"),
    (lambda a: a.astype(str), "holds no numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_arrays_are_named(
    spoil: Callable[[Array], Array], message: str, datasets: Datasets, tmp_path: Path
) -> None:
    benchmark, dataset = Mpii(), datasets["mpii"]
    right = np.nan_to_num(dataset.truth.people["annot/valid.h5"].keypoints, nan=50.0)
    path = tmp_path / "mine.npz"
    np.savez(path, predictions=spoil(right))
    with pytest.raises(PrerequisiteError, match=message) as error:
        benchmark.read_predictions(path, dataset, benchmark.protocol())
    assert str(path) in error.value.problem
    assert error.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.npz", None, "does not exist"),
        ("p.npz", b"no zip", "cannot be read"),
        ("p.mat", b"no mat", "cannot be read"),
        ("p.h5", b"no hdf5", "cannot be read"),
        ("p.json", b"[[1, 2], [3]]", "do not make one array"),
        ("p.json", b'[["x"]]', "do not make one array"),
        ("p.json", b"[[", "no valid JSON"),
        ("p.txt", b"", "no result format '.txt'"),
    ],
)
def test_wrong_files_are_named(
    name: str, content: bytes | None, message: str, datasets: Datasets, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PrerequisiteError, match=message) as error:
        Mpii().read_predictions(path, datasets["mpii"], Mpii().protocol())
    assert str(path) in error.value.problem


def test_an_npz_without_predictions_lists_what_it_has(datasets: Datasets, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", preds=np.zeros(3))
    with pytest.raises(PrerequisiteError, match="no array 'predictions', only: preds"):
        Mpii().read_predictions(tmp_path / "p.npz", datasets["mpii"], Mpii().protocol())


@pytest.mark.parametrize("kind", WORLDS, ids=lambda kind: kind.name)
def test_an_empty_root_has_no_split_and_shows_the_layout(kind: Kind, tmp_path: Path) -> None:
    benchmark = kind()
    assert benchmark.splits(tmp_path) == ()
    with pytest.raises(PrerequisiteError) as error:
        benchmark.load(tmp_path, benchmark.default_split)
    assert benchmark.layout(benchmark.default_split) in error.value.remedy


@pytest.mark.parametrize("kind", WORLDS, ids=lambda kind: kind.name)
def test_every_quirk_says_what_it_means_and_digests_differ(kind: Kind) -> None:
    protocols = list(kind.protocols.values())
    assert [p.variant for p in protocols] == list(kind.protocols)
    for protocol in protocols:
        assert protocol.benchmark == kind.name
        assert all(protocol.meanings().values())
    assert len({p.digest for p in protocols}) == len(protocols)
