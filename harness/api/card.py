"""Method cards: what is known about a published method, as validated data.

A card is a YAML file beside the method's Python file (``hrnet.yaml`` beside ``hrnet.py``), so that
listing and planning never import a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.api.errors import PrerequisiteError


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paper(_Model):
    """The publication to cite."""

    authors: str
    title: str
    venue: str
    year: int
    url: str = ""


class Resources(_Model):
    """What one worker of a variant needs."""

    cpus: float = 1
    gpus: float = 0
    """GPUs that the variant cannot do without; with 0 it takes one where the cluster has any."""
    gpu_share: float = 1
    """Part of a GPU that is enough where ``gpus`` is 0: 0.25 packs four workers on one GPU."""
    memory_gb: float = 1
    """Memory of the host, in units of 2^30 bytes."""
    accelerator: str | None = None
    """Kind of GPU it must be, by Ray's name for it: ``A100``, ``T4``."""


class Weights(_Model):
    """Where a variant's weights come from."""

    shipped: str | None = None
    """File in the folder ``weights`` of the method's own top-level package."""
    url: str | None = None
    sha256: str | None = None
    """SHA-256 of the file, or its first digits where only those are published."""
    licence: str = ""


class Recipe(_Model):
    """How ``harness train`` trains a variant; the paper's loss is in the method itself."""

    data: str
    """Benchmark and training split, ``coco:embedded-train``."""
    start: str | None = None
    """``METHOD:VARIANT`` whose tensors training starts from, those that fit by name and shape."""
    epochs: int
    batch_size: int
    learning_rate: float
    drops: tuple[int, ...] = ()
    """Epochs after which the learning rate is divided by ten."""
    weight_decay: float = 0.0
    seed: int = 0


class Variant(_Model):
    """One configuration that can be run and has its own row."""

    summary: str = ""
    input_size: tuple[int, int]
    """Height, width in pixels."""
    skeleton: str | None = None
    """Skeleton of this variant's predictions, where it is not the card's."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the method's network."""
    trained_on: tuple[str, ...] = ()
    """Data sets that the weights have seen, declared so that "trained on the test set" shows."""
    weights: Weights | None = Weights()
    """None for a method that has no weights at all."""
    resources: Resources = Resources()
    recipe: Recipe | None = None
    batch_size: int = 32
    """Rows per forward pass."""
    published: dict[str, Any] = Field(default_factory=dict)
    """Which row of which published table is this very variant: ``{table: ..., column: value}``."""


class Card(_Model):
    """A method: what it is, whose it is, and its variants."""

    name: str
    title: str
    """As the papers' tables print it."""
    system: str | None = None
    """Key in the published list of systems."""
    family: Literal[
        "baseline",
        "single-person",
        "top-down",
        "bottom-up",
        "detector",
        "lifting",
        "image-to-3d",
        "mesh",
        "dense",
        "hand",
        "tracking",
        "parsing",
    ]
    task: str
    """Task of the predictions, a key of :data:`harness.api.prediction.SCHEMAS`."""
    skeleton: str | None
    """Skeleton of the predictions; a benchmark with another needs a declared conversion."""
    needs_boxes: bool
    """Whether samples must come with person boxes."""
    summary: str
    paper: Paper | None
    code: str = ""
    """Official code, for facts; nothing of it is copied."""
    licence: str
    """Licence of the official code and weights."""
    variants: dict[str, Variant]

    @property
    def finds_boxes(self) -> bool:
        """Whether its people come with boxes of their own, as a detector's do."""
        return self.family == "detector"

    def variant(self, name: str) -> Variant:
        """Return a variant by name.

        Raises
        ------
        PrerequisiteError
            If the method has no such variant.
        """
        if name not in self.variants:
            raise PrerequisiteError(
                f"{self.name} has no variant {name!r}.",
                f"Choose one of: {', '.join(self.variants)}.",
            )
        return self.variants[name]

    def skeleton_of(self, variant: str) -> str | None:
        """Return the name of a variant's skeleton: its own, or else the card's."""
        return self.variant(variant).skeleton or self.skeleton


def read_card(text: str, source: Path | str) -> Card:
    """Validate a card's YAML text.

    Raises
    ------
    PrerequisiteError
        Naming the file and the first field that is wrong.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return Card.model_validate(yaml.load(text, Loader=loader))
    except (yaml.YAMLError, ValidationError) as error:
        raise PrerequisiteError(
            f"Card {source} is not valid: {error}", "Correct the file."
        ) from None
