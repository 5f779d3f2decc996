"""Ground truth as network output: what is lost between it and the decoded people is grouping's."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from harness.api import Predictions, Prepared, Sample
from harness.registry import method_card, method_class
from methods.parts.crop import transform
from methods.parts.whole_image import fitted


def sized(spec, size=None, skeleton=None, **options):
    """Build a method at another input size (height, width), with other options."""
    name, variant = spec.split(":")
    card = method_card(name)
    known = card.variants[variant]
    known = known.model_copy(
        update={"input_size": size or known.input_size, "options": {**known.options, **options}}
    )
    card = card.model_copy(update={"variants": {variant: known}})
    return method_class(name)(card, variant, skeleton)


def joined(visible, limbs, least):
    """Say whose visible joints (n, K) hang together by limbs, at least so many of them: (n,)."""
    limbs = [*limbs, *((b, a) for a, b in limbs)]
    result = np.zeros(len(visible), bool)
    for person, seen in enumerate(visible):
        own = np.flatnonzero(seen)
        if len(own) < least:
            continue
        reached = {int(own[0])}
        while grown := {b for a, b in limbs if a in reached and seen[b]} - reached:
            reached |= grown
        result[person] = len(reached) == len(own)
    return result


def only(dataset, kept):
    """Return a dataset of some of the annotations (M,); the images stay."""
    truth = dataset.truth
    people = ("id", "keypoints", "num_keypoints", "area", "box", "crowd")
    offsets = np.searchsorted(truth.image[kept], np.arange(len(truth.image_id) + 1))
    own = {name: getattr(truth, name)[kept] for name in people}
    return dataclasses.replace(dataset, truth=dataclasses.replace(truth, **own, offsets=offsets))


def decoded(method, joints, visible, size):
    """Encode one image's people (n, K, 2), (n, K) as an ideal network's answer and decode it.

    ``size`` is the image's width and height.
    """
    matrix, (width, height) = fitted(size, method.input_size, method.fitting, method.multiple)
    method.input_size = (width, height)  # the size that this image has as input
    with torch.inference_mode():
        outputs = method.read_targets(method.targets(transform(joints, matrix), visible))
    arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
    return method.decode(arrays, Prepared({}, matrix), Sample("1"))


def oracle(benchmark, dataset, method, images=None, protocol=None):
    """Return the metrics of a dataset's own people, encoded and decoded, on some of its images."""
    protocol = protocol or benchmark.protocol()
    truth, wanted = dataset.truth, method.input_size
    rows = []
    for image, sample_id in enumerate(dataset.sample_ids):
        if images is not None and image not in images:
            continue
        own = slice(truth.offsets[image], truth.offsets[image + 1])
        method.input_size = wanted
        people = decoded(
            method,
            truth.keypoints[own, :, :2],
            truth.labelled[own],
            (int(truth.width[image]), int(truth.height[image])),
        )
        rows.append((sample_id, people))
    predictions = Predictions.from_samples(benchmark.schema, rows)
    return benchmark.compute(benchmark.statistics(dataset, predictions, protocol), protocol)
