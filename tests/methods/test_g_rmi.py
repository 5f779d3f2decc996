"""G-RMI: disks, votes and losses against plain loops; the network against arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.api import Prepared, Sample
from harness.loading import load_method
from methods.parts.crop import regions_of_boxes
from methods.top_down.g_rmi import votes


@pytest.fixture(scope="module")
def method():
    return load_method("g-rmi:nano")


def test_votes_equal_plain_loops():
    random = np.random.default_rng(0)
    disks, offsets = random.random((1, 2, 6, 7)), random.normal(0, 3, (1, 2, 2, 6, 7))
    expected = np.zeros((2, 6, 7))
    for k, y, x in np.ndindex(2, 6, 7):
        to_x, to_y = x + offsets[0, k, 0, y, x], y + offsets[0, k, 1, y, x]
        for row, column in np.ndindex(6, 7):
            share = max(0, 1 - abs(to_x - column)) * max(0, 1 - abs(to_y - row))
            expected[k, row, column] += share * disks[0, k, y, x] / (math.pi * 2.5**2)
    found = votes(torch.from_numpy(disks), torch.from_numpy(offsets), 2.5)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_an_ideal_answer_votes_for_its_joints(method):
    joints = torch.rand((3, 17, 2), generator=torch.Generator().manual_seed(0)) * 40 + 12
    found = method.peaks(method.encode(joints))
    assert (found["points"] - joints).abs().max() <= 0.5 + 1e-4
    # All pixels of a disk vote for one point, at least a quarter of them for its nearest pixel.
    assert found["scores"].min() > 0.2
    assert found["scores"].max() < 1.1


def test_disks_are_what_lies_within_the_radius(method):
    joints = torch.full((1, 17, 2), 30.0)
    disks, offsets = method.disks(joints)
    y, x = np.mgrid[: method.grid[1], : method.grid[0]]
    expected = (x - 30) ** 2 + (y - 30) ** 2 <= 49
    np.testing.assert_array_equal(disks[0, 3], expected)
    assert offsets[0, 3, :, 28, 33].tolist() == [-3, 2]


def test_joints_without_label_are_not_learnt(method):
    rows = {
        "crops": torch.randint(0, 256, (2, 97, 65, 3), dtype=torch.uint8),
        "joints": torch.rand(2, 17, 2) * 60,
        "weights": torch.zeros(2, 17),
    }
    assert method.loss(rows).item() == 0
    rows["weights"][0, 0] = 1
    assert method.loss(rows).item() > 0


def test_the_papers_network_is_a_dilated_resnet_101():
    with torch.device("meta"):
        network = load_method("g-rmi:r101-353x257").network
        features = network.body(torch.zeros(1, 3, 353, 257))
        answers = network(torch.zeros(1, 3, 353, 257))
    assert features.shape == (1, 2048, 45, 33)  # stride 8
    assert answers.shape == (1, 51, 353, 257)
    assert sum(p.numel() for p in network.parameters()) == 42_500_160 + 2048 * 51 + 51


def test_doubled_people_are_told_by_their_joints(method):
    boxes = np.array([[10.0, 10, 60, 120], [11, 11, 60, 120], [200, 10, 60, 120]])
    regions = regions_of_boxes(boxes, 65 / 97, 1.25)
    points = np.random.default_rng(0).uniform(10, 55, (1, 17, 2)).repeat(3, 0)
    scores = np.array([[0.5], [0.6], [0.4]]).repeat(17, 1)
    sample = Sample("1", ("",), boxes, np.array([0.1, 0.2, 0.9]))
    rows = method.decode({"points": points, "scores": scores}, Prepared({}, regions), sample)
    assert rows["score"].tolist() == pytest.approx([0.6, 0.4])  # the boxes' scores do not count
