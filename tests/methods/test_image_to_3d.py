"""Integral, compositional and volumetric regression: networks, volumes, crops and bones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.protocols.h36m import H36M
from benchmarks.world import h36m as world
from harness.api import Prepared, Sample, SampleError
from harness.conformance import conformance
from harness.loading import load_method
from harness.profiling import profile
from harness.registry import method_card
from harness.weights import load_into, locate, read_state, start_from
from methods.image_to_3d.compositional import PARENTS, pairs, paths
from methods.image_to_3d.integral import SHARPNESS
from methods.image_to_3d.occlusion import blobs, occlude, paste
from methods.parts.camera import project
from methods.parts.volume import argmax_3d, gaussian_volumes, soft_argmax_3d

# parameters, multiply-adds in 10^9, paper convention in 2^30
MEASURED = {
    "integral:r50-256x256": (34_291_392, 8.425, 13.097),
    "integral:r152-256x256": (68_927_168, 18.123, 22.128),
    "compositional:r50-256x256": (23_618_678, 5.338, 4.972),
}


@pytest.mark.parametrize("spec", MEASURED)
def test_cost_is_the_measured_one(spec):
    with torch.device("meta"):
        method = load_method(spec)
    found = profile(method, latency=False)
    counts = (found.parameters, round(found.macs / 1e9, 3), round(found.paper_gflops, 3))
    assert counts == MEASURED[spec]
    assert found.registered_parameters == found.parameters


def test_tensors_have_the_official_names():
    with torch.device("meta"):
        state = load_method("integral:r50-256x256").network.state_dict()
        direct = load_method("compositional:r50-256x256-direct").network.state_dict()
    assert len(state) == 338
    assert state["head.features.0.weight"].shape == (2048, 256, 4, 4)
    assert state["head.features.9.weight"].shape == (18 * 64, 256, 1, 1)
    assert "backbone.layer1.0.conv1.weight" in state
    assert direct["head.fc.weight"].shape == (54, 2048)


# --- volumes --------------------------------------------------------------------------------------

SIZE = (6, 8, 10)  # depth, height, width


def test_one_voxel_is_read_by_its_lower_corner():
    volume = torch.full((1, 1, *SIZE), -1e4)
    volume[0, 0, 2, 5, 7] = 1e4
    expected = [7 / 10 - 0.5, 5 / 8 - 0.5, 2 / 6 - 0.5]
    assert soft_argmax_3d(volume)[0, 0].tolist() == pytest.approx(expected)
    assert argmax_3d(volume)[0, 0].tolist() == pytest.approx(expected)


def test_an_even_volume_is_read_in_its_middle():
    found = soft_argmax_3d(torch.zeros(2, 3, *SIZE))
    expected = torch.tensor([4.5 / 10, 3.5 / 8, 2.5 / 6]) - 0.5
    assert torch.allclose(found, expected.expand(2, 3, 3), atol=1e-6)


@given(st.integers(0, 10_000))
def test_expectation_of_a_separable_volume_is_that_of_its_sides(seed):
    """A sum of three lines has a product of softmaxes: each side's mean by itself."""
    random = torch.Generator().manual_seed(seed)
    z, y, x = (torch.randn(n, generator=random, dtype=torch.float64) for n in SIZE)
    volume = z[:, None, None] + y[:, None] + x
    means = [(line.softmax(0) * torch.arange(len(line))).sum() / len(line) - 0.5
             for line in (x, y, z)]  # fmt: skip
    assert torch.allclose(soft_argmax_3d(volume[None, None])[0, 0], torch.stack(means))


@given(st.tuples(*[st.floats(-0.3, 0.25)] * 3))
def test_a_drawn_joint_is_read_back(place):
    """A Gaussian of likelihood, far from the border, has its mean where it was drawn."""
    place = torch.tensor([[place]], dtype=torch.float64)
    drawn = gaussian_volumes(place, (40, 40, 40), 1.5)
    assert torch.allclose(soft_argmax_3d((drawn + 1e-30).log()), place, atol=1e-5)
    assert (argmax_3d(drawn) - place).abs().max() <= 0.5 / 40 + 1e-9


