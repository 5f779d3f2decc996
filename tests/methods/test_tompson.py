"""Tompson et al.: documented counts, local contrast, and a refinement that adds up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from harness.loading import load_method
from harness.profiling import profile
from methods.parts.gaussian import gaussian_maps
from methods.single_person.tompson import MultiResolutionNet, local_contrast


def test_counts_are_the_documented_ones():
    with torch.device("meta"):
        method = load_method("tompson:refined-256x256")
    found = profile(method, latency=False)
    bank = 128 * (3 * 25 + 1) + 2 * 128 * (128 * 25 + 1) + 512 * (128 * 81 + 1)
    head = 256 * 513 + 16 * 257
    fine = 3 * 128 * (256 * 25 + 1) + 128 * 129 + 16 * 129
    assert found.parameters == found.registered_parameters == 3 * bank + head + fine
    convolutions = 65536 * 75 * 128 + 16384 * 128 * 128 * 25 + 4096 * 128 * 128 * 25
    convolutions += 4096 * 128 * 512 * 81
    windows = 16 * (36**2 + 18**2 + 9**2) * 256 * 128 * 25 + 16 * 36**2 * 128 * 129
    head = 4096 * (512 * 256 + 256 * 16)
    assert found.macs == convolutions * 21 // 16 + head + windows
    maps = method.network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert [tuple(m.shape) for m in maps] == [(1, 16, 64, 64), (1, 16, 36, 36), (1, 16, 2)]


def test_local_contrast_does_not_see_brightness_or_contrast():
    images = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    plain = local_contrast(images)
    torch.testing.assert_close(local_contrast(images * 0.3 + 0.5), plain, rtol=1e-3, atol=1e-3)
    assert plain.std().item() == pytest.approx(1, abs=0.2)
    assert not local_contrast(torch.full((1, 3, 16, 16), 0.7)).abs().gt(1e-2).any()


class Answers(nn.Module):
    """An ideal network for known joints (1, K, 2): coarse peaks, then the rest of the way."""

    def __init__(self, joints, window):
        super().__init__()
        self.joints, self.window = joints, window
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        coarse = gaussian_maps((self.joints + 0.5) / 4 - 0.5, (24, 24), 1.5)
        cells = torch.round((self.joints + 0.5) / 4 - 0.5)
        centers = (cells + 0.5) * 4 - 0.5
        offsets = self.joints - centers + self.window / 2
        return coarse, gaussian_maps(offsets, (self.window, self.window), 1.5), centers


def test_refinement_comes_within_half_a_pixel_where_the_coarse_map_cannot():
    method = load_method("tompson:nano")
    random = np.random.default_rng(0)
    joints = torch.tensor(random.uniform(10, 86, (1, 17, 2)), dtype=torch.float32)
    method.network = Answers(joints, 16)
    found = method.forward({"crops": torch.zeros(1, 96, 96, 3, dtype=torch.uint8)})
    coarse, fine = found["stages"][0]
    assert (coarse - joints).abs().max() > 1.5
    assert (fine - joints).abs().max() <= 0.5 + 1e-4
    assert torch.equal(fine, found["points"][0])


def test_windows_follow_the_given_centres_in_every_bank():
    """Moving image and centres by eight pixels moves nothing in the fine maps."""
    torch.manual_seed(0)
    network = MultiResolutionNet(3, 4, 4, 4, window=16).eval()
    images = torch.zeros(1, 3, 96, 96)
    images[..., 30:60, 30:60] = torch.rand(3, 30, 30)
    centers = torch.tensor([[[45.0, 45.0], [40.0, 52.0], [50.0, 38.0]]])
    with torch.no_grad():
        _, fine, _ = network(images, centers)
        _, moved, _ = network(images.roll((8, 8), dims=(2, 3)), centers + 8)
        _, elsewhere, _ = network(images, centers + 8)
    torch.testing.assert_close(moved, fine, rtol=1e-3, atol=1e-4)
    assert (elsewhere - fine).abs().max() > 10 * (moved - fine).abs().max()


def test_joints_share_the_refinement_but_for_their_last_weights():
    torch.manual_seed(0)
    network = MultiResolutionNet(3, 4, 4, 4, window=16).eval()
    with torch.no_grad():
        network.fine_joints.weight.copy_(network.fine_joints.weight[:1].expand(3, -1, -1, -1))
        network.fine_joints.bias.zero_()
        same = torch.tensor([[[45.0, 45.0]]]).expand(1, 3, 2)
        _, fine, _ = network(torch.rand(1, 3, 96, 96), same)
    torch.testing.assert_close(fine[:, 1], fine[:, 0])
    torch.testing.assert_close(fine[:, 2], fine[:, 0])
