"""Part heatmap regression: documented counts, the wiring, discs and both losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from harness.loading import load_method
from harness.profiling import profile
from methods.single_person.part_heatmap_regression import PartDetector, PartRegression


def test_counts_are_the_documented_ones():
    with torch.device("meta"):
        method = load_method("part-heatmap-regression:r152-256x256")
    found = profile(method, latency=False)
    detector = 58_143_808 + (256 + 512 + 1024 + 2048) * 16 + 4 * 16  # ResNet-152 and four scores
    assert sum(p.numel() for p in method.network.detector.parameters()) == detector
    assert found.parameters == detector + 3_312_912
    assert found.registered_parameters - found.parameters == 14 * (256 + 1) * 256
    assert found.macs == 18_942_263_296
    maps = method.network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert [tuple(m.shape) for m in maps] == [(1, 16, 64, 64)] * 2


def test_parts_are_the_sum_of_four_layers_scores():
    torch.manual_seed(0)
    detector = PartDetector(5, blocks=(1, 1, 1, 1), planes=(4, 4, 8, 8)).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        full = detector(images)
        assert full.shape == (1, 5, 16, 24)
        parts = []
        for i in range(4):
            alone = [score.weight.clone() for score in detector.scores]
            for j, score in enumerate(detector.scores):
                if j != i:
                    score.weight.zero_()
                    score.bias.zero_()
            parts.append(detector(images))
            for score, weight in zip(detector.scores, alone, strict=True):
                score.weight.copy_(weight)
            detector.scores[i].bias.zero_()
    assert all(part.std() > 0 for part in parts)


def test_regressor_sees_the_image_and_the_parts():
    torch.manual_seed(0)
    network = PartRegression(5, width=8, depth=2, blocks=(1, 1, 1, 1), planes=(4, 4, 8, 8)).eval()
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    parts, heatmaps = network(images)
    assert 0 < parts.min() < parts.max() < 1
    (gradient,) = torch.autograd.grad(heatmaps.sum(), parts, retain_graph=True)
    assert gradient.abs().sum() > 0
    first = network.regressor[0].conv.weight
    (gradient,) = torch.autograd.grad(heatmaps.sum(), first)
    assert (gradient.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_loss_is_cross_entropy_on_discs_of_ten_pixels_plus_euclid():
    method = load_method("part-heatmap-regression:nano")

    class Undecided(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, images):
            return torch.full((1, 17, 24, 24), 0.2), torch.zeros(1, 17, 24, 24)

    method.network = Undecided()
    weights = torch.zeros(1, 17)
    weights[0, 3] = 1
    joints = torch.full((1, 17, 2), 44.0)
    joints[0, 3] = torch.tensor([44.0, 37.0])
    crops = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    y, x = np.mgrid[:24, :24]
    # Middles of heatmap pixels in pixels of the input, whose edge is at 0.
    squared = (4 * (x + 0.5) - 44) ** 2 + (4 * (y + 0.5) - 37) ** 2
    inside = squared <= 10**2
    entropy = -np.where(inside, np.log(0.2), np.log(0.8)).sum()
    gaussian = np.exp(-squared / (2 * 5**2))
    expected = entropy + 0.5 * (gaussian**2).sum()
    loss = method.loss({"crops": crops, "joints": joints, "weights": weights})
    assert 15 < inside.sum() < 25
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_peaks_are_middles_of_pixels_and_negative_maps_have_none():
    method = load_method("part-heatmap-regression:nano")
    maps = torch.full((1, 2, 8, 8), -1.0)
    maps[0, 0, 5, 3] = 0.5
    maps[0, 0, 5, 4] = 0.4
    found = method.peaks(maps)
    assert found["points"][0].tolist() == [[3.5, 5.5], [0.5, 0.5]]
    assert found["scores"][0].tolist() == [0.5, 0]
