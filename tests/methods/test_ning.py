"""GNet: the measured counts, its fixed enlargement, and 3D-NMS on heatmaps with known blobs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.loading import load_method
from harness.profiling import profile
from methods.parts.cross_heatmap import cross_heatmap_nms
from methods.parts.gaussian import gaussian_maps
from methods.single_person.ning import Fractal


def test_gnet_is_the_measured_one():
    with torch.device("meta"):
        method = load_method("ning:gnet-256x256")
    found = profile(method, latency=False)
    assert found.parameters == found.registered_parameters == 40_151_070
    assert round(found.macs / 1e9, 3) == 50.565
    norms = [m for m in method.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(p.numel() for m in norms for p in m.parameters()) == 98_048
    assert sum(isinstance(m, nn.Conv2d) for m in method.network.modules()) == 299
    assert sum(isinstance(m, Fractal) for m in method.network.modules()) == 8
    maps = method.network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert [tuple(m.shape) for m in maps] == [(1, 15, 64, 64)] * 2


def test_fixed_enlargement_is_bilinear_inside():
    hourglass = Fractal(2, 2, 1)
    x = torch.rand(1, 2, 5, 6)
    found = functional.conv_transpose2d(x, hourglass.bilinear, stride=2, padding=1, groups=2)
    expected = functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def bumps(*peaks):
    """A heatmap (64, 64) with Gaussians of the given x, y, height; x and y in crop pixels."""
    total = np.zeros((64, 64))
    for x, y, height in peaks:
        center = (torch.tensor([[[float(x), float(y)]]]) + 0.5) / 4 - 0.5
        total += height * gaussian_maps(center, (64, 64), 1.5)[0, 0].numpy()
    return total


def test_one_place_is_given_to_its_most_confident_joint():
    shared, other = (80, 100), (180, 60)
    maps = np.array([bumps((*shared, 0.9)), bumps((*shared, 0.7), (*other, 0.5))])
    points, scores = cross_heatmap_nms(maps, (256, 256))
    assert points[0] == pytest.approx(shared, abs=2)
    assert points[1] == pytest.approx(other, abs=2), "the highest peak was taken by joint 0"
    for heatmap, (x, y), score in zip(maps, points.astype(int), scores, strict=True):
        assert score == pytest.approx(cv2.resize(heatmap, (256, 256))[y, x], abs=0.01)


def test_order_of_the_joints_does_not_decide():
    shared, other = (80, 100), (180, 60)
    points, _ = cross_heatmap_nms(
        np.array([bumps((*shared, 0.7), (*other, 0.5)), bumps((*shared, 0.9))]), (256, 256)
    )
    assert points[0] == pytest.approx(other, abs=2)
    assert points[1] == pytest.approx(shared, abs=2)


def test_a_joint_that_loses_its_only_blob_keeps_it():
    place = (80, 100)
    points, _ = cross_heatmap_nms(
        np.array([bumps((*place, 0.9)), bumps((*place, 0.6))]), (256, 256)
    )
    assert points[0] == pytest.approx(place, abs=2)
    assert points[1] == pytest.approx(place, abs=2)


def test_joints_apart_keep_their_highest_peaks():
    random = np.random.default_rng(0)
    places = [(40 + 60 * (i % 4), 40 + 60 * (i // 4)) for i in range(12)]
    maps = [bumps((*place, random.uniform(0.4, 1))) for place in places]
    points, _ = cross_heatmap_nms(np.array(maps), (256, 256))
    assert points == pytest.approx(np.array(places), abs=2)


def test_a_flat_map_gives_its_darkest_pixel():
    spike = np.zeros((64, 64))
    points, scores = cross_heatmap_nms(np.array([spike]), (256, 256))
    assert points.tolist() == [[0, 0]]
    assert scores.tolist() == [0]


def test_background_counts_a_twentieth_and_only_with_all_joints_labelled():
    method = load_method("ning:nano")

    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, images):
            return (torch.zeros(1, 18, 24, 24),) * 2

    method.network = Silent()
    rows = {"crops": torch.zeros(1, 96, 96, 3, dtype=torch.uint8)}
    rows["joints"] = torch.full((1, 17, 2), 48.0)
    rows["weights"] = torch.ones(1, 17)
    maps = gaussian_maps((rows["joints"] + 0.5) / 4 - 0.5, (24, 24), 1.14)[0]
    joints, background = maps.square().sum().item(), (1 - maps[0]).square().sum().item()
    assert method.loss(rows).item() == pytest.approx(joints + 0.05 * background, rel=1e-5)
    rows["weights"][0, 0] = 0
    assert method.loss(rows).item() == pytest.approx(joints * 16 / 17, rel=1e-5)
