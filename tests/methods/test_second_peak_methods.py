"""MSPN and CPN: the official networks' counts and names, boxes, labels, decoding and losses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from harness.api import PrerequisiteError, Sample, SampleError
from harness.loading import load_method
from harness.profiling import profile
from methods.parts.blurred import blurred_points, hard_joints_mse, second_peak

# variant: parameters, multiply-adds in 10^9, measured on the official (MSPN) or public (CPN) code.
MEASURED = {
    "mspn:1stage-256x192": (25_141_708, 5.073),
    "mspn:2stage-256x192": (56_867_032, 11.263),
    "mspn:3stage-256x192": (88_592_356, 17.453),
    "mspn:4stage-256x192": (120_317_680, 23.643),
    "mspn:4stage-384x288": (120_317_680, 53.197),
    "cpn:r50-256x192": (27_406_826, 7.316),
    "cpn:r50-384x288": (27_406_826, 16.460),
    "cpn:r101-384x288": (46_398_954, 24.642),
}
# variant: tensors, parameter tensors, (Conv2d, BatchNorm2d), parameters per block
LAYERS = {
    "mspn:1stage-256x192": (476, 272, (68, 68), {"top": 9_600, "stage0": 25_132_108}),
    "mspn:4stage-256x192": (
        2072, 1184, (296, 296),
        {"top": 9_600, "stage0": 31_725_324, "stage1": 31_725_324, "stage2": 31_725_324,
         "stage3": 25_132_108},
    ),
    "cpn:r50-256x192": (
        582, 291, (97, 97),
        {"resnet": 23_508_032, "global_net": 1_604_232, "refine_net": 2_294_562},
    ),
}  # fmt: skip
OFFICIAL_KEYS = {
    "mspn:2stage-256x192": {
        "top.conv.conv.weight": (64, 3, 7, 7),
        "stage0.downsample.layer1.0.conv_bn_relu1.conv.weight": (64, 64, 1, 1),
        "stage0.downsample.layer1.0.downsample.bn.running_mean": (256,),
        "stage0.upsample.up1.u_skip.conv.weight": (256, 2048, 1, 1),
        "stage0.upsample.up1.skip1.conv.bias": (2048,),
        "stage0.upsample.up4.cross_conv.conv.weight": (64, 256, 1, 1),
        "stage1.upsample.up2.up_conv.conv.weight": (256, 256, 1, 1),
        "stage1.upsample.up4.res_conv2.conv.weight": (17, 256, 3, 3),
    },
    "cpn:r50-256x192": {
        "resnet.layer1.0.conv1.weight": (64, 64, 1, 1),
        "global_net.laterals.0.0.weight": (256, 2048, 1, 1),
        "global_net.upsamples.0.1.weight": (256, 256, 1, 1),
        "global_net.predict.0.3.weight": (17, 256, 3, 3),
        "global_net.predict.0.5.weight": (17,),
        "refine_net.cascade.0.0.conv1.weight": (128, 256, 1, 1),
        "refine_net.final_predict.0.conv1.weight": (128, 1024, 1, 1),
    },
}


def weightless(spec):
    with torch.device("meta"):
        return load_method(spec)


@pytest.mark.parametrize("spec", MEASURED)
def test_cost_is_the_measured_one(spec):
    found = profile(weightless(spec), latency=False)
    assert found.parameters == found.registered_parameters == MEASURED[spec][0]
    assert round(found.macs / 1e9, 3) == MEASURED[spec][1]
    assert found.paper_gflops == pytest.approx(found.macs / 2**30)


@pytest.mark.parametrize("spec", LAYERS)
def test_tensors_layers_and_blocks(spec):
    tensors, parameter_tensors, layers, blocks = LAYERS[spec]
    network = weightless(spec).network
    assert len(network.state_dict()) == tensors
    assert len(list(network.parameters())) == parameter_tensors
    kinds = [type(module).__name__ for module in network.modules()]
    assert tuple(map(kinds.count, ("Conv2d", "BatchNorm2d"))) == layers
    found = {name: sum(p.numel() for p in b.parameters()) for name, b in network.named_children()}
    assert found == blocks


@pytest.mark.parametrize("spec", OFFICIAL_KEYS)
def test_tensors_have_the_official_names(spec):
    state = weightless(spec).network.state_dict()
    for name, shape in OFFICIAL_KEYS[spec].items():
        assert tuple(state[name].shape) == shape


def mmpose_name(name):
    """Rename an official MSPN tensor as mmpose 0.x names it; None for what mmpose lacks."""
    parts = name.split(".")
    if parts[-2] == "conv" and parts[-1] == "bias":
        return None
    if parts[0] == "top":
        return "backbone.top.top.0." + ".".join(parts[2:])
    stage = int(parts[0].removeprefix("stage"))
    if parts[3].startswith("res_conv"):
        head, layer = 4 * stage + int(parts[2][2]) - 1, int(parts[3][-1]) - 1
        return f"keypoint_head.predict_layers.{head}.conv_layers.{layer}." + ".".join(parts[4:])
    renamed = {"u_skip": "in_skip", "skip1": "out_skip1", "skip2": "out_skip2"}
    rest = [renamed.get(p, p.replace("conv_bn_relu", "conv")) for p in parts[1:]]
    return f"backbone.multi_stage_mspn.{stage}." + ".".join(rest)


@pytest.mark.parametrize("head", ["keypoint_head.", "head."])
def test_mmpose_weights_answer_on_bgr_as_they_did_on_rgb(head):
    method = load_method("mspn:nano")
    official = method.network.state_dict()
    biases = [name for name in official if name.endswith("conv.bias")]
    for name in biases:
        official[name].zero_()
    foreign = {mmpose_name(name): tensor for name, tensor in official.items()}
    del foreign[None]
    foreign = {name.replace("keypoint_head.", head): t for name, t in foreign.items()}
    foreign["data_preprocessor.mean"] = torch.zeros(3)
    found = method.translate_weights(foreign)
    assert found.keys() == official.keys()
    rgb = torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = method.network(rgb)[-1].clone()
        method.network.load_state_dict(found)
        torch.testing.assert_close(method.network(rgb.flip(1))[-1], wanted)


def test_weights_of_the_tensorflow_network_are_refused():
    with pytest.raises(PrerequisiteError, match="tf-cpn"):
        load_method("cpn:nano").translate_weights({"resnet_v1_50/conv1/weights": torch.zeros(1)})


def slowly(heatmap, kernel):
    """The official test code's rule, one map at a time."""
    border, (height, width) = 10, heatmap.shape
    framed = np.zeros((height + 2 * border, width + 2 * border))
    framed[border:-border, border:-border] = heatmap
    framed = cv2.GaussianBlur(framed, (kernel, kernel), 0)
    y, x = np.unravel_index(framed.argmax(), framed.shape)
    framed[y, x] = 0
    second_y, second_x = np.unravel_index(framed.argmax(), framed.shape)
    length = np.hypot(second_x - x, second_y - y)
    x, y = (first - border + 0.25 * (second - first) / length
            for first, second in ((x, second_x), (y, second_y)))  # fmt: skip
    x, y = max(0, min(x, width - 1)), max(0, min(y, height - 1))
    return x, y, heatmap[round(y), round(x)] / 255 + 0.5


