"""DeeperCut: network, detections, pair terms and targets against arithmetic and plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from bottom_up_oracle import sized
from torch.nn import functional

from harness.api import Prepared, Sample
from harness.loading import load_method
from harness.profiling import profile
from methods.bottom_up.deepercut_net import Grow, PairTerms

OFFICIAL = "deepercut:r101-640x640"
TINY = {"blocks": [1, 1, 2, 1], "planes": [4, 4, 8, 8], "bottleneck": False, "early": 1}


@pytest.fixture
def method():
    return sized("deepercut:nano", (64, 96), arguments=TINY)


def weightless(spec):
    with torch.device("meta"):
        return load_method(spec)


def test_parameters_are_those_of_resnet_101_and_its_heads():
    network = weightless(OFFICIAL).network
    heads = {name: sum(p.numel() for p in head.parameters())
             for name, head in network.named_children() if isinstance(head, Grow)}  # fmt: skip
    assert heads == {
        "part_pred": 9 * 2048 * 17 + 17,
        "locref_pred": 9 * 2048 * 34 + 34,
        "pairwise_pred": 9 * 2048 * 544 + 544,
        "intermediate_supervision": 9 * 1024 * 17 + 17,
    }
    total = sum(p.numel() for p in network.parameters())
    assert total == 42_500_160 + sum(heads.values()) + 40 * 9  # 40 kinds of pairs


def test_multiply_adds_are_those_of_slims_layout():
    """Slim strides in the last unit: most of a layer works at the size of the one before it."""
    side = 640
    macs = 49 * 3 * 64 * (side // 2) ** 2
    inputs = 64
    for count, planes, before, after in ((3, 64, 4, 8), (4, 128, 8, 16), (23, 256, 16, 16),
                                         (3, 512, 16, 16)):  # fmt: skip
        for unit in range(count):
            first, last = (
                (side // s) ** 2 for s in (before, after if unit == count - 1 else before)
            )
            macs += inputs * planes * first + (9 + 4) * planes * planes * last
            if unit == 0:
                macs += inputs * 4 * planes * first
            inputs = 4 * planes
    macs += 9 * 2048 * 595 * (side // 16) ** 2
    assert profile(weightless(OFFICIAL), latency=False).macs == macs


def test_layers_have_slims_sizes():
    network = weightless(OFFICIAL).network
    sizes = {}

    def note(layer, _, output):
        sizes[layer] = tuple(output.shape[1:])

    for layer in (network.layer1, network.layer2, network.layer4):
        layer.register_forward_hook(note)
    answers = network.train()(torch.zeros(1, 3, 320, 448, device="meta"))
    assert list(sizes.values()) == [(256, 40, 56), (512, 20, 28), (2048, 20, 28)]
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        "parts": (1, 17, 40, 56), "offsets": (1, 17, 2, 40, 56), "pairs": (1, 272, 2, 40, 56),
        "early": (1, 17, 40, 56),
    }  # fmt: skip
    assert "early" not in network.eval()(torch.zeros(1, 3, 32, 32, device="meta"))


def test_growth_is_the_gradient_of_a_convolution_padded_at_its_end():
    """That is what TensorFlow's transposed convolution with "same" padding is."""
    layer = Grow(3, 2).double()
    torch.nn.init.zeros_(layer.bias)
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    large = torch.zeros(1, 2, 8, 10, dtype=torch.float64, requires_grad=True)
    small = functional.conv2d(functional.pad(large, (0, 1, 0, 1)), layer.weight, stride=2)
    assert small.shape == x.shape
    (expected,) = torch.autograd.grad(small, large, x)
    torch.testing.assert_close(layer(x), expected)


def test_pairs_are_ordered_as_the_authors_channels():
    method = weightless(OFFICIAL)
    for a, b in itertools.permutations(range(17), 2):
        assert method.way[a, b] == 16 * a + b - (a < b)


