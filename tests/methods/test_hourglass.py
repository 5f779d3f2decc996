"""Stacked Hourglass: the official network's counts and names, its crop, its decoding."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from harness.api import PrerequisiteError, Sample, skeletons
from harness.loading import load_method
from harness.profiling import profile
from methods.parts.crop import Regions
from methods.parts.integer_crop import cut_corners, truncated_corners

MPII = skeletons()["mpii-16"]

# variant: used and registered parameters, multiply-adds in 10^9; measured on the official code.
MEASURED = {
    "2stack-256x256": (6_570_400, 8_429_088, 8.335),
    "8stack-256x256": (25_434_112, 32_819_328, 27.440),
    "8stack-256x192": (25_434_112, 32_819_328, 20.580),
}
# variant: tensors, parameter tensors, (Conv2d, BatchNorm2d), parameters per block
LAYERS = {
    "2stack-256x256": (742, 454, (131, 96), (369_152, 7_288_320, 693_248, 8_224, 65_792, 4_352)),
    "8stack-256x256": (
        2752, 1690, (491, 354), (369_152, 29_153_280, 2_772_992, 32_896, 460_544, 30_464),
    ),
}  # fmt: skip


def weightless(variant, skeleton=None):
    with torch.device("meta"):
        return load_method(f"hourglass:{variant}", skeleton=skeleton)


@pytest.mark.parametrize("variant", MEASURED)
def test_cost_is_the_measured_one(variant):
    found = profile(weightless(variant, MPII), latency=False)
    used, registered, macs = MEASURED[variant]
    assert (found.parameters, found.registered_parameters) == (used, registered)
    assert round(found.macs / 1e9, 3) == macs
    assert found.paper_gflops == pytest.approx(found.macs / 2**30)


@pytest.mark.parametrize("variant", LAYERS)
def test_tensors_layers_and_blocks(variant):
    tensors, parameter_tensors, layers, blocks = LAYERS[variant]
    network = weightless(variant).network
    assert len(network.state_dict()) == tensors
    assert len(list(network.parameters())) == parameter_tensors
    kinds = [type(module).__name__ for module in network.modules()]
    assert tuple(map(kinds.count, ("Conv2d", "BatchNorm2d"))) == layers
    names = ("pre", "hgs", "features", "outs", "merge_features", "merge_preds")
    found = {name: sum(p.numel() for p in b.parameters()) for name, b in network.named_children()}
    assert found == dict(zip(names, blocks, strict=True))


def test_every_further_stack_costs_the_same():
    used = {
        n: profile(weightless(f"{n}stack-256x256"), latency=False).parameters for n in (1, 2, 4, 8)
    }
    assert used[2] - used[1] == used[4] - used[2] - 3_143_952 == 3_143_952
    assert used[8] - used[2] == 6 * 3_143_952
    coco = profile(weightless("8stack-256x192"), latency=False).parameters
    assert coco - used[8] == 8 * (256 + 1) + 7 * 256  # one joint more: heads, and their way back


def test_tensors_have_the_official_names():
    state = weightless("2stack-256x256").network.state_dict()
    for name, shape in {
        "pre.0.conv.weight": (64, 3, 7, 7),
        "hgs.0.0.up1.conv1.conv.weight": (128, 256, 1, 1),
        "hgs.1.0.low2.low2.low2.low2.conv3.conv.weight": (256, 128, 1, 1),
        "features.0.0.skip_layer.conv.bias": (256,),
        "outs.0.conv.weight": (16, 256, 1, 1),
        "merge_features.0.conv.conv.weight": (256, 256, 1, 1),
        "merge_preds.0.conv.conv.weight": (256, 16, 1, 1),
    }.items():
        assert tuple(state[name].shape) == shape


def test_wrapped_weights_load_and_other_networks_are_named():
    method = load_method("hourglass:nano")
    state = method.network.state_dict()
    wrapped = {f"model.module.{name}": tensor for name, tensor in state.items()}
    assert method.translate_weights(wrapped).keys() == state.keys()
    for name, whose in (
        ("backbone.hourglass_modules.0.low2.low2.conv1.weight", "hourglass52"),
        ("hg.0.hg.0.0.0.conv1.weight", "bearpaw"),
    ):
        with pytest.raises(PrerequisiteError, match=whose):
            method.translate_weights({name: torch.zeros(1)})


def test_crop_is_the_official_integer_crop():
    """Against the rule written out on a padded picture: truncate, cut, fill with 0, resize."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (120, 160, 3), np.uint8)
    margin = 400
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    for _ in range(20):
        center, scale = random.uniform(0, 160, 2).astype(np.float32), random.uniform(0.2, 1.2)
        regions = Regions(center[None], np.full((1, 2), scale, np.float32))
        x0, y0, x1, y1 = corners = truncated_corners(regions, (256, 256))[0]
        half = float(np.float32(scale)) * 100
        exact = np.array([*(center - half), *(center + half)])
        assert (np.abs(corners) <= np.abs(exact) + 1e-6).all()
        assert (np.abs(corners - exact) < 1 + 1e-6).all()
        official = padded[y0 + margin : y1 + margin, x0 + margin : x1 + margin]
        expected = cv2.resize(official.astype(np.float64), (256, 256))
        found = cut_corners(image, corners[None], (256, 256))[0]
        assert np.abs(found - expected).max() <= 1  # whole grey levels