@pytest.mark.parametrize("kernel", [5, 9, 21])
def test_decoding_is_the_official_rule(kernel):
    random = np.random.default_rng(kernel)
    maps = random.uniform(-20, 255, (30, 17, 16, 12))
    points, scores = second_peak(torch.from_numpy(maps), kernel)
    expected = np.array([[slowly(joint, kernel) for joint in row] for row in maps])
    np.testing.assert_allclose(points, expected[..., :2], atol=1e-9)
    np.testing.assert_allclose(scores, expected[..., 2], atol=1e-9)


@pytest.mark.parametrize("kernel", [5, 7, 9, 11, 15])
def test_labels_are_blurred_points_of_peak_255(kernel):
    random = np.random.default_rng(kernel)
    joints = random.uniform(-5, 70, (1, 17, 2))
    found = blurred_points(torch.from_numpy(joints), (16, 12), 4, kernel)[0].numpy()
    for (x, y), label in zip(joints[0] // 4, found, strict=True):
        expected = np.zeros((16, 12), np.float32)
        if 0 <= x < 12 and 0 <= y < 16:
            expected[int(y), int(x)] = 1
            expected = cv2.GaussianBlur(expected, (kernel, kernel), 0)
            expected *= 255 / expected.max()
        np.testing.assert_allclose(label, expected, rtol=1e-5, atol=1e-4)


def test_hardest_joints_are_mined():
    predicted, labels = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
    labels *= torch.tensor([1.0, 2, 3, 10])[:, None, None]
    seen = torch.tensor([[1.0, 1, 1, 0]])
    assert hard_joints_mse(predicted, labels, seen, 2).item() == (9 + 4) / 2
    assert hard_joints_mse(predicted, labels, seen, 0).item() == (9 + 4 + 1) / 4


def test_loss_of_mspn_is_the_official_one():
    """20.102652 is the official ``_calculate_loss`` on the maps of test_official_outputs."""
    from weights_recipe import recipe_images, recipe_state

    method = weightless("mspn:2stage-256x192")
    network = method.network
    network.load_state_dict(recipe_state(network.state_dict()), assign=True)
    torch.manual_seed(0)
    labels = torch.rand(1, 5, 17, 16, 8)
    method.labels = lambda _: labels.unbind(dim=1)
    method.images = lambda crops: crops
    seen = (torch.arange(17) < 12).float()[None]
    with torch.inference_mode():
        images = recipe_images(64, 32)
        loss = method.loss({"crops": images, "joints": None, "weights": seen})
    assert loss.item() == pytest.approx(20.102652, rel=1e-5)


def test_losses_of_cpn_by_hand():
    method = load_method("cpn:nano")
    maps = [torch.full((1, 17, 32, 24), float(i)) for i in range(5)]
    method.network.forward = lambda images: maps
    rows = {
        "crops": torch.zeros(1, 128, 96, 3, dtype=torch.uint8),
        "joints": torch.full((1, 17, 2), 50.0),
        "weights": (torch.arange(17) < 10).float()[None],
    }
    size = (32, 24)
    expected = 0.0
    for i, kernel in enumerate((15, 11, 9, 7)):
        label = blurred_points(rows["joints"], size, 4, kernel)
        label[:, 10:] = 0
        expected += (i - label).square().mean().item() / 2
    fine = blurred_points(rows["joints"], size, 4, 7)
    expected += (4 - fine).square().mean(dim=(2, 3))[0, :8].mean().item()
    assert method.loss(rows).item() == pytest.approx(expected, rel=1e-5)


def test_boxes_of_mspn_grow_before_they_take_the_aspect():
    method = weightless("mspn:1stage-256x192")
    sample = Sample("1", (), np.array([[10.0, 20, 100, 200], [0, 0, 300, 100]]), np.ones(2))
    regions = method.regions(sample)
    assert regions.centers.tolist() == [[60, 120], [150, 50]]
    tall, wide = 200 * 1.135, 300 * 1.09
    expected = np.array([[tall * 0.75, tall], [wide, wide / 0.75]]) / 200
    assert regions.sizes == pytest.approx(expected, rel=1e-6)


def official_corners(box, height, width, frame):
    """pytorch-cpn's augmentationCropImage at test time, x0, y0, x1, y1."""
    x0, y0, x1, y1 = (np.float32(v) for v in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    center_x, center_y = (x0 + x1) / 2 + frame, (y0 + y1) / 2 + frame
    crop_width, crop_height = (x1 - x0) * 1.2, (y1 - y0) * 1.3
    if crop_height / height > crop_width / width:
        size, short = crop_height, height
    else:
        size, short = crop_width, width
    return [
        int(center_x - size / 2.0 / short * width) - frame,
        int(center_y - size / 2.0 / short * height) - frame,
        int(center_x + size / 2.0 / short * width) - frame,
        int(center_y + size / 2.0 / short * height) - frame,
    ]


def test_boxes_of_cpn_have_the_official_whole_pixel_corners():
    random = np.random.default_rng(0)
    method = weightless("cpn:r50-256x192")
    boxes = np.concatenate([random.uniform(0, 200, (200, 2)), random.uniform(5, 200, (200, 2))], 1)
    boxes[:50] = boxes[:50].round()
    regions = method.regions(Sample("1", (), boxes, np.ones(200)))
    half = regions.sizes.astype(float) * 100
    found = np.concatenate([regions.centers - half, regions.centers + half], axis=1)
    assert np.abs(found - found.round()).max() < 1e-3
    expected = np.array([official_corners(box, 256, 192, 640) for box in boxes])
    wrong = (found.round() != expected).any(axis=1)
    assert wrong.mean() <= 0.02  # float32 sums within 1e-4 of a whole number
    assert np.abs(found.round() - expected).max() <= 1
    with pytest.raises(SampleError, match="no area"):
        method.regions(Sample("1", (), np.array([[0.0, 0, 0, 5]]), np.ones(1)))


def test_border_of_cpn_is_the_mean_colour(tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.full((50, 50, 3), 200, np.uint8))
    method = load_method("cpn:nano")
    crops = method.prepare(Sample("1", (path,), np.array([[-40.0, -40, 60, 60]]))).rows["crops"]
    assert crops[0, 0, 0].tolist() == [123, 116, 103]
    assert crops[0, -1, -1].tolist() == [200, 200, 200]
    expected = np.array([200, 200, 200]) / 255 - np.array([122.7717, 115.9465, 102.9801]) / 255
    images = method.images(torch.from_numpy(crops))
    assert images[0, :, -1, -1].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("spec", ["mspn:nano", "cpn:nano"])
def test_person_score_is_the_mean_of_all_joints_and_nobody_is_suppressed(spec, tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
    method = load_method(spec)
    box = [10.0, 10, 50, 60]
    sample = Sample("1", (path,), np.array([box, box]), np.array([0.5, 1.0]))
    prepared = method.prepare(sample)
    with torch.inference_mode():
        outputs = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
    rows = method.decode({k: v.numpy() for k, v in outputs.items()}, prepared, sample)
    assert len(rows["score"]) == 2
    assert rows["score"] == pytest.approx(rows["keypoint_scores"].mean(axis=1) * (0.5, 1.0))


def test_a_thin_box_still_has_a_crop(tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.zeros((20, 20, 3), np.uint8))
    method = load_method("cpn:nano")
    rows = method.prepare(Sample("1", (path,), np.array([[3.2, 3.2, 0.1, 0.1]]), np.ones(1)))
    assert len(rows) == 1
