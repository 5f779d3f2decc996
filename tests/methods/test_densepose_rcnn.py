"""DensePose-RCNN: counts and names of the official network, its losses against plain loops."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from densepose_world import BENCHMARK, conv, count, embedded_pictures, weightless
from pycocotools import mask as rle
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.datasets.densepose import decode_iuv, iuv_size
from harness.api import DENSE_POSE, Predictions, Prepared, Sample, SampleError
from harness.loading import load_method
from harness.registry import method_card
from harness.weights import locate, start_from
from methods.detection.dense_targets import (
    NOT_DRAWN,
    coarse_labels,
    dense_loss,
    mask_labels,
    read,
)
from methods.detection.densepose_rcnn import encoded, surface_in
from methods.detection.mask_rcnn import MOST_PEOPLE
from methods.parts.whole_image import SceneView

# --- the network ----------------------------------------------------------------------------------


def test_parameters_are_the_measured_ones():
    """Measured on detectron2, whose 53,120 numbers of frozen norms are buffers."""
    network = weightless("r50-fpn").network
    blocks = {name: count(block) for name, block in network.named_children()}
    assert blocks == {
        "backbone": 26_799_296 + 53_120, "rpn": 593_935, "roi_heads": 36_427_859,
    }  # fmt: skip
    assert count(network) - 53_120 == 63_821_090
    kinds = [type(module).__name__ for module in network.roi_heads.modules()]
    assert kinds.count("ConvTranspose2d") == 4


@pytest.mark.parametrize(
    ("variant", "width", "dense", "layers", "hidden", "coarse", "decoder", "boxes"),
    [
        ("r50-fpn", 256, 512, 8, 1024, 2, True, 4),
        ("r101-fpn", 256, 512, 8, 1024, 2, True, 4),
        ("r50-fpn-legacy", 256, 512, 8, 1024, 15, False, 4),
        ("r101-fpn-legacy", 256, 512, 8, 1024, 15, False, 4),
        ("nano", 32, 32, 6, 64, 2, False, 8),
    ],
)
def test_heads_have_the_parameters_of_their_description(
    variant, width, dense, layers, hidden, coarse, decoder, boxes
):
    box_head = sum(
        inputs * outputs + outputs
        for inputs, outputs in ((49 * width, hidden), (hidden, hidden), (hidden, 2 + boxes))
    )
    surface = conv(width, dense, 3) + (layers - 1) * conv(dense, dense, 3)
    surface += conv(dense, coarse + 3 * 25, 4)
    merged = (1 + 1 + 2 + 3) * conv(width, width, 3) + conv(width, width, 1)
    heads = weightless(variant).network.roi_heads
    assert count(heads) == box_head + surface + decoder * merged


def test_nano_is_less_than_two_megabytes():
    assert count(weightless("nano").network) == 478_006


def test_multiply_adds_of_the_surface_head():
    network = weightless("r50-fpn").network.eval()
    with FlopCounterMode(display=False) as counter:
        maps = network.surface_maps(torch.zeros(1, 256, 28, 28, device="meta"))
    assert {name: tuple(own.shape) for name, own in maps.items()} == {
        "coarse": (1, 2, 112, 112), "fine": (1, 25, 112, 112),
        "u": (1, 25, 112, 112), "v": (1, 25, 112, 112),
    }  # fmt: skip
    weights = 256 * 512 * 9 + 7 * 512**2 * 9 + 512 * 77 * 16
    assert counter.get_total_flops() / 2 == 28 * 28 * weights


def test_multiply_adds_are_near_the_indicative_ones():
    """Measured: 93.26 G of detectron2 on a random picture, 20 proposals and about one person."""
    network = weightless("r50-fpn").network.eval()
    with FlopCounterMode(display=False) as counter:
        features, _ = network(torch.zeros(1, 3, 480, 640, device="meta"))
        network.box_answers(torch.zeros(20, 256, 7, 7, device="meta"))
        network.roi_heads.decoder(features)
        network.surface_maps(torch.zeros(1, 256, 28, 28, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(93.26, rel=0.01)


def test_the_decoder_brings_all_levels_to_stride_4():
    decoder = weightless("r50-fpn").network.roi_heads.decoder
    levels = [torch.zeros(1, 256, 64 >> i, 96 >> i, device="meta") for i in range(5)]
    assert decoder(levels).shape == (1, 256, 64, 96)


def test_names_of_detectron2_load():
    method = weightless("r50-fpn")
    state = method.network.state_dict()
    names = {
        "roi_heads.decoder.p5.4.weight": (256, 256, 3, 3),
        "roi_heads.decoder.p2.0.bias": (256,),
        "roi_heads.decoder.predictor.weight": (256, 256, 1, 1),
        "roi_heads.densepose_head.body_conv_fcn1.weight": (512, 256, 3, 3),
        "roi_heads.densepose_head.body_conv_fcn8.bias": (512,),
        "roi_heads.densepose_predictor.ann_index_lowres.weight": (512, 2, 4, 4),
        "roi_heads.densepose_predictor.index_uv_lowres.weight": (512, 25, 4, 4),
        "roi_heads.densepose_predictor.u_lowres.weight": (512, 25, 4, 4),
        "roi_heads.densepose_predictor.v_lowres.bias": (25,),
        "backbone.bottom_up.res2.0.conv1.weight": (64, 64, 1, 1),
    }
    translated = method.translate_weights({k: torch.zeros(1) for k in names})
    assert translated.keys() <= state.keys()
    assert len(translated) == len(names)
    for name, shape in names.items():
        if name in state:
            assert tuple(state[name].shape) == shape
    # Every tensor of the surface's layers has the official name; nothing is left over.
    assert sum("densepose" in name or "decoder" in name for name in state) == 2 * (8 + 4 + 7 + 1)


def test_nano_starts_from_the_trunk_boxes_and_keypoint_layers_of_mask_rcnn():
    method = load_method("densepose-rcnn:nano")
    path = locate(method_card("mask-rcnn"), "nano")
    theirs = load_method("mask-rcnn:nano", path).network.state_dict()
    fresh = {name: tensor.clone() for name, tensor in method.network.state_dict().items()}
    start_from(method, method.variant.recipe.start)
    for name, tensor in method.network.state_dict().items():
        if "densepose_head" in name:
            number = int(name.split("fcn")[1].split(".")[0])
            kind = name.rpartition(".")[2]
            assert torch.equal(tensor, theirs[f"roi_heads.keypoint_head.{2 * number - 2}.{kind}"])
        elif "densepose_predictor" in name:
            assert torch.equal(tensor, fresh[name])
        else:
            assert torch.equal(tensor, theirs[name])


# --- what is learnt -------------------------------------------------------------------------------


def test_maps_are_read_as_by_plain_loops():
    random = np.random.default_rng(0)
    maps = random.normal(size=(3, 4, 7, 7))
    row, channel = random.integers(0, 3, 40), random.integers(0, 4, 40)
    cells = random.uniform(0, 7, (40, 2))
    cells[0] = (6.9, 0.0)
    found = read(*map(torch.from_numpy, (maps, row, cells, channel))).numpy()
    every = read(*map(torch.from_numpy, (maps, row, cells))).numpy()
    for i, (x, y) in enumerate(cells):
        # Beyond the last cell's value there is nothing to blend with.
        own = maps[row[i], channel[i]]
        x, y = min(x, 6.0), min(y, 6.0)
        left, top = min(int(x), 5), min(int(y), 5)
        a, b = x - left, y - top
        expected = (
            (1 - a) * (1 - b) * own[top, left] + a * (1 - b) * own[top, left + 1]
            + (1 - a) * b * own[top + 1, left] + a * b * own[top + 1, left + 1]
        )  # fmt: skip
        assert found[i] == pytest.approx(expected, abs=1e-9)
        assert every[i, channel[i]] == pytest.approx(expected, abs=1e-9)


def test_masks_are_seen_from_a_box_as_by_plain_loops():
    random = np.random.default_rng(1)
    masks = random.integers(0, 15, (2, 256, 256)).astype(np.uint8)
    masks[1] = NOT_DRAWN
    frames = np.array([[10.0, 20, 50, 100], [0, 0, 10, 10]])
    boxes = np.array([[4.0, 30, 60, 90], [0, 0, 30, 30]])
    found = coarse_labels(*map(torch.from_numpy, (masks, frames, boxes)), 14).numpy()
    assert (found[1] == NOT_DRAWN).all()
    for i, j in np.ndindex(14, 14):
        x = boxes[0, 0] + j / 14 * (boxes[0, 2] - boxes[0, 0])
        y = boxes[0, 1] + i / 14 * (boxes[0, 3] - boxes[0, 1])
        column = round((x - 10) / 40 * 255)
        row = round((y - 20) / 80 * 255)
        inside = 0 <= column < 256 and 0 <= row < 256
        assert found[0, i, j] == (masks[0, row, column] if inside else 0)


def test_run_length_codes_become_labels():
    drawn = np.zeros((256, 256), np.uint8)
    drawn[10:20] = 1
    code = rle.encode(np.asfortranarray(drawn))
    labels = mask_labels([[], {**code, "counts": code["counts"].decode()}, *[[]] * 12])
    assert labels[15, 3] == 2
    assert labels.sum() == 2 * drawn.sum()
    assert (mask_labels([]) == NOT_DRAWN).all()


def ideal_maps(masks, points, box, size=32):
    """Maps of one box that answer everything rightly at its points."""
    wanted = coarse_labels(masks, box, box, size).clamp(max=1)
    coarse = 40.0 * torch.stack([wanted == 0, wanted == 1], dim=1)
    fine, u, v = (torch.zeros(1, 25, size, size) for _ in range(3))
    cells = ((points[0, :, :2] - box[:, :2]) / (box[:, 2:] - box[:, :2]) * size).long()
    for (x, y), (_, _, part, pu, pv) in zip(cells.tolist(), points[0].tolist(), strict=True):
        around = np.index_exp[y : y + 2, x : x + 2]
        fine[0, int(part)][around], u[0, int(part)][around], v[0, int(part)][around] = 40.0, pu, pv
    return {"coarse": coarse, "fine": fine, "u": u, "v": v}


def test_the_loss_is_nothing_where_all_is_right_and_counts_what_is_wrong():
    box = torch.tensor([[10.0, 20, 74, 148]])
    points = torch.tensor([[[20.0, 40, 3, 0.25, 0.75], [50, 90, 24, 0.5, 0.125]]])
    masks = torch.zeros(1, 256, 256, dtype=torch.uint8)
    masks[:, :100] = 5
    maps = ideal_maps(masks, points, box)

    def losses(**changed):
        own = {"points": points, "masks": masks, **changed}
        one = {name: torch.eye(3)[i].tolist() for i, name in enumerate(("coarse", "part", "uv"))}
        return {
            name: dense_loss({**maps, **changed.get("maps", {})}, box, own["points"], box,
                             own["masks"], weights).item()
            for name, weights in one.items()
        }  # fmt: skip

    assert max(losses().values()) < 1e-6
    off = losses(maps={"u": maps["u"] + 0.5})
    assert off["uv"] == pytest.approx(2 * 0.5**2 / 2)  # a sum over points, square below 1
    assert off["part"] < 1e-6
    flat = losses(maps={"fine": torch.zeros(1, 25, 32, 32), "coarse": torch.zeros(1, 2, 32, 32)})
    assert flat["part"] == pytest.approx(np.log(25), rel=1e-4)  # a mean over points
    assert flat["coarse"] == pytest.approx(np.log(2), rel=1e-4)
    outside = points.clone()
    outside[..., 0] += 100
    assert losses(points=outside, maps={"u": maps["u"] + 9})["uv"] == 0
    assert losses(points=torch.zeros(1, 2, 5))["part"] == 0
    unknown = torch.full_like(masks, NOT_DRAWN)
    assert losses(masks=unknown, maps={"coarse": -maps["coarse"]})["coarse"] == 0


def test_training_rows_keep_points_and_frames_together(tmp_path, monkeypatch):
    """In a view of the image's own size and place, everything is where it was."""
    method = load_method("densepose-rcnn:nano")
    monkeypatch.setattr(method, "view", SceneView((1.0, 1.0), 0, 0, mirrored=0.0))
    height, width = method.variant.input_size
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.zeros((height, width, 3), np.uint8))
    masks = np.empty(2, dtype=object)
    masks[:] = [[], []]
    truth = {
        "keypoints": np.array([[[29.5, 49.5], [0, 0]], [[199.5, 99.5], [219.5, 109.5]]]),
        "visible": np.array([[True, False], [True, True]]),
        "surface": np.array([[[3, 0.5, 0.25], [0, 0, 0]], [[1, 0.1, 0.2], [24, 0.3, 0.4]]]),
        "masks": masks,
        "unlabelled": np.array([[100.0, 10, 20, 30]]),
    }
    sample = Sample("1", (path,), np.array([[-10.0, 20, 59, 79], [180, 80, 49, 39]]), np.ones(2))
    rows = method.training_rows(sample, truth, np.random.default_rng(0))
    np.testing.assert_allclose(rows["frames"][0, 0], [-10, 20, 50, 100])
    np.testing.assert_allclose(rows["people"][0, 0], [0, 20, 50, 100])
    np.testing.assert_allclose(rows["unlabelled"][0, 0], [100, 10, 120, 40])
    np.testing.assert_allclose(rows["points"][0, 0, 0], [30, 50, 3, 0.5, 0.25], atol=1e-5)
    np.testing.assert_allclose(rows["points"][0, 1, 1], [220, 110, 24, 0.3, 0.4], atol=1e-5)
    assert (rows["points"][0, :, 2:] == 0).all()
    assert rows["points"].shape[1] == MOST_PEOPLE
    assert (rows["masks"][0, :2] == NOT_DRAWN).all()
    assert "joints" not in rows  # of a network that does not learn them
    monkeypatch.setattr(method.network, "joints", 2)
    joints = np.array([[[9.5, 39.5, 1], [0, 0, 0]], [[189.5, 89.5, 1], [500, 90, 1]]])
    theirs = method.training_rows(sample, {**truth, "joints": joints}, np.random.default_rng(0))
    expected = [[[10, 40, 1], [0.5, 0.5, 0]], [[190, 90, 1], [500.5, 90.5, 0]]]
    np.testing.assert_allclose(theirs.pop("joints")[0, :2], expected, atol=1e-4)
    assert theirs.keys() == rows.keys()
    assert all((theirs[name] == rows[name]).all() for name in rows)
    with pytest.raises(SampleError, match="0 joints are annotated, densepose-rcnn:nano learns 2"):
        method.training_rows(sample, {**truth, "joints": np.empty((2, 0, 3))}, None)