def slowly(heatmap):
    """The official rule, one map at a time."""
    heatmap = np.minimum(heatmap, 1)
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    height, width = heatmap.shape
    right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
    below = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
    return x + (0.25 if right else -0.25) + 0.5, y + (0.25 if below else -0.25) + 0.5


def test_decoding_is_the_official_rule():
    method = load_method("hourglass:nano")
    maps = torch.rand((40, 17, 8, 6), generator=torch.Generator().manual_seed(0))
    maps[0, 0, 2, 3], maps[0, 1] = 3.0, 0.5  # above 1; all equal
    found = method.peaks(maps)["points"].numpy()
    expected = [[slowly(joint) for joint in row] for row in maps.numpy()]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_joints_are_whole_pixels_in_the_regions_place(tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.zeros((200, 300, 3), np.uint8))
    method = weightless("8stack-256x256")
    inputs = {"center": np.array([[150.0, 90.0]]), "scale": np.array([0.8])}
    # The protocol's boxes of MPII do not matter where centre and scale are known.
    sample = Sample("1", (path,), np.array([[1.0, 2, 3, 4]]), np.ones(1), inputs)
    prepared = method.prepare(sample)
    points = np.full((1, 16, 2), (32.75, 10.25), np.float32)
    rows = method.decode({"points": points, "scores": np.ones((1, 16))}, prepared, sample)
    side = 0.8 * 1.25 * 200
    expected = np.array([150, 90 + 15 * 0.8]) + (np.array([32.75, 10.25]) / 64 - 0.5) * side
    assert (rows["keypoints"] == np.trunc(expected)).all()


def test_targets_are_gaussians_of_one_pixel():
    method = load_method("hourglass:nano")
    joints = torch.full((1, 17, 2), 50.9)
    joints[0, 1] = torch.tensor([-0.5, 3.0])
    joints[0, 2] = torch.tensor([96.0, 3.0])
    weights = torch.ones(1, 17)
    weights[0, 3] = 0
    maps = method.targets(joints, weights)[0]
    assert maps[0, 12, 12] == 1
    assert maps[0, 12, 14] == pytest.approx(np.exp(-2))
    assert maps[0, 12, 16] > 0 == maps[0, 12, 17]
    assert not maps[2].any()
    assert not maps[3].any()


def test_every_stack_is_supervised():
    method = load_method("hourglass:nano")
    rows = {
        "crops": torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8),
        "joints": torch.rand(2, 21, 2) * 90,
        "weights": torch.ones(2, 21),
    }
    method.loss(rows).backward()
    for head in method.network.outs:
        assert head.conv.weight.grad.abs().sum() > 0
