"""Methods: one published pose estimator behind three calls.

``prepare`` runs on CPU threads ahead of the device, ``forward`` on the device, ``decode`` on CPU
threads behind it. A sample contributes any number of *rows* to the device batches (one per person
box, or one per image); the engine packs rows of many samples into batches and hands each sample its
own rows back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.api.card import Card, Variant
from harness.api.prediction import Rows
from harness.api.sample import Sample
from harness.api.skeleton import Skeleton, skeletons

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Prepared:
    """One sample made ready for the device.

    Parameters
    ----------
    rows : mapping of str to array (n, ...)
        Network inputs. Rows of equal shapes and dtypes are batched together, so images of one
        size fill a batch. ``n`` may be 0.
    context : object
        Whatever ``decode`` needs again (the crop's transform, the image's size).
    """

    rows: Mapping[str, NDArray[Any]]
    context: Any = None

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))


class Method(ABC):
    """A published method, built for one variant.

    Required: ``network`` (set in ``__init__``), :meth:`prepare`, :meth:`forward`, :meth:`decode`.
    Optional: :meth:`translate_weights`; :meth:`example_inputs` where the network does not take
    images; :meth:`training_rows` and :meth:`loss` for methods that ``harness train`` can train,
    and :meth:`fit` for what no gradient finds.

    Parameters
    ----------
    card : Card
    variant : str
        A key of ``card.variants``.
    skeleton : Skeleton, optional
        Joints to predict, where it is not the card's or the variant's own.
    """

    network: torch.nn.Module

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        self.card = card
        self.name = f"{card.name}:{variant}"
        self.variant: Variant = card.variant(variant)
        named = card.skeleton_of(variant)
        if skeleton is None and named is not None:
            skeleton = skeletons()[named]
        self.skeleton = skeleton

    @abstractmethod
    def prepare(self, sample: Sample) -> Prepared:
        """Read and transform a sample (CPU, called from several threads at once).

        Raises
        ------
        SampleError
            If the sample's image is missing or corrupt.
        """

    @abstractmethod
    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Run the network and all test-time averaging on a batch of rows (device, no gradient).

        Each output is (rows, ...) in the order of the inputs. Work that vectorises (flip test,
        peaks of heatmaps) belongs here.
        """

    @abstractmethod
    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        """Turn one sample's output rows into the columns of its prediction (CPU).

        ``prepared`` has its context but no rows any more.
        """

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map a foreign checkpoint's tensors to the names of ``network``; unchanged by default."""
        return state

    def translate_start(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map the tensors of the recipe's ``start`` to the names of ``network`` (see Recipe).

        Those that then fit by name and shape are taken. Unchanged by default.
        """
        return state

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        """Return arguments of ``network`` for that many rows, as profiling needs them.

        Images (rows, 3, height, width) of the variant's input size by default.
        """
        import torch

        return (torch.zeros(rows, 3, *self.variant.input_size),)

    def fit(self, samples: Sequence[tuple[Sample, Mapping[str, NDArray[Any]]]]) -> None:  # noqa: B027
        """Take from the training data what no gradient finds: means, deviations, exemplars.

        Called once, before the first epoch; what is fitted must be buffers of ``network``. A
        network without parameters has nothing else to learn. Nothing by default.
        """

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return augmented network inputs and targets (n, ...) of one training sample.

        ``truth`` holds the arrays of the sample's people: ``keypoints`` (n, K, 2), ``visible``
        (n, K) and what else the benchmark knows, row for row with ``sample.boxes``.
        """
        raise TypeError(f"{self.name} cannot be trained here")

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the paper's training loss, a scalar, on a batch of training rows."""
        raise TypeError(f"{self.name} cannot be trained here")

    trainable: ClassVar[bool] = False
    """Whether ``training_rows`` and ``loss`` are there."""