# --- bones ----------------------------------------------------------------------------------------


def test_bones_make_joints_and_joints_bones():
    joints = np.random.default_rng(0).normal(size=(18, 3))
    bones = np.array([joints[0] if k == p else joints[p] - joints[k]
                      for k, p in enumerate(PARENTS)])  # fmt: skip
    np.testing.assert_allclose(paths() @ bones, joints, atol=1e-12)


def test_pairs_of_the_four_losses():
    assert len(pairs("joint")) == len(pairs("bone")) == 17
    assert set(pairs("both")) == set(pairs("joint")) | set(pairs("bone"))
    assert len(pairs("all")) == 18 * 17 // 2
    assert all(PARENTS[u] == v for u, v in pairs("bone"))


# --- crops ----------------------------------------------------------------------------------------

CAMERA = np.array([[400.0, 0, 192], [0, 400, 160], [0, 0, 1]])


@pytest.fixture
def person(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), np.full((320, 384, 3), 90, np.uint8))
    joints = np.random.default_rng(0).normal((100, -50, 4000), 250, (1, 17, 3))
    pixels = project(joints, CAMERA)
    low, high = pixels[0].min(axis=0), pixels[0].max(axis=0)
    sample = Sample(
        "1", (str(tmp_path / "a.png"),), np.concatenate([low, high - low])[None], np.ones(1),
        {"camera": CAMERA, "root_depth": joints[:, 0, 2]},
    )  # fmt: skip
    return sample, {"joints": joints}


@pytest.mark.parametrize("spec", ["integral:nano", "integral:r50-384x288"])
def test_true_places_decode_to_the_true_joints(person, spec):
    """Without augmentation, what is learned is what decodes to the truth."""
    sample, truth = person
    with torch.device("meta"):
        method = load_method(spec)
    method.scaling = method.rotation = method.colour = 0.0
    for seed in range(9):
        rows = method.training_rows(sample, truth, np.random.default_rng(seed))
        if np.random.default_rng(seed).random(3)[2] >= 0.5:  # not mirrored
            break
    regions = method.regions(sample)
    found = method.decode({"places": rows["places"]}, Prepared({}, regions), sample)["joints"]
    np.testing.assert_allclose(found, truth["joints"], atol=0.05)
    middle = rows["places"][:, [11, 14]].mean(axis=1)
    np.testing.assert_allclose(rows["places"][:, 17], middle, atol=1e-6)


def test_without_a_depth_of_the_pelvis_there_is_no_crop(person):
    sample, _ = person
    with pytest.raises(SampleError, match="depth of the pelvis"):
        load_method("sarandi:nano").prepare(Sample("1", sample.images, sample.boxes))


# --- where training starts ------------------------------------------------------------------------


def started(spec):
    method = load_method(spec)
    start_from(method, "simplebaseline:nano")
    return method


@pytest.mark.parametrize(("spec", "sharpness"), [("integral:nano", SHARPNESS),
                                                 ("integral:nano-h1", 1.0)])  # fmt: skip
def test_training_starts_from_the_heat_maps_of_simplebaseline(spec, sharpness):
    """Each joint's volume is its heat map at every depth; the spine's is of what is around it."""
    method, known = started(spec), load_method("simplebaseline:nano")
    load_into(known, locate(method_card("simplebaseline"), "nano"))
    rgb = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        volumes = method.volumes(method.network.eval()(rgb))
        maps = dict(zip(known.skeleton.joints, known.network(rgb.flip(1)).unbind(1), strict=True))
    for joint, same in (("left_knee", ["left_knee"]), ("head", ["head_top"]),
                        ("spine", ["pelvis", "thorax"])):  # fmt: skip
        volume = volumes[:, method.skeleton.joints.index(joint)]
        expected = sharpness * torch.stack([maps[name] for name in same]).mean(dim=0)
        assert torch.allclose(volume, expected[:, None].expand_as(volume), atol=1e-4)


