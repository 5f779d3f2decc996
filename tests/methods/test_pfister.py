"""HeatmapNet with fusion and CoordinateNet: counts, wiring, targets that decode to the joint."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from harness.loading import load_method
from harness.profiling import profile
from methods.parts.gaussian import euclidean_loss, gaussian_maps
from methods.single_person.pfister import FusionNet


def meta(spec):
    with torch.device("meta"):
        return load_method(spec)


def test_fusion_net_is_the_measured_one():
    method = meta("pfister:fusion-256x256")
    found = profile(method, latency=False)
    assert found.parameters == found.registered_parameters == 17_615_886
    assert round(found.macs / 1e9, 3) == 77.769
    assert round(found.paper_gflops, 2) == 72.43
    maps = method.network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert [tuple(output.shape) for output in maps] == [(1, 7, 64, 64)] * 2


def test_coordinate_net_has_the_documented_count():
    method = meta("coordinate-net:single-frame-248x248")
    convolutions = 96 * (3 * 49 + 1) + 256 * (96 * 25 + 1) + 512 * (256 * 9 + 1)
    convolutions += 2 * 512 * (512 * 9 + 1)
    linear = (512 * 36 + 1) * 4096 + 4097 * 4096 + 4097 * 14
    found = profile(method, latency=False)
    assert found.parameters == found.registered_parameters == convolutions + linear


def test_only_the_heatmaps_of_the_first_loss_are_rectified():
    network = FusionNet(5, (4,) * 7, (4,) * 4, std=None)
    with torch.no_grad():
        for layer in (network.heatmap[0], network.fused):
            layer.bias.fill_(-1e3)
        first, fused = network(torch.rand(1, 3, 16, 16))
    assert not first.any()
    assert (fused < 0).all()


def test_initial_weights_are_the_official_ones():
    torch.manual_seed(0)
    network = FusionNet(17, (16,) * 7, (16,) * 4)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert (layer.bias == 1).all()
            if layer.weight.numel() > 2000:
                assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_a_perfect_heatmap_decodes_to_within_a_pixel():
    method = load_method("pfister:nano")
    random = np.random.default_rng(0)
    joints = torch.tensor(random.uniform(10, 86, (4, 17, 2)), dtype=torch.float32)
    maps = gaussian_maps((joints + 0.5) / 4 - 0.5, (24, 24), 1.5)
    torch.testing.assert_close(method.encode(joints) * 1.5 * math.sqrt(2 * math.pi), maps)
    points = method.peaks(maps)["points"]
    # Bicubic enlargement puts the peak between pixels, whole pixels of the crop are read.
    assert (points - joints).abs().max() <= 1.0
    assert (points - joints).abs().mean() < 0.4
    assert (points - joints).mean().abs() < 0.1


def test_loss_is_that_of_caffe_with_a_peak_of_0_266():
    method = load_method("pfister:nano")
    joints = torch.full((2, 17, 2), 4 * (10 + 0.5) - 0.5)
    weights = torch.zeros(2, 17)
    weights[0, 3] = 1

    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, images):
            return (torch.zeros(2, 17, 24, 24), torch.zeros(2, 17, 24, 24))

    method.network = Silent()
    rows = {"crops": torch.zeros(2, 96, 96, 3, dtype=torch.uint8), "joints": joints}
    y, x = np.mgrid[:24, :24]
    bump = np.exp(-((x - 10) ** 2 + (y - 10) ** 2) / (2 * 1.5**2)) / (1.5 * math.sqrt(2 * math.pi))
    assert bump.max() == pytest.approx(0.266, abs=1e-3)
    expected = 2 * 0.5 * (bump**2).sum() / 2  # two outputs, halved, mean over two rows
    assert method.loss({**rows, "weights": weights}).item() == pytest.approx(expected, rel=1e-5)


def test_euclidean_loss_against_a_loop():
    random = np.random.default_rng(0)
    found, wanted = random.random((2, 3, 4, 6, 5))
    weights = random.random((3, 4))
    total = 0.0
    for row, joint in np.ndindex(3, 4):
        total += weights[row, joint] * ((found[row, joint] - wanted[row, joint]) ** 2).sum()
    loss = euclidean_loss(*map(torch.tensor, (found, wanted, weights)))
    assert loss.item() == pytest.approx(total / 3 / 2)
