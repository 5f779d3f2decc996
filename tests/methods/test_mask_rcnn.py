"""Mask R-CNN: its own RoIAlign and suppression against loops, its network against the measured."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.api import Prepared, Sample
from harness.loading import load_method
from methods.detection.mask_rcnn import anchors, clipped, moved, read_joints
from methods.parts.regions import overlaps, roi_align, suppressed


def weightless(variant):
    with torch.device("meta"):
        return load_method(f"mask-rcnn:{variant}")


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_measured_ones():
    torchvision, detectron = (weightless(v).network for v in ("r50-fpn", "r50-fpn-detectron2"))
    blocks = {name: count(block) for name, block in torchvision.named_children()}
    assert blocks == {"backbone": 26_852_416, "rpn": 593_935, "roi_heads": 31_744_027}
    assert count(torchvision) == 59_190_378
    assert len(torchvision.state_dict()) == 366
    assert len(list(torchvision.parameters())) == 207
    kinds = [type(module).__name__ for module in torchvision.modules()]
    layers = ("Conv2d", "BatchNorm2d", "Linear", "ConvTranspose2d")
    assert tuple(map(kinds.count, layers)) == (72, 53, 4, 1)
    norms = 53_120  # frozen in detectron2: buffers there, parameters here
    assert count(detectron) - norms == 59_133_158


def test_multiply_adds_are_near_the_indicative_ones():
    """Measured: 59.73 G of detectron2 on a random picture, 20 proposals and about one person."""
    network = weightless("r50-fpn-detectron2").network.eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 480, 640, device="meta"))
        network.box_answers(torch.zeros(20, 256, 7, 7, device="meta"))
        maps = network.keypoint_maps(torch.zeros(1, 256, 14, 14, device="meta"))
    assert maps.shape == (1, 17, 56, 56)
    assert counter.get_total_flops() / 2e9 == pytest.approx(59.73, rel=0.01)


def test_names_of_torchvision_and_detectron2_load():
    method = weightless("r50-fpn")
    state = method.network.state_dict()
    for name, shape in {
        "backbone.body.conv1.weight": (64, 3, 7, 7),
        "backbone.fpn.inner_blocks.0.0.weight": (256, 256, 1, 1),
        "rpn.head.conv.0.0.weight": (256, 256, 3, 3),
        "roi_heads.box_predictor.bbox_pred.weight": (8, 1024),
        "roi_heads.keypoint_head.14.weight": (512, 512, 3, 3),
        "roi_heads.keypoint_predictor.kps_score_lowres.weight": (512, 17, 4, 4),
    }.items():
        assert tuple(state[name].shape) == shape
    old = {
        "backbone.fpn.inner_blocks.0.weight": "backbone.fpn.inner_blocks.0.0.weight",
        "rpn.head.conv.bias": "rpn.head.conv.0.0.bias",
        "backbone.bottom_up.stem.conv1.norm.running_var": "backbone.body.bn1.running_var",
        "backbone.bottom_up.res3.0.shortcut.weight": "backbone.body.layer2.0.downsample.0.weight",
        "backbone.bottom_up.res5.2.conv3.norm.bias": "backbone.body.layer4.2.bn3.bias",
        "backbone.fpn_output5.bias": "backbone.fpn.layer_blocks.3.0.bias",
        "roi_heads.keypoint_head.conv_fcn8.weight": "roi_heads.keypoint_head.14.weight",
    }
    translated = method.translate_weights(dict.fromkeys(old, torch.zeros(1)))
    assert translated.keys() == set(old.values()) <= state.keys()


def test_detectron2_has_the_background_last():
    scores = {f"roi_heads.box_predictor.cls_score.{k}": torch.tensor([1.0, 2]) for k in
              ("weight", "bias")}  # fmt: skip
    foreign = {**scores, "proposal_generator.rpn_head.conv.bias": torch.zeros(1)}
    translated = weightless("nano").translate_weights(foreign)
    assert translated["roi_heads.box_predictor.cls_score.bias"].tolist() == [2, 1]


def bilinear(image, y, x):
    """Read one sample as the reference does, corner by corner."""
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = int(y), int(x)
    y1, x1 = y0 + 1, x0 + 1
    if y0 >= height - 1:
        y0 = y1 = height - 1
        y = float(y0)
    if x0 >= width - 1:
        x0 = x1 = width - 1
        x = float(x0)
    dy, dx = y - y0, x - x0
    return (
        (1 - dy) * (1 - dx) * image[y0, x0] + (1 - dy) * dx * image[y0, x1]
        + dy * (1 - dx) * image[y1, x0] + dy * dx * image[y1, x1]
    )  # fmt: skip


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("samples", [0, 2])
def test_roi_align_equals_plain_loops(aligned, samples):
    random = np.random.default_rng(0)
    features = random.normal(size=(2, 3, 9, 11))
    low = random.uniform(-15, 60, (6, 2))
    boxes = np.concatenate([low, low + random.uniform(1, 70, (6, 2))], axis=1)
    boxes[0] = (10, 10, 10.5, 10.2)  # thinner than a pixel
    owner, size, scale = random.integers(0, 2, 6), 4, 0.25
    found = roi_align(
        *map(torch.from_numpy, (features, boxes, owner)), size, scale, samples, aligned
    ).numpy()
    for row, box in enumerate(boxes):
        x0, y0, x1, y1 = box * scale - (0.5 if aligned else 0)
        height, width = y1 - y0, x1 - x0
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        counts = [samples or math.ceil(side / size) for side in (height, width)]
        for c, i, j in np.ndindex(3, size, size):
            total = 0.0
            for a in range(counts[0]):
                for b in range(counts[1]):
                    y = y0 + height / size * (i + (a + 0.5) / counts[0])
                    x = x0 + width / size * (j + (b + 0.5) / counts[1])
                    total += bilinear(features[owner[row], c], y, x)
            assert found[row, c, i, j] == pytest.approx(
                total / (counts[0] * counts[1]), rel=1e-9, abs=1e-9
            )


def test_roi_align_of_a_plane_is_the_plane():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    boxes = torch.tensor([[4.0, 6, 12, 14]])
    pooled = roi_align((2 * x + y)[None, None], boxes, torch.tensor([0]), 4, 1.0)
    places = torch.arange(4) * 2 + 1 - 0.5
    expected = 2 * (4 + places)[None] + (6 + places)[:, None]
    torch.testing.assert_close(pooled[0, 0], expected)


@pytest.mark.parametrize("grouped", [False, True])
def test_suppression_equals_plain_loops(grouped):
    random = np.random.default_rng(1)
    low = random.uniform(0, 50, (60, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 30, (60, 2))], axis=1)
    scores = random.integers(0, 30, 60) / 30
    groups = random.integers(0, 2, 60)
    kept = []
    for i in sorted(range(60), key=lambda i: -scores[i]):
        for j in kept:
            common = np.clip(
                np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2]),
                0, None,
            ).prod()  # fmt: skip
            area = sum((boxes[k, 2:] - boxes[k, :2]).prod() for k in (i, j)) - common
            if common / area > 0.4 and not (grouped and groups[i] != groups[j]):
                break
        else:
            kept.append(i)
    found = suppressed(
        torch.from_numpy(boxes), torch.from_numpy(scores), 0.4,
        torch.from_numpy(groups) if grouped else None,
    )  # fmt: skip
    assert found.tolist() == kept


def test_overlaps_of_known_boxes():
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 8, 4]])
    expected = torch.tensor([[1, 4 / 28, 0], [4 / 28, 1, 4 / 28], [0, 4 / 28, 1]])
    torch.testing.assert_close(overlaps(boxes, boxes), expected)


def test_anchors_have_one_area_and_stand_on_corners():
    found = anchors((2, 3), 16, 64.0, rounded=False).reshape(2, 3, 3, 4)
    sides = found[..., 2:] - found[..., :2]
    torch.testing.assert_close(sides.prod(dim=-1), torch.full((2, 3, 3), 64.0**2))
    torch.testing.assert_close(sides[..., 1] / sides[..., 0],
                               torch.tensor([0.5, 1, 2]).expand(2, 3, 3))  # fmt: skip
    center = (found[1, 2, 0, :2] + found[1, 2, 0, 2:]) / 2
    assert center.tolist() == [32, 16]
    # torchvision rounds: 64 / sqrt(0.5) / 2 = 45.25
    assert anchors((1, 1), 16, 64.0, rounded=True)[0].tolist() == [-45, -23, 45, 23]


def test_boxes_move_by_shares_of_their_size():
    boxes = torch.tensor([[10.0, 20, 30, 60]])
    assert moved(boxes, torch.zeros(1, 4)).tolist() == boxes.tolist()
    found = moved(boxes, torch.tensor([[0.5, -0.25, math.log(2), 100.0]]))
    width, height = (found[0, 2:] - found[0, :2]).tolist()
    assert width == pytest.approx(40)
    assert height == pytest.approx(40 * 1000 / 16)
    assert ((found[0, :2] + found[0, 2:]) / 2).tolist() == pytest.approx([30, 30], abs=1e-3)
    assert clipped(found, torch.tensor([50, 40]))[0].tolist() == pytest.approx([10, 0, 50, 40])


def test_joints_are_read_at_the_boxes_resolution():
    """A map's peak comes back at its place in the box, also where the side is no whole number."""
    box = torch.tensor([10.0, 20, 10 + 112.5, 20 + 84.25])
    rows, columns = torch.meshgrid(torch.arange(56.0), torch.arange(56.0), indexing="ij")
    maps = (9 - ((rows - 30) ** 2 + (columns - 12) ** 2) / 20)[None]
    x, y, score = read_joints(maps, box)[0].tolist()
    assert x == pytest.approx(10 + 12.5 * 112.5 / 56, abs=1.1)
    assert y == pytest.approx(20 + 30.5 * 84.25 / 56, abs=1.1)
    assert score == pytest.approx(maps.flatten().softmax(0).max().item(), rel=0.05)