# --- what is answered -----------------------------------------------------------------------------


def test_a_surface_is_read_at_the_boxes_resolution():
    maps = {name: torch.zeros(channels, 8, 8) for name, channels in
            (("coarse", 2), ("fine", 25), ("u", 25), ("v", 25))}  # fmt: skip
    maps["coarse"][0], maps["coarse"][1, :, 4:] = 0.5, 1  # the right half is a body
    maps["fine"][7] = 1
    maps["u"][7], maps["v"][7], maps["u"][3] = 0.5, 1.5, 0.9
    found = surface_in(maps, np.array([3.2, 4.7, 16.9, 24.2]))
    assert found.shape == (24, 16, 3)
    assert (found[:, :8] == 0).all()
    assert (found[:, 8:] == [7, 127, 255]).all()
    assert surface_in(maps, np.array([0, 0, 0.4, 0.2])).shape == (1, 1, 3)
    random = np.random.default_rng(0).integers(0, 25, (5, 6, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode_iuv(encoded(random)), random)


def test_an_ideal_network_finds_its_people(tmp_path, monkeypatch):
    """Boxes come back in image pixels, and what their maps say fills them."""
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.zeros((120, 200, 3), np.uint8))
    method = load_method("densepose-rcnn:nano")
    sample = Sample("1", (path,))
    prepared = method.prepare(sample)
    scale = torch.tensor(np.tile(prepared.context, 2), dtype=torch.float32)
    boxes = torch.tensor([[20.0, 10, 70, 110], [110, 30, 190, 100]]) * scale
    monkeypatch.setattr(
        method, "detected", lambda features, answers, size: (boxes, torch.tensor([0.9, 0.6]))
    )
    maps = {name: torch.zeros(2, channels, 56, 56) for name, channels in
            (("coarse", 2), ("fine", 25), ("u", 25), ("v", 25))}  # fmt: skip
    maps["coarse"][:, 1] = 1
    maps["fine"][0, 2], maps["fine"][1, 24] = 1, 1
    maps["u"][:, 2], maps["v"][:, 24] = 0.2, 0.4
    monkeypatch.setattr(method.network, "surface_maps", lambda pooled: maps)
    with torch.inference_mode():
        outputs = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
    arrays = {name: value.numpy() for name, value in outputs.items()}
    rows = method.decode(arrays, Prepared({}, prepared.context), sample)
    people = Predictions.from_samples(DENSE_POSE, [("1", rows)])
    np.testing.assert_allclose(people.columns["box"], [[20, 10, 50, 100], [110, 30, 80, 70]],
                               atol=1e-3)  # fmt: skip
    for box, content, expected in zip(people.columns["box"], people.columns["iuv"],
                                      ([2, 51, 0], [24, 0, 102]), strict=True):  # fmt: skip
        iuv = decode_iuv(content)
        assert iuv.shape[:2] == iuv_size(box)
        assert (iuv == expected).all()
    nobody = method.decode({**arrays, "scores": 0 * arrays["scores"]}, prepared, sample)
    assert len(Predictions.from_samples(DENSE_POSE, [("1", nobody)]).columns["box"]) == 0


