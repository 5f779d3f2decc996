"""Mask R-CNN: its own RoIAlign and suppression against loops, its network against the measured."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from harness.api import Prepared, Sample
from harness.loading import load_method
from methods.detection.mask_rcnn import anchors, clipped, moved, read_joints
from methods.detection.rcnn_targets import (
    BACKGROUND,
    LEFT_OUT,
    deltas_to,
    drawn,
    joint_cells,
    joint_loss,
    matched,
    proposal_loss,
    region_loss,
)
from methods.parts.initialise import seeded
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
    assert count(weightless("nano").network) == 465_722  # less than 2 MB of float32


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


def box_overlap(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(width, 0) * max(height, 0)
    return common / sum([(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)], -common)


def random_boxes(random, count):
    low = random.uniform(0, 40, (count, 2))
    return np.concatenate([low, low + random.uniform(5, 40, (count, 2))], axis=1).tolist()


@pytest.mark.parametrize(("thresholds", "best"), [((0.3, 0.7), True), ((0.5, 0.5), False)])
def test_boxes_are_matched_as_by_plain_loops(thresholds, best):
    random = np.random.default_rng(3)
    low, high = thresholds
    kinds = set()
    for _ in range(20):
        boxes, people, others = (random_boxes(random, n) for n in (40, 4, 2))
        boxes += [people[0], [2 * x for x in people[1]]]
        expected = []
        for box in boxes:
            shares = [box_overlap(box, person) for person in people]
            nearest = int(np.argmax(shares))
            champion = best and any(
                share > 0 and share == max(box_overlap(other, person) for other in boxes)
                for share, person in zip(shares, people, strict=True)
            )
            if shares[nearest] >= high or champion:
                expected.append(nearest)
            elif shares[nearest] >= low or max(box_overlap(box, o) for o in others) >= low:
                expected.append(LEFT_OUT)
            else:
                expected.append(BACKGROUND)
        tensors = (torch.tensor(x, dtype=torch.float64) for x in (boxes, people, others))
        assert matched(*tensors, thresholds, best).tolist() == expected
        kinds |= set(expected)
    assert kinds == {LEFT_OUT, BACKGROUND, 0, 1, 2, 3}


def test_without_people_all_is_background():
    boxes, nobody = torch.tensor([[0.0, 0, 5, 5], [9, 9, 30, 30]]), torch.zeros(0, 4)
    assert matched(boxes, nobody, nobody, (0.3, 0.7), best=True).tolist() == [BACKGROUND] * 2


def test_draws_hold_a_share_of_people_and_nothing_that_is_left_out():
    match = torch.tensor([0, 1, BACKGROUND, LEFT_OUT] * 10)
    rows = drawn(match, 16, share=0.25)
    assert (match[rows[:4]] >= 0).all()
    assert (match[rows[4:]] == BACKGROUND).all()
    assert len(set(rows.tolist())) == len(rows) == 4 + 10
    assert len(drawn(match, 8, share=0.25)) == 8
    with seeded(1):
        first = drawn(match, 8, share=0.25)
    with seeded(1):
        assert drawn(match, 8, share=0.25).tolist() == first.tolist() != rows[:8].tolist()


def test_deltas_move_a_box_to_its_person():
    random = np.random.default_rng(4)
    boxes, people = (torch.tensor(random_boxes(random, 50)) for _ in range(2))
    torch.testing.assert_close(moved(boxes, deltas_to(boxes, people)), people)


def test_joints_lie_in_cells_of_their_box():
    box = torch.tensor([[10.0, 20, 38, 132]])  # cells of half a pixel by two pixels
    joints = torch.tensor([[10.0, 20, 1], [11.2, 25, 1], [38, 132, 1], [9.9, 30, 1], [20, 30, 0]])
    cells, known = joint_cells(joints[None], box, 56)
    assert known.tolist() == [[True, True, True, False, False]]
    assert cells[0, :3].tolist() == [0, 2 * 56 + 2, 55 * 56 + 55]


def test_a_joint_is_read_where_it_is_learnt():
    """The map whose loss is least puts the joint back to within a cell."""
    box = torch.tensor([[12.0, 8, 68, 120]])
    joints = torch.tensor([[[30.3, 77.7, 1]]])
    (cell,), _ = joint_cells(joints[0], box, 56)
    maps = 30 * functional.one_hot(cell, 56**2).reshape(1, 1, 56, 56).float()
    assert joint_loss(maps, joints, box) < 1e-6
    x, y, _ = read_joints(maps[0], box[0])[0].tolist()
    assert (x, y) == (pytest.approx(30.3, abs=1), pytest.approx(77.7, abs=2))
    joints[..., 0] += 5
    assert joint_loss(maps, joints, box) > 25


def test_perfect_answers_cost_nothing():
    people = torch.tensor([[30.0, 20, 62, 84], [70, 30, 102, 94]])
    around = anchors((12, 16), 8, 45.25, rounded=False)
    owned = matched(around, people, people[:0], (0.3, 0.7), best=True)
    logits = torch.where(owned >= 0, 30.0, -30.0)
    deltas = deltas_to(around, people[owned.clamp(min=0)])
    assert proposal_loss(logits, deltas, around, people, people[:0], 16) < 1e-6
    assert proposal_loss(-logits, deltas, around, people, people[:0], 16) > 10
    assert proposal_loss(logits, deltas + 1, around, people, people[:0], 16) > 0.1
    scores, some = torch.stack([-logits, logits], dim=1), owned >= 0
    assert region_loss(scores, deltas, deltas, some) < 1e-6
    assert region_loss(scores.flip(1), deltas, deltas, some) > 10
    assert region_loss(scores[some], deltas[some] + 1, deltas[some], some[some]) > 1


def test_training_views_hold_boxes_around_their_people(tmp_path):
    """Coloured rectangles are found again at the edges of their boxes, mirrored or not."""
    path = str(tmp_path / "image.png")
    image = np.zeros((192, 256, 3), np.uint8)
    image[60:140, 100:150] = (0, 0, 255)
    image[50:90, 180:200] = (0, 255, 0)
    cv2.imwrite(path, image)
    sample = Sample("1", (path,), np.array([[100.0, 60, 49, 79]]), np.ones(1))
    joints = np.tile([100.0, 60], (1, 17, 1))
    truth = {
        "keypoints": joints,
        "visible": np.ones((1, 17), bool),
        "unlabelled": np.array([[180.0, 50, 20, 40]]),
    }
    method = load_method("mask-rcnn:nano")
    for seed in range(6):
        rows = method.training_rows(sample, truth, np.random.default_rng(seed))
        assert rows["size"].tolist() == [[256, 192]]
        for name, channel in (("people", 2), ("unlabelled", 1)):
            seen = rows["image"][0, ..., channel].astype(int)
            seen -= rows["image"][0, ..., 0]  # the border is grey
            y, x = np.nonzero(seen > 127)
            found = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            np.testing.assert_allclose(rows[name][0, 0], found, atol=1)
            assert not rows[name][0, 1:].any()
        x0, y0, x1, _ = rows["people"][0, 0]
        x, y, known = rows["joints"][0, 0, 0]
        assert known == 1
        assert min(abs(x - x0), abs(x - x1)) < 1
        assert abs(y - y0) < 1


def test_training_lowers_the_loss(tmp_path):
    """Every tensor takes part, and a few steps on one picture bring the loss down."""
    random = np.random.default_rng(0)
    path = str(tmp_path / "image.png")
    image = random.integers(0, 80, (192, 256, 3), np.uint8)
    image[40:152, 90:146] += 150
    cv2.imwrite(path, image)
    sample = Sample("1", (path,), np.array([[90.0, 40, 55, 111]]), np.ones(1))
    truth = {
        "keypoints": np.array([90.0, 40]) + random.uniform(5, 50, (1, 17, 2)),
        "visible": np.ones((1, 17), bool),
    }
    method = load_method("mask-rcnn:nano")
    rows = [method.training_rows(sample, truth, np.random.default_rng(i)) for i in range(4)]
    batch = {name: torch.from_numpy(np.concatenate([r[name] for r in rows])) for name in rows[0]}
    network = method.network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.002)
    losses = []
    for _ in range(12):
        loss = method.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(weights.grad is not None for weights in network.parameters())
    assert losses[-1] < 0.8 * losses[0]
