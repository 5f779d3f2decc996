"""The networks are the papers': the counts that were measured on the official code."""

from __future__ import annotations

import pytest
import torch

from harness.loading import load_method
from harness.profiling import profile
from harness.registry import method_card
from methods.parts.resnet import RESNET_BLOCKS, ResNet
from methods.top_down.hrnet import HighResolutionNet
from methods.top_down.simplebaseline import DeconvResNet

# name: parameters, multiply-adds in 10^9, paper convention in 2^30; three decimals are measured.
MEASURED = {
    "simplebaseline:r50-256x192": (33_999_697, 5.426, 8.991),
    "simplebaseline:r101-256x192": (52_991_825, 9.063, 12.378),
    "simplebaseline:r152-256x192": (68_635_473, 12.699, 15.765),
    "simplebaseline:r50-384x288": (33_999_697, 12.209, 20.230),
    "simplebaseline:r152-384x288": (68_635_473, 28.573, 35.470),
    "hrnet:w32-256x192": (28_536_113, 7.645, 7.120),
    "hrnet:w48-256x192": (63_595_745, 15.692, 14.614),
    "hrnet:w32-384x288": (28_536_113, 17.201, 16.020),
    "hrnet:w48-384x288": (63_595_745, 35.307, 32.882),
}

BLOCKS = {
    "simplebaseline:r50-256x192": {
        "conv1": 9_408, "bn1": 128, "layer1": 215_808, "layer2": 1_219_584,
        "layer3": 7_098_368, "layer4": 14_964_736, "deconv_layers": 10_487_296,
        "final_layer": 4_369,
    },
    "simplebaseline:r152-256x192": {
        "conv1": 9_408, "bn1": 128, "layer1": 215_808, "layer2": 2_339_840,
        "layer3": 40_613_888, "layer4": 14_964_736, "deconv_layers": 10_487_296,
        "final_layer": 4_369,
    },
    "hrnet:w32-256x192": {
        "conv1": 1_728, "bn1": 128, "conv2": 36_864, "bn2": 128, "layer1": 286_208,
        "transition1": 221_376, "stage2": 390_848, "transition2": 73_984,
        "stage3": 6_821_632, "transition3": 295_424, "stage4": 20_407_232, "final_layer": 561,
    },
    "hrnet:w48-256x192": {
        "conv1": 1_728, "bn1": 128, "conv2": 36_864, "bn2": 128, "layer1": 286_208,
        "transition1": 332_064, "stage2": 878_112, "transition2": 166_272,
        "stage3": 15_335_040, "transition3": 664_320, "stage4": 45_894_048, "final_layer": 833,
    },
}  # fmt: skip

# name: tensors, parameter tensors, (Conv2d, BatchNorm2d, ConvTranspose2d)
LAYERS = {
    "simplebaseline:r50-256x192": (338, 170, (54, 56, 3)),
    "simplebaseline:r152-256x192": (950, 476, (156, 158, 3)),
    "hrnet:w32-256x192": (1754, 878, (293, 292, 0)),
    "hrnet:w48-256x192": (1754, 878, (293, 292, 0)),
}

# Key names that official checkpoints are known to hold, with their shapes.
OFFICIAL_KEYS = {
    "simplebaseline:r50-256x192": {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "deconv_layers.0.weight": (2048, 256, 4, 4),
        "deconv_layers.1.running_mean": (256,),
        "deconv_layers.7.weight": (256,),
        "final_layer.weight": (17, 256, 1, 1),
    },
    "hrnet:w32-256x192": {
        "conv1.weight": (64, 3, 3, 3),
        "transition1.0.0.weight": (32, 256, 3, 3),
        "transition1.1.0.0.weight": (64, 256, 3, 3),
        "stage2.0.branches.0.0.conv1.weight": (32, 32, 3, 3),
        "stage2.0.fuse_layers.0.1.0.weight": (32, 64, 1, 1),
        "stage2.0.fuse_layers.1.0.0.0.weight": (64, 32, 3, 3),
        "final_layer.weight": (17, 32, 1, 1),
    },
}


def weightless(spec):
    """Build a method whose network has shapes but no numbers: fast for the big ones."""
    with torch.device("meta"):
        return load_method(spec)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("spec", MEASURED)
def test_cost_is_the_measured_one(spec):
    parameters, macs, paper = MEASURED[spec]
    found = profile(weightless(spec), latency=False)
    assert found.parameters == found.registered_parameters == parameters
    assert round(found.macs / 1e9, 3) == macs
    assert round(found.paper_gflops, 3) == paper


