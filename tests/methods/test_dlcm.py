"""DLCM: documented counts, the parts of every skeleton, and strips against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.api import skeletons
from harness.loading import load_method
from harness.profiling import profile
from methods.parts.hourglass import Residual
from methods.single_person.dlcm import CompositionalNet, bones, strips

BODIES = ["mpii-16", "lsp-14", "coco-17", "coco-mpii-21", "crowdpose-14", "cpm-14"]


def test_counts_are_the_documented_ones():
    with torch.device("meta"):
        method = load_method("dlcm:3level-256x256")
    found = profile(method, latency=False)
    outs, maps = (2 * 16 + 2 * 12 + 6) * 257, (16 + 2 * 12 + 6 + 4) * 256
    assert found.parameters == 352_640 + 15_348_480 + outs + 4 * 257 * 256 + maps
    assert found.parameters == 15_993_022
    assert found.macs == 17_849_647_104
    dead = [m for m in method.network.modules() if isinstance(m, Residual) and not m.projects]
    unused = sum(p.numel() for block in dead for p in block.skip_layer.parameters())
    assert found.registered_parameters - found.parameters == unused
    heads = method.network(torch.zeros(1, 3, 256, 256, device="meta"))
    assert [head.shape[1] for head in heads] == [16, 12, 6, 12, 16]


@pytest.mark.parametrize("name", BODIES)
def test_twelve_limbs_with_known_ends_and_every_outer_joint(name):
    skeleton = skeletons()[name]
    parts = bones(skeleton)
    assert len(parts) == 12
    ends = {joint for part in parts for end in part for joint in end}
    assert ends <= set(skeleton.joints)
    for side in ("left_", "right_"):
        limbs = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        assert {side + joint for joint in limbs} <= ends
    # Consecutive pairs are one larger part: they meet in a joint.
    for first, second in zip(parts[0:8:2], parts[1:8:2], strict=True):
        assert first[1] == second[0]


def test_strips_are_gaussians_of_the_distance_to_a_segment():
    random = np.random.default_rng(0)
    starts, stops = random.uniform(0, 12, (2, 1, 4, 2))
    stops[0, 3] = starts[0, 3]  # a point
    maps = strips(torch.tensor(starts), torch.tensor(stops), (10, 14), 1.3)
    shares = np.linspace(0, 1, 4001)[:, None]
    for part in range(4):
        line = starts[0, part] + shares * (stops[0, part] - starts[0, part])
        for y, x in ((0, 0), (3, 7), (9, 13), (5, 2)):
            squared = ((line - (x, y)) ** 2).sum(axis=1).min()
            assert maps[0, part, y, x].item() == pytest.approx(
                np.exp(-squared / (2 * 1.3**2)), abs=1e-5
            )


def test_a_limb_without_an_end_is_empty_and_its_larger_part_is_the_other():
    method = load_method("dlcm:nano")
    random = np.random.default_rng(0)
    joints = torch.tensor(random.uniform(10, 86, (1, 21, 2)), dtype=torch.float32)
    weights = torch.ones(1, 21)
    limbs, large = method.part_targets(joints, weights)
    assert limbs.shape == (1, 12, 24, 24)
    assert torch.equal(large, torch.maximum(limbs[:, 0::2], limbs[:, 1::2]))
    weights[0, method.skeleton.joints.index("left_wrist")] = 0
    fewer, large = method.part_targets(joints, weights)
    assert not fewer[0, 1].any()
    assert torch.equal(large[0, 0], limbs[0, 0])
    assert torch.equal(fewer[0, 2:], limbs[0, 2:])


def test_the_way_down_sees_the_same_level_of_the_way_up():
    """Without any merging only that shortcut leads from the limbs' features to the last limbs."""
    torch.manual_seed(0)
    network = CompositionalNet(4, width=8, depth=1).eval()
    for merge in (*network.merge_features, *network.merge_maps):
        torch.nn.init.zeros_(merge.conv.weight)
    kept = []
    network.hourglasses[1].register_forward_hook(lambda *a: kept.append(a[-1]))
    maps = network(torch.rand(1, 3, 32, 32))
    for i, seen in ((2, False), (3, True), (4, True)):
        (gradient,) = torch.autograd.grad(
            maps[i].sum(), kept[0], retain_graph=True, allow_unused=True
        )
        assert (gradient is not None and gradient.abs().sum().item() > 0) == seen