def slim_name(name):
    """Return what the authors call a tensor of the network."""
    layer, _, kind = name.rpartition(".")
    norms = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
             "running_var": "moving_variance"}  # fmt: skip
    if "pred" in layer or "supervision" in layer:
        return f"pose/{layer}/block4/{'weights' if kind == 'weight' else 'biases'}"
    *block, layer = layer.replace("downsample.", "downsample").split(".")
    where = "resnet_v1_101/"
    if block:
        where += f"block{block[0][-1]}/unit_{int(block[1]) + 1}/bottleneck_v1/"
    if layer in ("downsample1", "bn1", "bn2", "bn3"):
        of = "shortcut" if layer == "downsample1" else f"conv{layer[-1]}"
        return f"{where}{of}/BatchNorm/{norms[kind]}"
    return f"{where}{'shortcut' if layer == 'downsample0' else layer}/weights"


def test_the_authors_checkpoint_loads():
    method = weightless(OFFICIAL)
    own = method.network.state_dict()
    added = {name for name in own if name.startswith("pair_") or name.endswith("batches_tracked")}
    theirs = {name if name in added else slim_name(name): tensor for name, tensor in own.items()}
    assert "resnet_v1_101/block1/unit_1/bottleneck_v1/conv1/weights" in theirs
    assert "resnet_v1_101/block3/unit_23/bottleneck_v1/conv2/BatchNorm/moving_mean" in theirs
    theirs = {name: tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor
              for name, tensor in theirs.items()}  # fmt: skip
    assert tuple(theirs["pose/part_pred/block4/weights"].shape) == (3, 3, 17, 2048)
    theirs["pose/part_pred/block4/weights/Momentum"] = torch.zeros(1)
    translated = method.translate_weights(theirs)
    assert {k: v.shape for k, v in translated.items()} == {k: v.shape for k, v in own.items()}
    assert method.translate_weights(own) is own


def plain_detections(maps, least, apart, most):
    """Return (probability, joint, y, x), the highest first."""
    found = []
    for joint, values in enumerate(maps):
        cells = sorted(np.ndindex(values.shape), key=lambda cell: -values[cell])
        taken = []
        for y, x in cells:
            near = any((y - v) ** 2 + (x - u) ** 2 <= apart**2 for v, u in taken)
            if values[y, x] >= least and not near:
                taken.append((y, x))
                found.append((values[y, x], joint, y, x))
    return sorted(found, reverse=True)[:most]


