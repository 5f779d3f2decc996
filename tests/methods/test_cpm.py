"""Convolutional Pose Machines: the official networks' counts and names, views and decoding."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from harness.api import PrerequisiteError, Sample
from harness.loading import load_method
from harness.profiling import profile
from methods.single_person.cpm import VIEWS_OF_BOX, VIEWS_OF_SCALE

# variant: parameters, multiply-adds in 10^9 (measured on the official networks), channels of maps
MEASURED = {
    "paper-368x368": (31_219_866, 175.438, 15),
    "vgg-368x368": (29_852_058, 88.420, 15),
    "flic-368x368": (21_323_816, 154.500, 10),
}
# Caffe's layers and the shapes of their blobs.
OFFICIAL_KEYS = {
    "paper-368x368": {
        "conv1_stage1": (128, 3, 9, 9),
        "conv4_stage2": (32, 128, 5, 5),
        "conv7_stage1": (15, 512, 1, 1),
        "conv1_stage3": (32, 128, 5, 5),
        "Mconv1_stage2": (128, 48, 11, 11),
        "Mconv5_stage6": (15, 128, 1, 1),
    },
    "vgg-368x368": {
        "conv1_1": (64, 3, 3, 3),
        "conv4_2": (512, 512, 3, 3),
        "conv4_7_CPM": (128, 256, 3, 3),
        "conv5_2_CPM": (15, 512, 1, 1),
        "Mconv1_stage2": (128, 144, 7, 7),
        "Mconv7_stage6": (15, 128, 1, 1),
    },
}


def weightless(variant):
    with torch.device("meta"):
        return load_method(f"cpm:{variant}")


@pytest.fixture
def grey(tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.full((240, 320, 3), 100, np.uint8))
    return path


@pytest.mark.parametrize("variant", MEASURED)
def test_cost_and_shape_are_the_measured_ones(variant):
    parameters, macs, channels = MEASURED[variant]
    method = weightless(variant)
    found = profile(method, latency=False)
    assert found.parameters == found.registered_parameters == parameters
    assert round(found.macs / 1e9, 3) == macs
    assert found.paper_gflops == pytest.approx(found.macs / 2**30)
    beliefs = method.network(torch.zeros(1, 4, 368, 368, device="meta"))
    assert len(beliefs) == (4 if variant.startswith("flic") else 6)
    assert {tuple(maps.shape) for maps in beliefs} == {(1, channels, 46, 46)}


@pytest.mark.parametrize("variant", OFFICIAL_KEYS)
def test_layers_have_the_official_names(variant):
    state = weightless(variant).network.state_dict()
    for name, shape in OFFICIAL_KEYS[variant].items():
        assert tuple(state[f"{name}.weight"].shape) == shape
        assert tuple(state[f"{name}.bias"].shape) == shape[:1]


def test_nano_is_small():
    assert profile(load_method("cpm:nano"), latency=False).parameters < 400_000


def test_weights_of_mmpose_are_refused():
    with pytest.raises(PrerequisiteError, match="mmpose's CPM"):
        load_method("cpm:nano").translate_weights({"backbone.stem.0.conv.weight": torch.zeros(1)})


@pytest.mark.parametrize("known", ["scale", "box"])
def test_views_follow_the_official_search(known, grey):
    method = load_method("cpm:nano")
    width, height = method.input_size
    middle = (width / 2 - 1, height / 2 - 1)
    center, scale = np.array([[150.0, 110.0]]), np.array([0.5])
    if known == "scale":
        sample = Sample("1", (grey,), inputs={"center": center, "scale": scale})
        # The image is scaled by 41/35 / scale x 0.7, 0.8 ... 1.3, for views of 368 pixels.
        scales = height / 368 * 41 / 35 / 0.5 * np.arange(0.7, 1.31, 0.1)
        assert len(VIEWS_OF_SCALE) == 7
    else:
        sample = Sample("1", (grey,), np.array([[130.0, 60, 40, 100]]), np.ones(1))
        # From log2(lowest) by sixths of an octave to log2(highest), as in applyModel.
        lowest, highest = height / (100 * 1.2 * 1.2), height / (100 * 1.2 * 0.8)
        scales = 2 ** np.arange(np.log2(lowest), np.log2(highest), 1 / 6)
        assert len(VIEWS_OF_BOX) == 4
    matrices, size = method.prepare(sample).context
    assert size == (320, 240)
    assert matrices[0, :, 0, 0] == pytest.approx(scales, rel=1e-6)
    assert matrices[0] @ (150, 110, 1) == pytest.approx(np.full((len(scales), 2), middle))


def test_outside_of_the_image_is_zero_after_normalisation(grey):
    method = load_method("cpm:nano")
    prepared = method.prepare(Sample("1", (grey,), np.array([[-60.0, -60, 100, 150]])))
    images = method.images(torch.from_numpy(prepared.rows["crops"]))
    assert images[0, :3, 0, 0].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    width, height = method.input_size
    inside = method.images(torch.full((1, height, width, 3), 100, dtype=torch.uint8))
    assert inside[0, :3].mean().item() == pytest.approx(100 / 256 - 0.5)
    assert images.shape[1:] == (4, height, width)
    row, column = height // 2 - 1, width // 2 - 1
    assert images[0, 3].argmax().item() == row * width + column
    assert images[0, 3, row, column + 21].item() == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("known", ["scale", "box"])
def test_ideal_maps_of_all_views_decode_to_their_joints(known, grey):
    method = load_method("cpm:nano")
    random = np.random.default_rng(0)
    if known == "scale":
        inputs = {"center": np.array([[160.0, 120.0]]), "scale": np.array([0.6])}
        sample = Sample("1", (grey,), inputs=inputs)
    else:
        sample = Sample("1", (grey,), np.array([[110.0, 50, 100, 140]]), np.ones(1))
    prepared = method.prepare(sample)
    matrices, _ = prepared.context
    count = len(method.skeleton)
    joints = random.uniform((135, 85), (185, 155), (count, 2))
    homogeneous = np.concatenate([joints, np.ones((count, 1))], axis=1)
    places = torch.from_numpy(homogeneous @ matrices[0].transpose(0, 2, 1)).float()
    maps = method.targets(places, torch.ones(places.shape[:2]))[:, :-1]
    rows = method.decode({"maps": maps.numpy()}, prepared, sample)
    assert rows["keypoints"].shape == (1, count, 2)
    assert (rows["keypoints"] == rows["keypoints"].round()).all()
    pixel = 1 / matrices[0, :, 0, 0].min()
    assert np.abs(rows["keypoints"][0] - joints).max() <= 2 * pixel + 1


def test_targets_are_gaussians_and_their_background():
    method = load_method("cpm:nano")
    joints = torch.full((1, 17, 2), 8 * 4 + 3.5)
    joints[0, 1] = torch.tensor([43.5, 3.5])
    weights = torch.ones(1, 17)
    weights[0, 5] = 0
    maps = method.targets(joints, weights)[0]
    assert maps.shape == (18, *method.grid[::-1])
    assert maps[0, 4, 4] == 1
    assert maps[0, 4, 5].item() == pytest.approx(np.exp(-(8**2) / (2 * 7**2)))
    assert maps[1, 0, 5].item() == 1
    assert not maps[5].any()
    torch.testing.assert_close(maps[-1], 1 - maps[:-1].amax(dim=0))


def test_later_stages_see_one_trunk():
    """Stages 3 on take the third pool of stage 2's trunk, stage 1 has its own."""
    method = load_method("cpm:nano")
    network = method.network
    last = network(torch.rand(1, 4, 64, 48, generator=torch.Generator().manual_seed(0)))[-1]
    last.sum().backward()
    for name in ("conv1_stage1", "conv1_stage2", "conv1_stage3", "conv7_stage1"):
        assert network.get_submodule(name).weight.grad.abs().sum() > 0


def test_every_stage_is_supervised():
    method = load_method("cpm:nano")
    width, height = method.input_size
    rows = {
        "crops": torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8),
        "joints": torch.rand(2, 17, 2) * 90,
        "weights": torch.ones(2, 17),
    }
    beliefs = [torch.zeros(2, 18, *method.grid[::-1], requires_grad=True) for _ in range(4)]
    method.network.forward = lambda images: beliefs
    loss = method.loss(rows)
    targets = method.targets(rows["joints"], rows["weights"])
    assert loss.item() == pytest.approx(4 * targets.square().sum().item() / (2 * 2), rel=1e-5)
    loss.backward()
    assert all(maps.grad.abs().sum() > 0 for maps in beliefs)