def test_r101_at_384x288_costs_nine_quarters_of_256x192():
    small, large = (
        profile(weightless(f"simplebaseline:r101-{size}"), latency=False)
        for size in ("256x192", "384x288")
    )
    assert large.parameters == small.parameters
    assert large.macs * 4 == small.macs * 9


@pytest.mark.parametrize("spec", BLOCKS)
def test_every_block_has_its_measured_parameters(spec):
    network = weightless(spec).network
    found = {name: count(block) for name, block in network.named_children() if count(block)}
    assert found == BLOCKS[spec]


@pytest.mark.parametrize("spec", LAYERS)
def test_tensors_and_layers(spec):
    tensors, parameter_tensors, layers = LAYERS[spec]
    network = weightless(spec).network
    assert len(network.state_dict()) == tensors
    assert len(list(network.parameters())) == parameter_tensors
    kinds = [type(module).__name__ for module in network.modules()]
    assert tuple(map(kinds.count, ("Conv2d", "BatchNorm2d", "ConvTranspose2d"))) == layers


@pytest.mark.parametrize("spec", OFFICIAL_KEYS)
def test_tensors_have_the_official_names(spec):
    state = weightless(spec).network.state_dict()
    for name, shape in OFFICIAL_KEYS[spec].items():
        assert tuple(state[name].shape) == shape


@pytest.mark.parametrize("name", ["simplebaseline", "hrnet"])
def test_heatmaps_are_a_quarter_of_the_input(name):
    for variant, card in method_card(name).variants.items():
        height, width = card.input_size
        method = weightless(f"{name}:{variant}")
        images = torch.zeros(2, 3, height, width, device="meta")
        assert method.network(images).shape == (2, len(method.skeleton), height // 4, width // 4)
        assert method.grid == (width // 4, height // 4)


@pytest.mark.parametrize(
    ("layers", "parameters"), [(50, 23_508_032), (101, 42_500_160), (152, 58_143_808)]
)
def test_trunk_is_the_residual_network_without_its_classifier(layers, parameters):
    with torch.device("meta"):
        assert count(ResNet(RESNET_BLOCKS[layers])) == parameters
        network = DeconvResNet(17, layers)
    head = 2048 * 256 * 16 + 2 * (256 * 256 * 16) + 3 * 512
    assert count(network.deconv_layers) == head
    assert count(network) == parameters + head + 256 * 17 + 17


@pytest.mark.parametrize("widths", [(32, 64, 128, 256), (48, 96, 192, 384)])
def test_one_joint_more_costs_one_row_of_the_last_layer(widths):
    with torch.device("meta"):
        sixteen, seventeen = (HighResolutionNet(joints, widths) for joints in (16, 17))
    assert count(seventeen) - count(sixteen) == widths[0] + 1
    if widths[0] == 32:
        assert count(sixteen) == 28_536_080  # the MPII network


@pytest.mark.parametrize(("name", "macs"), [("simplebaseline", 51_056_640), ("hrnet", 110_555_136)])
def test_nano_fits_a_small_machine(name, macs):
    found = profile(load_method(f"{name}:nano"), latency=False)
    assert found.parameters == found.registered_parameters < 500_000  # 2 MB of float32
    assert found.macs == macs


@pytest.mark.parametrize("name", ["simplebaseline", "hrnet", "mean-pose"])
def test_random_weights_are_the_same_every_time(name):
    torch.manual_seed(1)
    first = load_method(f"{name}:nano").network.state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn), "building a method moved the global generator"
    torch.manual_seed(2)
    second = load_method(f"{name}:nano").network.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_initial_deviations_are_the_papers():
    simple = load_method("simplebaseline:nano").network
    assert simple.deconv_layers[0].weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert simple.final_layer.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert not simple.final_layer.bias.any()
    high = load_method("hrnet:nano").network
    for layer in high.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.numel() > 2000:
            assert layer.weight.std().item() == pytest.approx(0.001, rel=0.1)


def test_branches_talk_to_each_other():
    """Every branch's output depends on every branch's input."""
    torch.manual_seed(0)
    unit = HighResolutionNet(17, (8, 8, 8, 8), blocks=1, stem=8, stem_blocks=1).stage3[0].eval()
    for layer in unit.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    inputs = [torch.rand(1, 8, 16 >> i, 16 >> i, requires_grad=True) for i in range(3)]
    for output in unit(inputs):
        gradients = torch.autograd.grad(output.sum(), inputs, retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
