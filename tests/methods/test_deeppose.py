"""DeepPose: the paper's layer sizes, and the cascade against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from harness.loading import load_method
from harness.profiling import profile
from methods.parts.alexnet import ConvRegressor, alexnet_layers
from methods.parts.windows import windows
from methods.single_person.deeppose import Cascade, like


def meta(spec):
    with torch.device("meta"):
        return load_method(spec)


def test_alexnet_has_the_papers_maps():
    sizes, length = [], 220
    for layer in alexnet_layers():
        sizes.append((length + 2 * (layer.kernel // 2) - layer.kernel) // layer.stride + 1)
        length = layer.size(length)
    assert sizes == [55, 27, 13, 13, 13]
    assert length == 6


def test_parameters_of_one_stage_and_of_three():
    with torch.device("meta"):
        stage = ConvRegressor(alexnet_layers(), 4096, 28, (220, 220), 0.6)
    convolutions = 34_944 + 614_656 + 885_120 + 1_327_488 + 884_992
    linear = (9216 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 28
    assert sum(p.numel() for p in stage.parameters()) == convolutions + linear == 58_396_060
    found = profile(meta("deeppose:alexnet-220x220"), latency=False)
    assert found.parameters == found.registered_parameters == 3 * 58_396_060


def test_resnet_regression_is_the_measured_one():
    found = profile(meta("deeppose-resnet:r50-256x192"), latency=False)
    assert found.parameters == found.registered_parameters == 23_577_698
    assert round(found.macs / 1e9, 3) == 4.004
    assert round(found.paper_gflops, 3) == 3.729


def test_resnet_regression_reads_mmpose_names():
    method = load_method("deeppose-resnet:nano")
    state = method.network.state_dict()
    for head in ("keypoint_head.", "head."):
        foreign = {(head if k.startswith("fc.") else "backbone.") + k: v for k, v in state.items()}
        assert method.translate_weights(foreign).keys() == state.keys()


def test_windows_are_bilinear_cuts_around_their_centres():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    ramps = torch.stack([x, y])[None]
    centers = torch.tensor([[[12.0, 9.0], [14.5, 10.25]]])
    sides = torch.tensor([[8.0, 4.0]])
    cut = windows(ramps, centers, sides, 8)
    assert cut.shape == (2, 2, 8, 8)
    torch.testing.assert_close(cut[0], ramps[0, :, 5:13, 8:16])
    torch.testing.assert_close(cut[1, 0, 0], 14.5 + (torch.arange(8.0) - 4) / 2)
    torch.testing.assert_close(cut[1, 1, :, 0], 10.25 + (torch.arange(8.0) - 4) / 2)
    outside = windows(ramps, torch.tensor([[[-40.0, 9.0]]]), torch.tensor([[8.0]]), 8)
    assert not outside.any()


class Always(nn.Module):
    """A stage that answers every window with the same numbers."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer.flatten().expand(len(images), -1)


def test_a_later_stage_moves_each_joint_by_its_own_answer_in_window_sides():
    network = Cascade(3, (0, 2), 40, stages=2, window=2.0, widths=(2,) * 5, hidden=2)
    first = torch.tensor([[0.0, 0.0], [0.1, -0.1], [0.0, 0.25]])
    second = torch.tensor([[0.5, 0.0], [0.0, -0.25], [0.125, 0.125]])
    network.stages[0], network.stages[1] = Always(first), Always(second)
    poses = network(torch.zeros(2, 3, 40, 40))
    assert poses.shape == (2, 2, 3, 2)
    start = np.array([[20, 20], [24, 16], [20, 30]])
    assert poses[1, 0].numpy() == pytest.approx(start)
    side = 2 * 10  # twice the torso from (20, 20) to (20, 30)
    assert poses[1, 1].numpy() == pytest.approx(start + side * second.numpy())


def test_displacements_in_training_have_the_spread_of_the_errors():
    random = torch.Generator().manual_seed(0)
    errors = torch.randn(400, 2, 2, generator=random) * torch.tensor([[1.0, 5], [2, 3]]) + 4
    weights = torch.ones(400, 2)
    weights[200:, 0] = 0
    drawn = like(errors, weights, torch.randn(400, 2, 2, generator=random))
    assert drawn[:, 1].mean(0).tolist() == pytest.approx(errors[:, 1].mean(0).tolist(), abs=0.5)
    assert drawn[:, 0].std(0).tolist() == pytest.approx(errors[:200, 0].std(0).tolist(), rel=0.15)