def test_an_ideal_network_finds_its_people(tmp_path, monkeypatch):
    """Answers made from two boxes come back as these boxes, with joints inside, in image pixels."""
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.zeros((120, 200, 3), np.uint8))
    method = load_method("mask-rcnn:nano")
    sample = Sample("1", (path,))
    prepared = method.prepare(sample)
    scale = torch.tensor(np.tile(prepared.context, 2), dtype=torch.float32)
    wanted = torch.tensor([[20.0, 10, 70, 110], [110, 30, 190, 100]]) * scale
    monkeypatch.setattr(method, "proposed", lambda features, answers, size: torch.cat(
        [wanted, wanted + 1.5, torch.tensor([[0.0, 0, 20, 20]])]))  # fmt: skip
    monkeypatch.setattr(method.network, "box_answers", lambda pooled: (
        torch.tensor([[0, 5.0], [0, 4], [0, 3], [0, 2], [5, 0]]), torch.zeros(5, 4)))  # fmt: skip
    maps = torch.full((2, 17, 56, 56), -9.0)
    maps[:, :, 28, 14] = 9
    monkeypatch.setattr(method.network, "keypoint_maps", lambda pooled: maps)
    with torch.inference_mode():
        outputs = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
    arrays = {name: value.numpy() for name, value in outputs.items()}
    people = method.decode(arrays, Prepared({}, prepared.context), sample)
    np.testing.assert_allclose(people["box"], [[20, 10, 50, 100], [110, 30, 80, 70]], atol=1e-3)
    expected = np.array([20 + 50 * 14.5 / 56, 10 + 100 * 28.5 / 56]) - 0.5
    np.testing.assert_allclose(people["keypoints"][0], np.tile(expected, (17, 1)), atol=1)
    assert people["score"][0] == pytest.approx(1 / (1 + math.exp(-5)))