# --- on the embedded world ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A few pictures of the validation split."""
    return embedded_pictures(tmp_path_factory.mktemp("data") / "densepose", 12)


def test_the_loss_falls_on_embedded_people(embedded):
    method = load_method("densepose-rcnn:nano")
    pairs = BENCHMARK.training_samples(embedded, None)[:2]
    views = [method.training_rows(*pair, np.random.default_rng(0)) for pair in pairs]
    rows = {k: torch.from_numpy(np.concatenate([v[k] for v in views])) for k in views[0]}
    optimiser = torch.optim.Adam(method.network.train().parameters(), lr=0.002)
    torch.manual_seed(0)
    losses = []
    for _ in range(8):
        losses.append(method.loss(rows))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert all(torch.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.7 * losses[0]


def scored(dataset, method):
    protocol, found = BENCHMARK.protocol(), []
    for sample in BENCHMARK.samples(dataset, protocol):
        prepared = method.prepare(sample)
        with torch.inference_mode():
            outputs = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
        arrays = {name: value.numpy() for name, value in outputs.items()}
        found.append((sample.id, method.decode(arrays, prepared, sample)))
    predictions = Predictions.from_samples(DENSE_POSE, found)
    return BENCHMARK.compute(BENCHMARK.statistics(dataset, predictions, protocol), protocol)


def test_the_shipped_weights_know_the_embedded_body(embedded):
    path = locate(method_card("densepose-rcnn"), "nano")
    trained = scored(embedded, load_method("densepose-rcnn:nano", path))
    untrained = scored(embedded, load_method("densepose-rcnn:nano"))
    assert max(untrained[f"{mode}/AP50"] for mode in ("gps", "gpsm", "iou")) < 2
    assert trained["gps/AP50"] > 10
    assert trained["gpsm/AP"] > 8
    assert trained["iou/AP50"] > 70
