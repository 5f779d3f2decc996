"""Every registered method keeps what ``harness test`` checks, and the checks can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from harness import conformance as checks
from harness.api import PrerequisiteError
from harness.cli import app
from harness.conformance import CHECKS, Case, NotApplicable, conformance, default_variant
from harness.registry import METHODS, entries, method_card

METHOD_NAMES = [
    name
    for name, entry in entries(METHODS).items()
    if entry.module.startswith("methods.") and method_card(name).task in ("people-2d", "dense-pose")
]


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_nano_variant_keeps_every_promise(name):
    failed = [check for check in conformance(default_variant(name)) if check.state == "fail"]
    assert not failed


@pytest.fixture
def case(tmp_path):
    return Case("mspn:nano", tmp_path)


def broken(case, name):
    """Run one check and expect it to fail."""
    with pytest.raises(AssertionError) as failure:
        CHECKS[name](case)
    return str(failure.value)


def test_an_answer_that_depends_on_the_batch_is_found(case):
    forward = case.method.forward

    def wrong(inputs):
        outputs = forward(inputs)
        return {**outputs, "scores": outputs["scores"] - outputs["scores"].mean()}

    case.method.forward = wrong
    assert "one row alone" in broken(case, "batch of one equals batch of many")


def test_an_answer_of_chance_is_found(case):
    forward = case.method.forward
    case.method.forward = lambda inputs: {**forward(inputs), "scores": torch.rand(3, 17)}
    assert "another answer" in broken(case, "deterministic")


def test_a_decoding_off_by_a_pixel_is_found(case):
    peaks = case.method.peaks

    def wrong(maps):
        found = peaks(maps)
        return {**found, "points": found["points"] + 1}

    case.method.peaks = wrong
    assert "crop pixels" in broken(case, "codec round trip")


@pytest.mark.parametrize("wrong", ["no swap", "shift of two"])
def test_a_wrong_flip_test_is_found(case, wrong):
    method, network = case.method, case.method.network
    order = torch.as_tensor(method.skeleton.flip_order)

    def forward(inputs):
        images = method.images(inputs["crops"])
        mirrored = network(images.flip(-1))[-1].flip(-1)
        if wrong == "shift of two":
            mirrored = mirrored[:, order].roll(4, dims=-1)
        return method.peaks(network(images)[-1] + mirrored)

    method.forward = forward
    broken(case, "flip equivariance")


def test_a_wrong_shape_is_found(case):
    decode = case.method.decode

    def wrong(outputs, prepared, sample):
        rows = decode(outputs, prepared, sample)
        return {**rows, "keypoints": rows["keypoints"][:, :16]}

    case.method.decode = wrong
    with pytest.raises((AssertionError, ValueError)):
        CHECKS["shapes agree"](case)


def test_lost_weights_are_found(case):
    forward = case.method.forward
    case.method.forward = lambda inputs: {
        name: value + 1 for name, value in forward(inputs).items()
    }
    assert "another answer" in broken(case, "state_dict round trip")


def test_too_much_memory_is_found(case):
    variant = case.method.variant
    case.method.variant = variant.model_copy(update={"batch_size": 5000})
    assert "GiB" in broken(case, "memory bounded")


def test_a_loss_that_does_not_fall_is_found(tmp_path, monkeypatch):
    case = Case("mean-pose:nano", tmp_path)
    monkeypatch.setattr(
        type(case.method), "loss", lambda self, rows: 0 * self.network.positions.sum()
    )
    assert "from 0 to 0" in broken(case, "loss decreases on one batch")


def test_a_check_may_not_apply(tmp_path):
    with pytest.raises(NotApplicable):
        CHECKS["codec round trip"](Case("mean-pose:nano", tmp_path))


def test_difference_counts_in_relative_units():
    one, two = {"a": torch.tensor([99.0])}, {"a": torch.tensor([100.0])}
    assert checks.difference(one, two) == pytest.approx(1 / 101)
    with pytest.raises(AssertionError, match="shapes"):
        checks.difference(one, {"a": torch.zeros(2)})
    with pytest.raises(AssertionError, match="names"):
        checks.difference(one, {"b": torch.zeros(1)})


def test_command_prints_json_and_fails_with_one(monkeypatch):
    result = CliRunner().invoke(app, ["test", "mean-pose:nano", "--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["method"] == "mean-pose:nano"
    assert {check["check"] for check in document["checks"]} == set(CHECKS)

    def fails(case):
        raise RuntimeError("no such luck")

    monkeypatch.setitem(checks.CHECKS, "deterministic", fails)
    result = CliRunner().invoke(app, ["test", "mean-pose"])
    assert result.exit_code == 1
    assert "no such luck" in result.stdout


def test_bare_name_means_nano():
    assert default_variant("cpn") == "cpn:nano"
    assert default_variant("cpn:r50-256x192") == "cpn:r50-256x192"
    with pytest.raises(PrerequisiteError, match="Unknown method"):
        default_variant("cpm2000")


def test_training_rows_lie_in_the_boxes(case):
    rows = checks.training_rows(case, case.method)
    assert np.isfinite(rows["joints"]).all()
    assert len(rows["crops"]) == 3
