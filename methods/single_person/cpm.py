"""Convolutional Pose Machines: each stage sees image features and the belief maps before it.

Wei, Ramakrishna, Kanade, Sheikh: Convolutional Pose Machines, CVPR 2016. Facts from the official
code, shihenw/convolutional-pose-machines-release @ a345bc5; layers have its Caffe names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Prepared, PrerequisiteError, Rows, Sample
from methods.parts.crop import REGION_UNIT, Regions, regions_of
from methods.parts.views import averaged_views, cut_views, view_matrices
from methods.single_person.person import PersonPose, person_rows

VIEW_OF_SCALE = 368 / (200 * 41 / 35)
"""Height of the middle view in units of MPII's ``scale`` (200 pixels, about a person)."""
VIEW_OF_BOX = 1.2
"""The same in heights of a box, the demo's rule."""
VIEWS_OF_SCALE = tuple(1 / (0.7 + 0.1 * i) for i in range(7))
VIEWS_OF_BOX = tuple(1.2 * 2 ** (-i / 6) for i in range(4))
"""Heights of the views in units of the middle one: benchmarks know the scale, the demo a box."""
CENTER_SIGMA = 21.0
"""Of the centre map, pixels of the crop."""


class Machine(nn.Module):
    """Crops and their centre maps (n, 4, h, w) to belief maps (n, joints + 1, h / 8, w / 8).

    One set of maps per stage; the last channel is the background. The two networks of the paper
    differ in ``vgg``: two trunks of 9x9 convolutions, or the first ten layers of VGG-19 and more.

    Parameters
    ----------
    joints, stages : int
    vgg : bool
    width, features, deep : int
        Channels of trunk (paper network only) and stages, of the image features that stages 2 on
        see, and of stage 1's last layers.
    stage_width, kernel : int, optional
        Channels and kernel of stages 2 on: as the trunk, and 11 (7 with ``vgg``), by default.
    """

    def __init__(
        self,
        joints: int,
        stages: int = 6,
        vgg: bool = False,
        width: int = 128,
        features: int = 32,
        deep: int = 512,
        stage_width: int | None = None,
        kernel: int | None = None,
    ) -> None:
        super().__init__()
        self.stages, self.vgg, maps = stages, vgg, joints + 1
        stage_width = stage_width or width
        kernel = kernel or (7 if vgg else 11)
        if vgg:
            self._build_vgg(maps, deep)
            features = 128
        else:
            for stage in (1, 2):
                self._add(f"conv1_stage{stage}", 3, width, 9)
                self._add(f"conv2_stage{stage}", width, width, 9)
                self._add(f"conv3_stage{stage}", width, width, 9)
                self._add(f"conv4_stage{stage}", width, features, 5)
            self._add("conv5_stage1", features, deep, 9)
            self._add("conv6_stage1", deep, deep, 1)
            self._add_maps("conv7_stage1", deep, maps)
            for stage in range(3, stages + 1):
                self._add(f"conv1_stage{stage}", width, features, 5)
        self.layers = 5 if vgg else 3
        for stage in range(2, stages + 1):
            inputs = features + maps + 1
            for i in range(1, self.layers + 1):
                self._add(f"Mconv{i}_stage{stage}", inputs, stage_width, kernel)
                inputs = stage_width
            self._add(f"Mconv{self.layers + 1}_stage{stage}", inputs, stage_width, 1)
            self._add_maps(f"Mconv{self.layers + 2}_stage{stage}", stage_width, maps)

    def _build_vgg(self, maps: int, deep: int) -> None:
        inputs = 3
        for block, (count, outputs) in enumerate(((2, 64), (2, 128), (4, 256), (2, 512)), start=1):
            for i in range(1, count + 1):
                self._add(f"conv{block}_{i}", inputs, outputs, 3)
                inputs = outputs
        for i, outputs in ((3, 256), (4, 256), (5, 256), (6, 256), (7, 128)):
            self._add(f"conv4_{i}_CPM", inputs, outputs, 3)
            inputs = outputs
        self._add("conv5_1_CPM", inputs, deep, 1)
        self._add_maps("conv5_2_CPM", deep, maps)

    def _add(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        self.add_module(name, layer)

    def _add_maps(self, name: str, inputs: int, maps: int) -> None:
        self._add(name, inputs, maps, 1)
        nn.init.normal_(self.get_submodule(name).weight, std=0.01)  # training starts near zero maps

    def _run(self, x: torch.Tensor, *names: str) -> torch.Tensor:
        """Apply convolutions by name, each with its ReLU; ``pool`` is a max pool."""
        for name in names:
            x = self._pool(x) if name == "pool" else torch.relu(self.get_submodule(name)(x))
        return x

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        if self.vgg:
            return functional.max_pool2d(x, 2)
        return functional.max_pool2d(x, 3, stride=2, ceil_mode=True)  # Caffe's rounding

    def _trunk(self, image: torch.Tensor, stage: int) -> torch.Tensor:
        names = (f"conv{i}_stage{stage}" for i in (1, 2, 3))
        return self._run(image, *(step for name in names for step in (name, "pool")))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        image = x[:, :3]
        center = functional.avg_pool2d(x[:, 3:], 9, stride=8, ceil_mode=True)
        features, maps = self._first_vgg(image) if self.vgg else self._first(image)
        beliefs = [maps]
        trunk = None if self.vgg else self._trunk(image, 2)
        for stage in range(2, self.stages + 1):
            if trunk is None:
                x = torch.cat([maps, features, center], dim=1)
            else:
                layer = "conv4_stage2" if stage == 2 else f"conv1_stage{stage}"
                x = torch.cat([self._run(trunk, layer), maps, center], dim=1)
            names = [f"Mconv{i}_stage{stage}" for i in range(1, self.layers + 3)]
            maps = self.get_submodule(names[-1])(self._run(x, *names[:-1]))
            beliefs.append(maps)
        return beliefs

    def _first(self, image: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        x = self._run(self._trunk(image, 1), "conv4_stage1", "conv5_stage1", "conv6_stage1")
        return None, self.conv7_stage1(functional.dropout(x, 0.5, self.training))

    def _first_vgg(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = image
        for block, count in ((1, 2), (2, 2), (3, 4)):
            x = self._run(x, *(f"conv{block}_{i}" for i in range(1, count + 1)), "pool")
        x = self._run(x, "conv4_1", "conv4_2", *(f"conv4_{i}_CPM" for i in range(3, 8)))
        return x, self.conv5_2_CPM(self._run(x, "conv5_1_CPM"))


class CPM(PersonPose):
    """Several views of a person, their belief maps averaged on the image's own pixels.

    A row is one view, all views of a person in succession; the views are BGR, with grey outside
    the image and the person's centre at (W / 2 - 1, H / 2 - 1). Joints are whole pixels of the
    image, the highest of the averaged maps; there is no flip test.
    """

    channel_order = "bgr"
    mean, std = (128 / 255,) * 3, (256 / 255,) * 3  # x / 256 - 0.5
    stride = 8

    def build(self, joints: int, **options: Any) -> nn.Module:
        return Machine(joints, **options)

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, 4, *self.variant.input_size),)

    def regions(self, sample: Sample) -> Regions:
        """Return the middle views, by centre and scale where the sample has them, else by box."""
        width, height = self.input_size
        if "scale" in sample.inputs:
            centers = np.asarray(sample.inputs["center"], np.float32).reshape(-1, 2)
            heights = VIEW_OF_SCALE * np.ravel(sample.inputs["scale"])
        else:
            regions_of(sample, width / height, self.padding)  # a box without area is no region
            centers = (sample.boxes[:, :2] + sample.boxes[:, 2:] / 2).astype(np.float32)
            heights = sample.boxes[:, 3] * VIEW_OF_BOX / REGION_UNIT
        return Regions(centers, np.stack([heights * width / height, heights], 1).astype(np.float32))

    def prepare(self, sample: Sample) -> Prepared:
        factors = VIEWS_OF_SCALE if "scale" in sample.inputs else VIEWS_OF_BOX
        matrices = view_matrices(self.regions(sample), factors, self.input_size)
        image = self.read_image(sample) if len(matrices) else np.empty((0, 0, 3), np.uint8)
        views = cut_views(image, matrices, self.input_size, border=128)
        return Prepared({"crops": views}, context=(matrices, image.shape[1::-1]))

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Return images with the centre map as fourth channel, (n, 4, H, W)."""
        images = super().images(crops)
        width, height = self.input_size
        row = torch.arange(height, device=images.device, dtype=torch.float32) - (height / 2 - 1)
        column = torch.arange(width, device=images.device, dtype=torch.float32) - (width / 2 - 1)
        center = torch.exp(-(row[:, None] ** 2 + column**2) / (2 * CENTER_SIGMA**2))
        return torch.cat([images, center.to(images.dtype).expand(len(images), 1, -1, -1)], dim=1)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return self.peaks(self.final_maps(self.images(inputs["crops"])).float())

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the joints' ``maps`` of each view; peaks are looked for in all views together."""
        return {"maps": heatmaps[:, : len(self.skeleton)]}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        matrices, size = prepared.context
        people, joints = len(matrices), len(self.skeleton)
        maps = outputs["maps"].reshape(*matrices.shape[:2], joints, *outputs["maps"].shape[-2:])
        keypoints, scores = np.empty((people, joints, 2)), np.empty((people, joints))
        for person in range(people):
            beliefs, origin = averaged_views(
                maps[person], matrices[person], self.input_size, size, self.stride
            )
            flat = beliefs.reshape(joints, -1)
            highest = flat.argmax(axis=1)
            y, x = np.unravel_index(highest, beliefs.shape[1:])
            keypoints[person] = np.stack([x, y], axis=1) + origin
            scores[person] = flat[np.arange(joints), highest]
        return person_rows(keypoints, scores, sample)

    def targets(self, joints: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Draw joints (n, K, 2) as Gaussians and the background: (n, K + 1, h, w).

        ``sigma`` is in pixels of the crop; a joint without label has a zero map, the background
        is what the highest joint leaves of 1.
        """
        width, height = self.grid
        place = torch.arange(max(width, height), device=joints.device) * self.stride
        place = place + (self.stride - 1) / 2
        x = (place[:width] - joints[..., :1]).square()
        y = (place[:height] - joints[..., 1:]).square()
        maps = torch.exp(-(y[..., None] + x[..., None, :]) / (2 * self.sigma**2))
        maps = maps * (weights > 0)[..., None, None]
        return torch.cat([maps, 1 - maps.amax(dim=1, keepdim=True)], dim=1)

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return half the squared error of all stages' maps, summed over a row, its mean."""
        targets = self.targets(rows["joints"], rows["weights"])
        beliefs = self.network(self.images(rows["crops"]))
        errors = [(maps - targets).square().sum() for maps in beliefs]
        return torch.stack(errors).sum() / (2 * len(targets))

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take Caffe's layer names, which are the network's.

        Raises
        ------
        PrerequisiteError
            If the checkpoint is mmpose's, which is another network.
        """
        if any(name.startswith("backbone.stem.") for name in state):
            raise PrerequisiteError(
                "The checkpoint is of mmpose's CPM, which is not the paper's network: norms after "
                "every convolution, no centre map and no background.",
                "Give weights converted from the official Caffe models.",
            )
        return state
