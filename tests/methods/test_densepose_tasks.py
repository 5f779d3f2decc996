"""DensePose-RCNN beside joints and masks, and in two stages: counts, names, and what is learnt."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from densepose_world import BENCHMARK, conv, count, embedded_pictures, weightless

from harness.loading import load_method
from methods.detection.dense_targets import NOT_DRAWN, coarse_labels, mask_loss
from methods.detection.rcnn_targets import joint_loss


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Two pictures of the validation split."""
    return embedded_pictures(tmp_path_factory.mktemp("data") / "densepose", 2)


# --- the network ----------------------------------------------------------------------------------


def branches(inputs, joints, masks):
    """Parameters of one stage of the paper's heads."""
    surface = conv(inputs, 512, 3) + 7 * conv(512, 512, 3) + conv(512, 15 + 3 * 25, 4)
    keypoints = conv(inputs, 512, 3) + 7 * conv(512, 512, 3) + conv(512, joints, 4)
    mask = conv(inputs, 256, 3) + 3 * conv(256, 256, 3) + conv(256, 256, 2) + conv(256, 1, 1)
    return surface + bool(joints) * keypoints + masks * mask


@pytest.mark.parametrize(
    ("variant", "joints", "masks", "cascade"),
    [
        ("", 0, 0, False),
        ("-masks", 0, 1, False),
        ("-keypoints", 17, 0, False),
        ("-cascade", 0, 0, True),
        ("-cascade-masks", 0, 1, True),
        ("-cascade-keypoints", 17, 0, True),
    ],
)
def test_tasks_and_stages_have_the_parameters_of_their_description(variant, joints, masks, cascade):
    """A second stage sees all answers of the first: 15 + 3 x 25 channels, joints, mask."""
    network = weightless(f"r50-fpn-legacy{variant}").network
    boxes = conv(49 * 256, 1024, 1) + conv(1024, 1024, 1) + conv(1024, 2 + 4, 1)
    stages = [256, 256 + 15 + 75 + joints + masks][: 1 + cascade]
    assert count(network.roi_heads) == boxes + sum(branches(n, joints, masks) for n in stages)
    maps = network.stage_maps(torch.zeros(2, 256, 14, 14, device="meta"))
    surface = {"coarse": (2, 15, 56, 56), **dict.fromkeys(("fine", "u", "v"), (2, 25, 56, 56))}
    others = {"joints": (2, 17, 56, 56)} if joints else {"mask": (2, 1, 28, 28)} if masks else {}
    assert len(maps) == 1 + cascade
    for own in maps:
        assert {name: tuple(map_.shape) for name, map_ in own.items()} == surface | others


def test_the_other_tasks_have_the_names_and_sizes_of_mask_rcnn():
    """The public configuration's keypoint head is that of Mask R-CNN, of as many joints."""
    state = weightless("r50-fpn-legacy-cascade-keypoints").network.state_dict()
    with torch.device("meta"):
        theirs = load_method("mask-rcnn:r50-fpn").network.state_dict()
    shapes = {name: own.shape for name, own in theirs.items() if "keypoint" in name}
    assert len(shapes) == 2 * (8 + 1)
    assert shapes == {name: state[name].shape for name in shapes}
    state = weightless("r50-fpn-legacy-masks").network.state_dict()
    assert state["roi_heads.mask_head.3.0.weight"].shape == (256, 256, 3, 3)
    assert state["roi_heads.mask_predictor.conv5_mask.weight"].shape == (256, 256, 2, 2)
    assert state["roi_heads.mask_predictor.mask_fcn_logits.weight"].shape == (1, 256, 1, 1)


def tiny(**arguments):
    """The nano's network with other heads."""
    method = load_method("densepose-rcnn:nano")
    thin = {"keypoint_width": 16, "mask_width": 16, **arguments}
    method.network = method.build({**method.variant.options["arguments"], **thin})
    return method