@pytest.mark.parametrize("most", [12, 400])
def test_detections_equal_plain_loops(method, most):
    maps = torch.rand(2, 17, 8, 12, generator=torch.Generator().manual_seed(0))
    method.most = most
    joint, score, place = method.detections(maps)
    for image in range(2):
        expected = plain_detections(maps[image].numpy(), method.least, method.apart, most)
        count = len(expected)
        found = zip(score[image], joint[image], place[image] // 12, place[image] % 12, strict=True)
        assert [tuple(v.item() for v in row) for row in found][:count] == [
            (pytest.approx(p), j, y, x) for p, j, y, x in expected
        ]
        assert (joint[image, count:] == -1).all()


def plain_odds(weight, low, high, real, predicted):
    features = []
    for (x, y), (u, v) in zip(real, predicted, strict=True):
        turn = abs(math.atan2(y, x) - math.atan2(v, u))
        features += [math.hypot(x - u, y - v), min(turn, 2 * math.pi - turn)]
    features += [math.exp(-feature) for feature in features]
    scaled = [(f - a) / (b - a) for f, a, b in zip(features, low, high, strict=True)]
    return sum(f * w for f, w in zip([*scaled, 1.0], weight, strict=True))


def test_pair_terms_equal_plain_arithmetic():
    random = torch.Generator().manual_seed(0)
    terms = PairTerms(3, 20.0).double()
    with torch.no_grad():
        terms.weight.normal_(generator=random)
        terms.low.uniform_(-1, 0, generator=random)
        terms.high.uniform_(1, 5, generator=random)
    edge = torch.tensor([2, 0, 1, 2])
    real, predicted = torch.randn(2, 4, 2, 2, dtype=torch.float64, generator=random) * 3
    odds = terms(edge, real, predicted)
    for i, kind in enumerate(edge.tolist()):
        tables = (table[kind].tolist() for table in (terms.weight, terms.low, terms.high))
        assert odds[i].item() == pytest.approx(
            plain_odds(*tables, real[i].tolist(), predicted[i].tolist())
        )


def test_odds_of_detections_are_the_pair_terms(method):
    """Both directions, from the cell of one to the place of the other; equal joints by distance."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        method.network.pair_terms.weight.normal_(generator=random)
    method.most = 60
    parts = torch.randn(1, 17, 8, 12, generator=random) * 2 - 3
    offsets = torch.randn(1, 17, 2, 8, 12, generator=random) * 5
    pairs = torch.randn(1, len(method.pairs), 2, 8, 12, generator=random) * 20
    found = {name: value[0] for name, value in method.read(parts, offsets, pairs).items()}
    joint, _, place = (value[0] for value in method.detections(parts.sigmoid()))
    count = int((joint >= 0).sum())
    assert count > 30
    cell = torch.stack([place % 12, place // 12], dim=1) * 8.0 + 4
    channels = {tuple(pair): i for i, pair in enumerate(method.pairs.tolist())}
    terms = method.network.pair_terms
    for i, j in itertools.combinations(range(count), 2):
        odds = found["together"][[i, j], [j, i]].tolist()
        assert odds[0] == pytest.approx(odds[1], abs=1e-4)
        a, b = (i, j) if joint[i] < joint[j] else (j, i)
        kind = (joint[a].item(), joint[b].item())
        if kind[0] == kind[1]:
            expected = 7.5 - 7.5 / method.near * math.dist(*found["point"][[i, j]].tolist())
        elif kind not in method.graph:
            expected = 0.0
        else:
            ways = [
                pairs[0, channels[way], :, place[at] // 12, place[at] % 12].tolist()
                for way, at in ((kind, a), (kind[::-1], b))
            ]
            real = [(found["point"][b] - cell[a]).tolist(), (found["point"][a] - cell[b]).tolist()]
            edge = method.graph.index(kind)
            tables = (table[edge].tolist() for table in (terms.weight, terms.low, terms.high))
            expected = plain_odds(*tables, real, ways)
        assert odds[0] == pytest.approx(expected, abs=1e-3)


def test_a_cell_belongs_to_the_nearest_joint_within_the_radius(method):
    random = np.random.default_rng(0)
    joints = random.uniform(0, (96, 64), (4, 17, 2))
    visible = random.random((4, 17)) < 0.7
    targets = method.targets(joints, visible)
    for k, y, x in np.ndindex(17, 8, 12):
        near = [(math.dist(joints[p, k], (8 * x + 4, 8 * y + 4)), p) for p in range(4)
                if visible[p, k]]  # fmt: skip
        expected = min(near)[1] if near and min(near)[0] <= method.radius else -1
        assert targets["owner"][k, y, x] == expected
    np.testing.assert_array_equal(targets["known"][:4], visible)
    np.testing.assert_allclose(targets["people"][:4][visible], joints[visible], rtol=1e-6)


def test_ways_are_standardised_by_the_training_data(method):
    class Picture:
        def read_image(self):
            return np.zeros((128, 192, 3), np.uint8)  # twice the input

    random = np.random.default_rng(0)
    people = random.uniform(0, 100, (5, 17, 2))
    visible = random.random((5, 17)) < 0.8
    truth = {"keypoints": people, "visible": visible}
    method.fit([(Picture(), {name: rows[:2] for name, rows in truth.items()}),
                (Picture(), {name: rows[2:] for name, rows in truth.items()})])  # fmt: skip
    for pair, (a, b) in enumerate(method.pairs.tolist()):
        both = visible[:, a] & visible[:, b]
        ways = (people[both, b] - people[both, a]) / 2
        if both.sum() > 1:
            mean, std = method.network.pair_mean[pair], method.network.pair_std[pair]
            np.testing.assert_allclose(mean, ways.mean(axis=0), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(std, ways.std(axis=0).clip(1), rtol=1e-4)


def test_one_joint_seen_twice_is_the_weighted_mean(method):
    joint = np.full((1, 150), -1)
    joint[0, :3] = [0, 0, 1]
    score, point = np.zeros((1, 150)), np.zeros((1, 150, 2))
    score[0, :3] = [0.9, 0.6, 0.8]
    point[0, :3] = [[10, 10], [15, 10], [20, 20]]
    together = np.full((1, 150, 150), 5.0)
    outputs = {"joint": joint, "score": score, "point": point, "together": together}
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    rows = method.decode(outputs, Prepared({}, identity), Sample("1"))
    assert rows["keypoints"][0, 0].tolist() == pytest.approx([12, 10])
    assert rows["keypoint_scores"][0, :2].tolist() == pytest.approx([0.9, 0.8])
    assert rows["score"].tolist() == pytest.approx([1.7 / 17])
    assert np.isnan(rows["keypoints"][0, 2:]).all()
    outputs["joint"] = np.full((1, 150), -1)
    assert method.decode(outputs, Prepared({}, identity), Sample("1"))["keypoints"].shape == (
        0,
        17,
        2,
    )


def test_the_losses_are_means_over_what_they_are_of(method):
    """Against plain sums over cells, people and joints."""
    random = np.random.default_rng(0)
    joints = random.uniform(0, (96, 64), (2, 17, 2))
    visible = random.random((2, 17)) < 0.7
    targets = method.targets(joints, visible)
    maps = {"parts": torch.randn(1, 17, 8, 12), "early": torch.randn(1, 17, 8, 12),
            "offsets": torch.randn(1, 17, 2, 8, 12) * 9,
            "pairs": torch.randn(1, len(method.pairs), 2, 8, 12) * 9}  # fmt: skip
    counted = np.ones((8, 12), np.float32)
    counted[2:5] = 0
    rows = {name: torch.from_numpy(value)[None] for name, value in targets.items()}
    rows |= {"image": torch.zeros(1, 64, 96, 3, dtype=torch.uint8),
             "counted": torch.from_numpy(counted)[None]}  # fmt: skip
    network, std = method.network, method.network.pair_std
    answering = torch.nn.Identity()
    answering.forward = lambda _: maps
    answering.pair_std, answering.pair_terms = std, network.pair_terms
    answering.register_parameter("any", torch.nn.Parameter(torch.zeros(1)))
    method.network = answering
    found = (
        method.loss(rows).item()
        - method.pair_loss(maps["pairs"], rows["people"], rows["known"]).item()
    )
    method.network = network
    entropy, offsets, ways = [], [], []
    for k, y, x in np.ndindex(17, 8, 12):
        person = targets["owner"][k, y, x]
        for name in ("parts", "early"):
            p = torch.sigmoid(maps[name][0, k, y, x]).item()
            if counted[y, x]:
                entropy.append(-math.log(p if person >= 0 else 1 - p))
        if person < 0:
            continue
        cell = np.array([8 * x + 4, 8 * y + 4])
        own = joints[person, k] - cell
        offsets += ((maps["offsets"][0, k, :, y, x].numpy() - own) / 7.2801).tolist()
        for pair, (a, b) in enumerate(method.pairs.tolist()):
            if a == k and visible[person, b]:
                way = maps["pairs"][0, pair, :, y, x].numpy() - (joints[person, b] - cell)
                ways += (way / std[pair].numpy()).tolist()
    huber = [np.mean([0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5 for d in part])
             for part in (offsets, ways)]  # fmt: skip
    assert found == pytest.approx(2 * np.mean(entropy) + 0.05 * sum(huber), rel=1e-4)


def test_pairs_learn_to_tell_people_apart(method):
    """Exact ways: after some steps one person's pairs are likely, two people's are not."""
    random = np.random.default_rng(1)
    joints = random.uniform((4, 4), (92, 60), (3, 17, 2))
    targets = method.targets(joints, np.ones((3, 17), bool))
    people, known = (torch.from_numpy(targets[name])[None] for name in ("people", "known"))
    pairs = torch.zeros(1, len(method.pairs), 2, 8, 12)
    for pair, (a, b) in enumerate(method.pairs.tolist()):
        for person in joints:
            x, y = (person[a] // 8).astype(int)
            pairs[0, pair, :, y, x] = torch.from_numpy(person[b] - (8 * np.array([x, y]) + 4))
    optimiser = torch.optim.Adam(method.network.pair_terms.parameters(), lr=0.1)
    losses = []
    for _ in range(40):
        loss = method.pair_loss(pairs, people, known)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
