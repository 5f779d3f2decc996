"""The single-person methods end to end: crops in, poses out, and the papers' losses."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch

from benchmarks.published import published_tables
from harness.api import PEOPLE_2D, Predictions, Sample
from harness.loading import load_method
from harness.profiling import profile
from harness.registry import method_card
from methods.parts.hourglass import Residual

METHODS = (
    *("deeppose", "deeppose-resnet", "coordinate-net", "pfister", "ief", "tompson", "ning"),
    *("part-heatmap-regression", "dlcm"),
)
NANO = [f"{name}:nano" for name in METHODS]
BOXES = np.array([[30.0, 20, 80, 150], [100, 60, 120, 90], [-20, 100, 60, 200]])


@pytest.fixture
def noise(tmp_path):
    path = tmp_path / "noise.png"
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert cv2.imwrite(str(path), image)
    return str(path)


def run(method, sample):
    prepared = method.prepare(sample)
    with torch.inference_mode():
        outputs = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
    return method.decode({k: v.numpy() for k, v in outputs.items()}, prepared, sample)


@pytest.mark.parametrize("spec", NANO)
def test_every_box_gets_one_pose_in_its_order(spec, noise):
    method = load_method(spec)
    rows = run(method, Sample("1", (noise,), BOXES, np.array([0.5, 1.0, 0.25])))
    people = Predictions.from_samples(PEOPLE_2D, [("1", rows)])
    assert people.columns["keypoints"].shape == (3, len(method.skeleton), 2)
    scores = rows["keypoint_scores"].mean(axis=1) * (0.5, 1.0, 0.25)
    assert rows["score"] == pytest.approx(scores)
    alone = run(method, Sample("1", (noise,), BOXES[1:2], np.ones(1)))
    assert alone["keypoints"][0] == pytest.approx(rows["keypoints"][1], abs=0.05)


@pytest.mark.parametrize("spec", NANO)
def test_a_sample_without_boxes_has_no_people(spec, noise):
    method = load_method(spec)
    rows = run(method, Sample("1", (noise,), np.empty((0, 4)), np.empty(0)))
    assert rows["keypoints"].shape == (0, len(method.skeleton), 2)
    assert rows["score"].shape == (0,)


@pytest.mark.parametrize("spec", NANO)
def test_centre_and_scale_will_do(spec, noise):
    inputs = {"center": np.array([[60.0, 80], [200, 120]]), "scale": np.array([1.0, 0.5])}
    method = load_method(spec)
    rows = run(method, Sample("1", (noise,), inputs=inputs))
    assert rows["keypoints"].shape == (2, len(method.skeleton), 2)


def training_batch(method, noise):
    random = np.random.default_rng(0)
    joints = len(method.skeleton)
    people = {
        "keypoints": random.uniform(30, 150, (3, joints, 2)),
        "visible": random.random((3, joints)) > 0.3,
    }
    rows = method.training_rows(Sample("1", (noise,), BOXES, np.ones(3)), people, random)
    return {name: torch.from_numpy(array) for name, array in rows.items()}


@pytest.mark.parametrize("spec", NANO)
def test_loss_decreases_on_one_batch(spec, noise):
    method = load_method(spec)
    rows = training_batch(method, noise)
    method.network.train()
    optimizer = torch.optim.Adam(
        method.network.parameters(), lr=method.variant.recipe.learning_rate
    )
    losses = []
    for _ in range(15):
        loss = method.loss(rows)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.shape == ()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("spec", NANO)
def test_joints_without_label_teach_nothing(spec, noise):
    method = load_method(spec)
    rows = training_batch(method, noise)
    before = method.loss(rows)
    rows["joints"] = torch.where(rows["weights"][..., None] > 0, rows["joints"], 77.0)
    torch.testing.assert_close(method.loss(rows), before)


@pytest.mark.parametrize("spec", NANO)
def test_nano_is_small_and_every_weight_counts(spec):
    method = load_method(spec)
    found = profile(method, latency=False)
    # The hourglass's official residual block registers shortcuts that it does not use.
    dead = sum(
        p.numel()
        for block in method.network.modules()
        if isinstance(block, Residual) and not block.projects
        for p in block.skip_layer.parameters()
    )
    assert found.parameters + dead == found.registered_parameters < 500_000  # 2 MB of float32
    assert found.macs < 400e6


@pytest.mark.parametrize("spec", NANO)
def test_last_stage_is_the_answer(spec, noise):
    method = load_method(spec)
    rows = method.prepare(Sample("1", (noise,), BOXES, np.ones(3))).rows
    with torch.inference_mode():
        outputs = method.forward({k: torch.from_numpy(v) for k, v in rows.items()})
    if "stages" in outputs:
        assert outputs["stages"].shape[0] == 3
        assert outputs["stages"].shape[2:] == (len(method.skeleton), 2)
        assert torch.equal(outputs["stages"][:, -1], outputs["points"])


@pytest.mark.parametrize("name", METHODS)
def test_card_is_true(name):
    card = method_card(name)
    assert card.family == "single-person"
    assert card.skeleton_of("nano") == "coco-mpii-21"
    for variant, entry in card.variants.items():
        height, width = entry.input_size
        assert variant == "nano" or variant.endswith(f"{height}x{width}")
        if entry.weights.url:
            named = re.search(r"-([0-9a-f]{8})_\d{8}\.pth$", entry.weights.url)
            assert named[1] == entry.weights.sha256
        if entry.published:
            table = published_tables()[entry.published["table"]]
            rows = [row for row in table.rows if row.method == entry.published["method"]]
            assert [row.systems for row in rows] == [(card.system,)]


@pytest.mark.parametrize(
    ("spec", "skeleton"),
    [
        ("deeppose:alexnet-220x220", "lsp-14"),
        ("pfister:fusion-256x256", "upper-body-7"),
        ("coordinate-net:single-frame-248x248", "upper-body-7"),
        ("ief:googlenet-224x224", "mpii-16"),
        ("tompson:refined-256x256", "mpii-16"),
        ("ning:gnet-256x256", "cpm-14"),
        ("part-heatmap-regression:r152-256x256", "mpii-16"),
        ("dlcm:3level-256x256", "mpii-16"),
    ],
)
def test_papers_networks_predict_the_papers_joints(spec, skeleton):
    with torch.device("meta"):
        method = load_method(spec)
    assert method.skeleton.name == method.card.skeleton == skeleton
