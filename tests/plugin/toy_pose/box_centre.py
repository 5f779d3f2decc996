"""Predict the centre of each box. A sample can order misbehaviour by its ``behaviour`` input.

``X once MARKER`` misbehaves until the file MARKER is there, and makes it.
"""

import errno
import os
import signal
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

        self.memory = None  # rows that the pretended device can hold

    def prepare(self, sample):
        order, _, marker = str(sample.inputs.get("behaviour", "")).partition(" once ")
        if marker and Path(marker).exists():
            order = ""
        elif marker:
            Path(marker).touch()
        if order == "unreadable":
            raise SampleError(sample.id, f"image {sample.images[0]} cannot be decoded")
        if order == "bug":
            raise ValueError("a programming error")
        if order == "die":
            os._exit(1)
        if order == "freeze":  # not even able to notice that it is told to stop
            os.kill(os.getpid(), signal.SIGSTOP)
        if order == "full disk":
            os.fsync = _full
        if order == "clock":
            time.time = lambda: 86400.0
        if order.startswith("memory "):
            self.memory = int(order.removeprefix("memory "))
        if order.startswith("sleep "):
            time.sleep(float(order.removeprefix("sleep ")))
        return Prepared({"boxes": sample.boxes})

    def forward(self, inputs):
        boxes = self.network(inputs["boxes"])
        if self.memory is not None and len(boxes) > self.memory:
            raise torch.OutOfMemoryError(f"{len(boxes)} rows do not fit")
        return {"points": boxes[:, :2] + boxes[:, 2:] / 2}

    def decode(self, outputs, prepared, sample):
        count = len(sample.boxes)
        points = outputs["points"] if count else np.zeros((0, 2))
        return {
            "keypoints": points[:, None],
            "keypoint_scores": np.ones((count, 1)),
            "score": sample.box_scores,
        }


def _full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