@pytest.mark.parametrize("name", ["compositional", "sarandi"])
def test_training_starts_from_the_trunk_of_simplebaseline(name):
    trunk = started(f"{name}:nano").network.backbone.state_dict()
    other = read_state(locate(method_card("simplebaseline"), "nano"))
    assert torch.equal(trunk["conv1.weight"], other["conv1.weight"].flip(1))
    assert all(torch.equal(trunk[key], other[key]) for key in trunk if key != "conv1.weight")


# --- occlusion ------------------------------------------------------------------------------------


def test_objects_are_blended_and_cut_off_at_the_border():
    image = np.zeros((20, 30, 3), np.uint8)
    thing = np.full((6, 6, 4), 200, np.uint8)
    thing[..., 3] = 255
    paste(image, thing, np.array([0.0, 10.0]))
    assert (image[7:13, :3] == 200).all()
    assert image.sum() == 6 * 3 * 3 * 200
    thing[..., 3] = 0
    paste(image, thing, np.array([15.0, 10.0]))
    paste(image, thing, np.array([-50.0, 10.0]))
    assert image.sum() == 6 * 3 * 3 * 200


def test_occlusion_leaves_the_original_alone():
    random = np.random.default_rng(0)
    image = np.full((64, 64, 3), 128, np.uint8)
    hidden = occlude(image, blobs(5, random), random)
    assert (image == 128).all()
    assert 0 < (hidden != 128).any(axis=-1).mean() < 1


@pytest.mark.parametrize("name", ["integral", "compositional", "sarandi"])
def test_nano_variants_keep_every_promise(name):
    assert not [check for check in conformance(f"{name}:nano") if check.state == "fail"]


@pytest.mark.parametrize("strategy", ["h1", "h2", "i1", "i2"])
def test_every_strategy_has_its_loss(person, strategy):
    sample, truth = person
    method = load_method(f"integral:nano-{strategy}")
    rows = method.training_rows(sample, truth, np.random.default_rng(0))
    loss = method.loss({name: torch.from_numpy(value) for name, value in rows.items()})
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert method.expected is strategy.startswith("i")


# --- what the shipped networks have learned -------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Every twelfth frame of the embedded split: samples with pictures, and true joints."""
    root, benchmark = tmp_path_factory.mktemp("h36m"), H36M()
    undrawn = replace(world.SPLITS["embedded-val"], pictures=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(world.SPLITS, "embedded-val", undrawn)
        benchmark.make_embedded(root, "embedded-val", lambda done, total: None)
    data = benchmark.load(root, "embedded-val")
    samples = benchmark.samples(data, benchmark.protocol())[::12]
    places = {frame.name: place for place, frame in enumerate(world.frames("embedded-val"))}
    images = root / "embedded-val" / "images"
    for sample in samples:
        path = Path(sample.images[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        world.draw_frame(images, "embedded-val", places[path.relative_to(images).as_posix()])
    return samples, data.truth.joints[::12]


def mpjpe(spec, samples, truth):
    name, _, variant = spec.partition(":")
    method = load_method(spec, locate(method_card(name), variant))
    prepared = [method.prepare(sample) for sample in samples]
    rows = {key: torch.from_numpy(np.concatenate([p.rows[key] for p in prepared]))
            for key in prepared[0].rows}  # fmt: skip
    with torch.inference_mode():
        outputs = {key: value.numpy() for key, value in method.forward(rows).items()}
    found = [method.decode({key: value[i : i + 1] for key, value in outputs.items()}, p, s)
             for i, (p, s) in enumerate(zip(prepared, samples, strict=True))]  # fmt: skip
    joints = np.concatenate([row["joints"] for row in found])
    away = joints - joints[:, :1] - (truth - truth[:, :1])
    return np.linalg.norm(away, axis=-1).mean()


def test_shipped_weights_find_people_of_the_embedded_world_in_space(seen):
    floor = mpjpe("mean-pose-3d:nano", *seen)
    assert floor > 200
    for spec in ("integral:nano", "compositional:nano", "sarandi:nano"):
        assert mpjpe(spec, *seen) < 0.6 * floor
