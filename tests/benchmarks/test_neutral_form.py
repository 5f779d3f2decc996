"""The one neutral form, ``.npz`` with ``predictions`` (N, K, D), and what is refused of it.

Every benchmark of one person per sample takes it in the protocol's joint order, units and split
order; the array that is given here is its own ground truth, so that it must score perfectly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from single_person_files import WORLDS

from benchmarks.protocols.depth_hand import HandBenchmark
from benchmarks.protocols.h36m import H36M
from benchmarks.protocols.h36m_mesh import H36MMesh
from benchmarks.protocols.hands import IcvlHand, MsraHand, NyuHand
from benchmarks.protocols.itop import Itop
from benchmarks.protocols.single_person import SinglePerson
from harness.api import Benchmark, Dataset, PrerequisiteError

Array = NDArray[np.float64]
FRAMES = 12


class World(NamedTuple):
    """A made-up data set and its ground truth in the neutral form."""

    benchmark: Benchmark
    dataset: Dataset
    truth: Array


def single_person(kind: type[SinglePerson]) -> Callable[[Path], World]:
    def make(root: Path) -> World:
        WORLDS[kind](root)
        benchmark = kind()
        dataset, protocol = benchmark.load(root, kind.default_split), benchmark.protocol()
        known = benchmark.people(dataset, protocol).keypoints
        return World(benchmark, dataset, np.nan_to_num(known, nan=50.0) + protocol.pixel_base)

    return make


def h36m(root: Path) -> World:
    poses = np.random.default_rng(0).normal((0, 0, 5000), 300, size=(FRAMES, 17, 3)).round(3)
    video = {"action": "Walking", "subaction": 1, "camera": "54138969", "frames": list(range(6))}
    sequences = [
        {**video, "subject": subject, "gt": part.tolist()}
        for subject, part in (("S9", poses[:6]), ("S11", poses[6:]))
    ]
    (root / "poses.json").write_text(json.dumps({"unit": "mm", "sequences": sequences}))
    dataset = H36M().load(root, "test")
    return World(H36M(), dataset, dataset.truth.joints)


def mesh(root: Path) -> World:
    random = np.random.default_rng(1)
    vertices, regressor = random.normal(size=(FRAMES, 30, 3)), random.random((17, 30)) / 15
    content = {"unit": "metre", "gt_vertices": vertices, "J_regressor_h36m": regressor}
    (root / "mesh.json").write_text(json.dumps(content, default=lambda array: array.tolist()))
    return World(H36MMesh(), H36MMesh().load(root, "test"), 1000 * vertices)


def hand(kind: type[HandBenchmark]) -> Callable[[Path], World]:
    def make(root: Path) -> World:
        benchmark, short = kind(), kind.name.removesuffix("-hand")
        shape = (FRAMES, len(benchmark.skeleton), 3)
        uvd = np.random.default_rng(2).normal((160, 120, 500), 20, size=shape).round(3)
        label = root / "groundtruth" / short / f"{short}_test_groundtruth_label.txt"
        label.parent.mkdir(parents=True)
        np.savetxt(label, uvd.reshape(FRAMES, -1), fmt="%.3f")
        if short == "msra":
            frames = {"frames": [FRAMES - 8, *[1] * 8]}
            (root / "subjects.json").write_text(json.dumps(frames))
        return World(benchmark, benchmark.load(root, "test"), uvd)

    return make


def itop(root: Path) -> World:
    metres = np.random.default_rng(3).normal((0, 0, 3), 0.3, size=(FRAMES, 15, 3)).round(4)
    labels = {"is_valid": [1] * FRAMES, "real_world_coordinates": metres.tolist()}
    (root / "labels.json").write_text(json.dumps(labels))
    return World(Itop(), Itop().load(root, "side-test"), metres)


MAKERS: dict[str, Callable[[Path], World]] = {
    **{kind.name: single_person(kind) for kind in WORLDS},
    **{kind.name: hand(kind) for kind in (NyuHand, IcvlHand, MsraHand)},
    "h36m": h36m,
    "h36m-mesh": mesh,
    "itop": itop,
}
SPOILERS: dict[str, tuple[Callable[[Array], Array], str]] = {
    "axes": (lambda a: a.transpose(0, 2, 1), "looks transposed"),
    "all axes": (lambda a: a.transpose(2, 1, 0), "looks transposed"),
    "count": (lambda a: a[:-1], rf"\b{FRAMES - 1}\b(?!.*(transposed|swapped)).*\b{FRAMES}\b"),
    "joints": (lambda a: a[:, :-3], r"due is(?!.*(transposed|swapped))"),
    "axes and count": (lambda a: a[:-1].transpose(0, 2, 1), "due is"),
    "flat": (lambda a: a.reshape(len(a), -1), "2 axes where 3 are due"),
    "infinite": (lambda a: np.where(np.arange(len(a))[:, None, None] == 4, np.inf, a), "inf"),
}
METRES = "they look like metres"
PIXELS = "they look divided by the image size"
UNITS: dict[str, tuple[Callable[[Array], Array], str]] = {
    **{kind.name: (lambda a: a / 200, PIXELS) for kind in WORLDS},
    **{kind.name: (lambda a: a * [1, 1, 1e-3], METRES) for kind in (NyuHand, IcvlHand, MsraHand)},
    "h36m": (lambda a: a / 1000, METRES),
    "h36m-mesh": (lambda a: a / 1000, METRES),
    "itop": (lambda a: a * 1000, "they look like millimetres"),
}


@pytest.fixture(scope="module", params=MAKERS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def refusal(world: World, predictions: Array, path: Path) -> str:
    """Return the message with which predictions are refused."""
    np.savez(path, predictions=predictions)
    with pytest.raises(PrerequisiteError) as error:
        world.benchmark.read_predictions(path, world.dataset, world.benchmark.protocol())
    assert str(path) in error.value.problem
    assert error.value.remedy
    return error.value.problem


def test_the_truth_in_the_neutral_form_is_perfect(world: World, tmp_path: Path) -> None:
    np.savez(tmp_path / "truth.npz", predictions=world.truth)
    benchmark, protocol = world.benchmark, world.benchmark.protocol()
    read = benchmark.read_predictions(tmp_path / "truth.npz", world.dataset, protocol)
    assert read.sample_ids == world.dataset.sample_ids
    metrics = benchmark.compute(benchmark.statistics(world.dataset, read, protocol), protocol)
    (primary,) = (c for c in benchmark.columns if c.metric == benchmark.primary)
    best = 100.0 if primary.higher_is_better else 0.0
    assert metrics[benchmark.primary] == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("what", SPOILERS)
def test_wrong_shapes_and_values_are_refused(world: World, what: str, tmp_path: Path) -> None:
    spoil, message = SPOILERS[what]
    assert re.search(message, refusal(world, spoil(world.truth), tmp_path / "wrong.npz"))


def test_another_unit_is_refused_and_named(world: World, tmp_path: Path) -> None:
    spoil, message = UNITS[world.benchmark.name]
    assert message in refusal(world, spoil(world.truth), tmp_path / "unit.npz")
