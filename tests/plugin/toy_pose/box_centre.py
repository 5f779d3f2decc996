"""Predict the centre of each box. A sample can order misbehaviour by its ``behaviour`` input."""

import os
import time
from pathlib import Path

import numpy as np
import torch

from harness.api import Method, Prepared, SampleError


class BoxCentre(Method):
    """The simplest method there is."""

    def __init__(self, card, variant, skeleton=None):
        super().__init__(card, variant, skeleton)
        self.network = torch.nn.Identity()

    def prepare(self, sample):
        order = str(sample.inputs.get("behaviour", ""))
        if order == "unreadable":
            raise SampleError(sample.id, f"image {sample.images[0]} cannot be decoded")
        if order == "bug":
            raise ValueError("a programming error")
        if order == "die":
            os._exit(1)
        if order.startswith("die once "):
            marker = Path(order.removeprefix("die once "))
            if not marker.exists():
                marker.touch()
                os._exit(1)
        if order.startswith("sleep "):
            time.sleep(float(order.removeprefix("sleep ")))
        return Prepared({"boxes": sample.boxes})

    def forward(self, inputs):
        boxes = self.network(inputs["boxes"])
        return {"points": boxes[:, :2] + boxes[:, 2:] / 2}

    def decode(self, outputs, prepared, sample):
        count = len(sample.boxes)
        points = outputs["points"] if count else np.zeros((0, 2))
        return {
            "keypoints": points[:, None],
            "keypoint_scores": np.ones((count, 1)),
            "score": sample.box_scores,
        }