def test_an_answer_is_the_last_stages_surface():
    for arguments in ({"joints": 17}, {"cascade": True, "masks": True, "joints": 17}):
        network = tiny(**arguments).network.eval()
        pooled = torch.randn(2, 32, 14, 14, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            found, last = network.surface_maps(pooled), network.stage_maps(pooled)[-1]
        assert found.keys() == {"coarse", "fine", "u", "v"}
        assert all(torch.equal(found[name], last[name]) for name in found)


@pytest.mark.parametrize("task", ["surface", "keypoints", "mask"])
def test_the_second_stage_sees_the_first_answers_of_every_task(task):
    """Another bias of any first answer changes the refined surface."""
    network = tiny(cascade=True, masks=True, joints=17).network.eval()
    heads = network.roi_heads
    answer = {
        "surface": heads.densepose_predictor["u_lowres"],
        "keypoints": heads.keypoint_predictor["kps_score_lowres"],
        "mask": heads.mask_predictor.mask_fcn_logits,
    }[task]
    with torch.inference_mode():
        before = network.surface_maps(torch.zeros(1, 32, 14, 14))
        answer.bias += 1
        after = network.surface_maps(torch.zeros(1, 32, 14, 14))
    assert not torch.equal(before["fine"], after["fine"])


# --- what is learnt -------------------------------------------------------------------------------


def test_a_mask_is_learnt_where_it_is_drawn():
    """Any part is the person; right logits cost nothing, flat ones log 2."""
    boxes = torch.tensor([[10.0, 20, 74, 148], [0, 0, 30, 30]])
    masks = torch.zeros(2, 256, 256, dtype=torch.uint8)
    masks[0, :100], masks[0, 100:120] = 5, 14
    masks[1] = NOT_DRAWN
    right = torch.where(coarse_labels(masks, boxes, boxes, 28) > 0, 40.0, -40.0)[:, None]
    assert mask_loss(right, boxes, boxes, masks) < 1e-6
    assert mask_loss(-right, boxes, boxes, masks) == pytest.approx(40)
    assert mask_loss(0 * right, boxes, boxes, masks) == pytest.approx(np.log(2), rel=1e-4)
    assert mask_loss(right[1:], boxes[1:], boxes[1:], masks[1:]) == 0


@torch.no_grad()
def task_losses(method, rows):
    """What the heads for joints and masks lose in the people's own boxes, by stage and task."""
    features, _ = method.network(method.images(rows["image"], rows["size"]))
    boxes = rows["people"][0][rows["people"][0, :, 2] > 0]
    pooled = method.surface_features(features, boxes, torch.zeros(len(boxes), dtype=torch.long))
    joints, frames, masks = (
        rows[name][0, : len(boxes)] if name in rows else None
        for name in ("joints", "frames", "masks")
    )
    found = {}
    for stage, maps in enumerate(method.network.stage_maps(pooled)):
        if "joints" in maps:
            found[stage, "joints"] = joint_loss(maps["joints"], joints, boxes).item()
        if "mask" in maps:
            found[stage, "mask"] = mask_loss(maps["mask"], boxes, frames, masks).item()
    return found


@pytest.mark.parametrize(
    "arguments",
    [{"masks": True}, {"joints": 17}, {"cascade": True, "masks": True, "joints": 17}],
    ids=str,
)
def test_every_task_and_stage_learns_on_embedded_people(embedded, arguments):
    """The whole loss falls, that of joints and masks in each stage too; gradients reach all."""
    torch.manual_seed(0)
    method = tiny(**arguments)
    pairs = BENCHMARK.training_samples(embedded, None)[:1]
    rows = {name: torch.from_numpy(own) for name, own in
            method.training_rows(*pairs[0], np.random.default_rng(0)).items()}  # fmt: skip
    first = task_losses(method, rows)
    assert len(first) == (1 + ("cascade" in arguments)) * len(arguments.keys() - {"cascade"})
    optimiser = torch.optim.Adam(method.network.train().parameters(), lr=0.002)
    losses = []
    for _ in range(20):
        losses.append(method.loss(rows))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert all(torch.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.7 * losses[0]
    last = task_losses(method, rows)
    assert all(last[key] < 0.8 * first[key] for key in first)
    heads = method.network.roi_heads.named_parameters()
    assert not [name for name, own in heads if own.grad is None or not own.grad.any()]


def test_a_picture_without_people_costs_nothing_in_boxes(embedded):
    method = tiny(cascade=True, masks=True, joints=17)
    (pair, *_) = BENCHMARK.training_samples(embedded, None)
    rows = {name: torch.from_numpy(own) for name, own in
            method.training_rows(*pair, np.random.default_rng(0)).items()}  # fmt: skip
    features, _ = method.network(method.images(rows["image"], rows["size"]))
    boxes, nobody = rows["people"][0, :1], torch.zeros(1, dtype=torch.long)
    assert method.inside_loss(features, boxes, nobody, nobody, rows) > 0
    assert method.inside_loss(features, boxes[:0], nobody[:0], nobody[:0], rows) == 0


def test_joints_of_training_are_those_of_the_annotation_file(embedded):
    truth = embedded.truth.people
    assert truth.keypoints.shape[1:] == (17, 3)
    seen = 0
    for sample, own in BENCHMARK.training_samples(embedded, None):
        rows = np.flatnonzero(truth.image_id[truth.image] == int(sample.id))
        for box, joints in zip(sample.boxes, own["joints"], strict=True):
            (row,) = (r for r in rows if (truth.box[r, :2] == box[:2]).all())
            assert (joints[:, :2] == truth.keypoints[row, :, :2]).all()
            assert (joints[:, 2] == (truth.keypoints[row, :, 2] > 0)).all()
            seen += joints[:, 2].sum()
    assert seen > 0


def test_annotations_without_keypoints_are_read(embedded, tmp_path):
    root = tmp_path / "data" / "densepose"
    shutil.copytree(embedded.root.parent, root.parent, symlinks=True)
    (path,) = (root / "annotations").glob("*embedded-val.json")
    content = json.loads(path.read_text())
    del content["annotations"][-1]["keypoints"]
    path.write_text(json.dumps(content))
    dataset = BENCHMARK.load(root, "embedded-val")
    assert dataset.truth.people.keypoints.shape[1] == 0
    assert BENCHMARK.training_samples(dataset, None)[0][1]["joints"].shape[1] == 0
