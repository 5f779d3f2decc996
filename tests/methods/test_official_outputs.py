"""The networks answer what the official PyTorch code answers, with equal weights by name.

The numbers were made with the official code, loaded strictly with :func:`recipe_state`, on
:func:`recipe_images`; there the largest difference over all maps was 0 for the networks of joints,
and at most 4e-6 for those of meshes. Integral regression's places differ by 6e-8, the joints of its
direct regression, of standard deviation 3.5, by 2.4e-6.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from weights_recipe import digest, recipe_images, recipe_state

from harness.loading import load_method
from methods.mesh.coarse import adjacency, edges
from methods.parts.volume import soft_argmax_3d

# method: input size, number of maps, digests of the first and of the last maps
OFFICIAL = {
    # princeton-vl/pytorch_stacked_hourglass @ ceedc14, PoseNet(2, 256, 16)
    "hourglass:2stack-256x256": (
        (64, 64), 2,
        [0.2242459, 6.679601, 12.68437, -8.535711, 0.8770034, 1.278934, 2.701054, 1.56602,
         2.563035],
        [-0.5015938, 72.32074, -75.42915, -39.54374, 35.84388, 7.348072, 53.27028, 13.12534,
         -125.8746],
    ),
    # megvii-detection/MSPN @ a84f750, 2 stages, output (16, 8)
    "mspn:2stage-256x192": (
        (64, 32), 8,
        [0.1391501, 0.9549065, -2.789996, 0.1623821, 1.075441, 1.853631, 1.791303, -0.01784872,
         0.1185068],
        [0.6333398, 2.058292, -0.3460079, 1.588574, -2.802663, -1.896919, 0.03557317, 5.058471,
         3.751688],
    ),
    # GengDavid/pytorch-cpn @ 48696a9, CPN50((16, 8), 17)
    "cpn:r50-256x192": (
        (64, 32), 5,
        [-0.07654225, 0.3174332, -0.5051057, -0.4139715, 0.1658718, 0.4636098, -0.04114185,
         -0.8391002, 0.24554],
        [0.2781682, 1.58003, -1.525549, 2.01548, -1.232559, -0.5664797, 1.767316, -1.814216,
         0.2212896],
    ),
}  # fmt: skip


# MandyMo/pytorch_HMR @ 7bf18d6: encoder and ThetaRegressor, the parameters after each step
HMR = [-0.00809854, 2.961326, 2.549967, 1.156638, 2.045683, -1.469604, 2.637345, 3.626238, 2.281914]

# nkolot/GraphCMR @ b0ee54f: GraphCNN(A, template, 5, 256) and SMPLParamRegressor on a strip
GRAPHCMR = {
    "vertices": [0.2482136, 0.3461169, -0.1343303, -0.1413112, -0.1416905, -0.1361324, -0.1355112,
                 -0.1437235, -0.1504312],
    "camera": [-0.1442568, 0.07187384, -0.2245951, -0.08605527, -0.12212],
    "rotations": [-0.03166809, 0.5778202, 0.4476417, 0.9358801, -0.2626863, -0.4796391,
                  -0.06265023, -0.634119],
    "shape": [-0.1172901, 0.9695135, 0.3416227, -0.844474, 1.226429, 0.3532567, -1.419547,
              -0.12182, 0.110811],
}  # fmt: skip


# JimmySuen/integral-human-pose @ ad3f875: resnet_pose with 18 x 64 maps, softmax_integral_tensor,
# and resnet_direct_regression (R1, the baseline of compositional regression)
INTEGRAL = {
    "maps": [-0.003148338, 0.5539272, -0.2161588, -0.1132226, -0.0008132877, 0.02771473,
             -0.01857367, 0.2745491],
    "places": [-0.00631882, 0.006755669, -0.003784806, -0.005158246, -0.003834754, -0.004527748,
               -0.003513813, -0.004741073],
}  # fmt: skip
DIRECT = [-0.5379205, 3.457225, -7.043273, 0.6358052, 5.076562, -0.03793602, -6.894382, -5.457921]


def filled(spec):
    """Return a method's network with the recipe's weights."""
    with torch.device("meta"):
        network = load_method(spec).network
    network.load_state_dict(recipe_state(network.state_dict()), assign=True)
    return network.eval()


def test_hmr_answers_what_the_public_code_answers():
    with torch.inference_mode():
        found = filled("hmr:r50-224x224")(recipe_images(224, 224))
    assert digest(found) == pytest.approx(HMR, rel=1e-5, abs=1e-5)


def test_integral_regression_answers_what_the_official_code_answers():
    with torch.inference_mode():
        maps = filled("integral:r50-256x256")(recipe_images(256, 256))
        places = soft_argmax_3d(maps.unflatten(1, (18, 64)))
    assert digest(maps) == pytest.approx(INTEGRAL["maps"], rel=1e-5, abs=1e-5)
    assert digest(places) == pytest.approx(INTEGRAL["places"], rel=1e-5, abs=1e-6)


def test_direct_regression_answers_what_the_official_code_answers():
    with torch.inference_mode():
        found = filled("compositional:r50-256x256-direct")(recipe_images(256, 256))
    assert digest(found) == pytest.approx(DIRECT, rel=1e-5, abs=1e-5)


def test_graphcmr_answers_what_the_public_code_answers():
    strip = edges(np.array([[i, i + 1, i + 2] for i in range(1721)]))
    template = np.random.default_rng(1).uniform(-1, 1, (1723, 3)).astype(np.float32)
    with torch.inference_mode():
        found = filled("graphcmr:r50-224x224")(
            recipe_images(224, 224), adjacency(strip, 1723), torch.from_numpy(template)
        )
    for values, expected in zip(found, GRAPHCMR.values(), strict=True):
        assert digest(values) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("spec", OFFICIAL)
def test_outputs_equal_the_official_codes(spec):
    size, count, first, last = OFFICIAL[spec]
    with torch.inference_mode():
        maps = filled(spec)(recipe_images(*size))
    assert len(maps) == count
    for found, expected in ((maps[0], first), (maps[-1], last)):
        # The stored digits end at 1e-7 of a number, float32 sums in another order a bit later.
        assert digest(found) == pytest.approx(expected, rel=1e-5, abs=1e-5 * found.std().item())
