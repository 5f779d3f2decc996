"""Iterative Error Feedback: GoogLeNet's known count, the drawing, the loop and the fixed path."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from harness.loading import load_method
from harness.profiling import profile
from methods.parts.googlenet import GoogLeNet
from methods.single_person.ief import FeedbackNet, bounded, drawn


def test_googlenet_has_its_well_known_count():
    with torch.device("meta"):
        network = GoogLeNet(3, 1000)
    assert sum(p.numel() for p in network.parameters()) == 6_998_552


def test_twenty_channels_in_and_thirty_two_numbers_out():
    with torch.device("meta"):
        method = load_method("ief:googlenet-224x224")
    found = profile(method, latency=False)
    wider = 17 * 49 * 64
    last = 1025 * 32 - 1025 * 1000
    assert found.parameters == found.registered_parameters == 6_998_552 + wider + last
    one = 1_582_671_872 - 1024 * 1000 + 1024 * 32 + wider * 112 * 112
    assert found.macs == 4 * one  # the loop runs the one network four times


@pytest.mark.parametrize("size", [(224, 224), (112, 112)])
def test_drawing_is_the_official_one(size):
    points = np.random.default_rng(0).uniform(5, 100, (2, 3, 2)).astype(np.float32)
    maps = drawn(torch.from_numpy(points), size).numpy()
    assert maps.shape == (2, 3, *size)
    y, x = np.mgrid[: size[0], : size[1]]
    for row, joint in np.ndindex(2, 3):
        cx, cy = np.round(points[row, joint] + 1)
        squared = ((x - cx) ** 2 + (y - cy) ** 2) * (224 / size[1]) ** 2
        assert maps[row, joint] == pytest.approx(100 * np.exp(-0.001 * squared) - 50, abs=1e-3)
    assert drawn(torch.tensor([[[30.0, 40.0]]]), size)[0, 0].argmax() == 41 * size[1] + 31


def test_moves_are_shortened_and_never_lengthened():
    moves = torch.tensor([[30.0, 40.0], [0.0, 0.0], [3.0, -4.0], [0.0, -90.0]])
    expected = torch.tensor([[12.0, 16], [0, 0], [3, -4], [0, -20]])
    torch.testing.assert_close(bounded(moves, 20), expected)


class Always(nn.Module):
    """A backbone that always answers the same, and remembers what it saw."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.seen = answer, []

    def forward(self, x):
        self.seen.append(x)
        return self.answer.expand(len(x), -1)


def test_every_step_moves_the_drawn_pose():
    network = FeedbackNet(2, (112, 112), width=0.1)
    network.mean_pose.copy_(torch.tensor([[0.0, 0.25], [-0.25, 0.0]]))
    network.backbone = Always(torch.tensor([0.5, -0.1, 0.0, 0.2]))  # all x, then all y
    images = torch.rand(1, 3, 112, 112)
    poses = network(images)[0]
    step = 20 * 112 / 224
    start = torch.tensor([[56.0, 84.0], [28.0, 56.0]])
    move = step * torch.tensor([[0.5, 0.0], [-0.1, 0.2]])
    for t in range(4):
        torch.testing.assert_close(poses[t], start + (t + 1) * move)
        seen = network.backbone.seen[t][0]
        assert torch.equal(seen[:3], images[0])
        shown = start + t * move
        torch.testing.assert_close(seen[3:5], drawn(shown[None], (112, 112))[0])
        torch.testing.assert_close(seen[5], drawn(torch.tensor([[[56.0, 56.0]]]), (112, 112))[0, 0])


@pytest.mark.parametrize(("fixed_path", "squares"), [(True, 1 + 1 + 0.5**2), (False, 3)])
def test_loss_is_the_error_of_the_bounded_steps(fixed_path, squares):
    """A silent network's loss: on the fixed path the truth draws near, on its own it never does."""
    method = load_method("ief:nano")
    method.fixed_path = fixed_path
    method.network.backbone[-1].weight.data.zero_()
    method.network.backbone[-1].bias.data.zero_()
    longest = method.network.longest
    distance = 2.5 * longest
    side = method.input_size[0]
    joints = torch.full((1, 21, 2), side / 2)
    joints[0, 4, 0] += distance
    weights = torch.zeros(1, 21)
    weights[0, 4] = 1
    crops = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    loss = method.loss({"crops": crops, "joints": joints, "weights": weights})
    assert loss.item() == pytest.approx(squares, abs=1e-4)
    assert math.isclose(longest, 27 * side / 224)


def test_training_adds_a_step_every_few_batches():
    """As many steps as the batches so far allow; outside training always all of them."""
    method = load_method("ief:nano")
    method.add_step_every = 2
    steps = method.network.steps
    assert method.next_steps() == steps
    method.network.train().batches.zero_()
    assert [method.next_steps() for _ in range(2 * steps + 1)] == [
        *(step for step in range(1, steps + 1) for _ in range(2)),
        steps,
    ]


def test_mean_pose_is_learnt_from_labelled_joints_and_kept_with_the_weights():
    method = load_method("ief:nano")
    joints = torch.full((2, 21, 2), 0.625 * method.input_size[0])
    weights = torch.ones(2, 21)
    weights[:, 0] = 0
    for _ in range(200):
        method.learn_mean_pose({"joints": joints, "weights": weights})
    mean = method.network.state_dict()["mean_pose"]
    assert mean[1:].numpy() == pytest.approx(0.125, abs=1e-4)
    assert not mean[0].any()
