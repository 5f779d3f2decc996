"""Benchmarks: official data, a protocol that declares every quirk, and the metric between them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.api.digest import content_digest
from harness.api.errors import PrerequisiteError
from harness.api.prediction import Predictions, PredictionSchema
from harness.api.sample import Sample
from harness.api.skeleton import Skeleton
from harness.api.statistics import Statistics


def quirk(meaning: str, **options: Any) -> Any:
    """Declare a protocol field with its meaning in plain words, as ``harness show`` prints it."""
    return field(metadata={"meaning": meaning}, **options)


FOUND_BY = "found by "
"""Begins a box source that is a method's own result: its name and the result's digest follow."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that changes the number. Subclasses add one field per quirk.

    ``variant`` and ``title`` are names and leave the digest alone; every other field enters it.
    """

    variant: str
    title: str
    benchmark: str = quirk("The benchmark that this protocol scores.")
    box_source: str = quirk(
        "Where the person boxes come from: 'ground truth', 'detections sha256:...', "
        "'found by METHOD:VARIANT' and the digest of that result, "
        "'none' (the method finds people by itself) or 'submission' (made elsewhere, not known).",
        default="none",
    )

    @property
    def digest(self) -> str:
        """SHA-256 over all fields that change the number."""
        return content_digest(self.quirks())

    def quirks(self) -> dict[str, Any]:
        """Return the fields that change the number, by name."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("variant", "title")
        }

    def meanings(self) -> dict[str, str]:
        """Return each quirk's meaning in plain words, by field name."""
        return {
            f.name: f.metadata.get("meaning", "")
            for f in dataclasses.fields(self)
            if f.name not in ("variant", "title")
        }


@dataclass(frozen=True)
class Column:
    """One column of a result table, in the papers' order.

    Parameters
    ----------
    metric : str
        Key in the metrics, such as ``AP50``.
    header : str
        Header as the papers print it.
    scale : float
        Factor from the metric's value to the printed one (100 for a fraction in percent).
    decimals : int
    higher_is_better : bool
    group : str
        Header above several columns; empty for none.
    """

    metric: str
    header: str
    scale: float = 1.0
    decimals: int = 1
    higher_is_better: bool = True
    group: str = ""

    @property
    def label(self) -> str:
        """Group and header, for where the column stands alone."""
        return f"{self.group} {self.header}".strip()


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a figure, such as precision over recall: x and y (n,)."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_label: str
    y_label: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a benchmark, read from its official files.

    Parameters
    ----------
    benchmark, split : str
    root : Path
        The benchmark's own folder.
    digest : str
        SHA-256 over the annotation files (pictures are not read for it).
    synthetic : bool
        Whether the data is the embedded world: such results never rank beside real ones.
    sample_ids : tuple of str
        The ids that predictions must cover, in the split's order.
    truth : object
        The benchmark's own ground truth; None for a split without (test sets).
    """

    benchmark: str
    split: str
    root: Path
    digest: str
    synthetic: bool
    sample_ids: tuple[str, ...]
    truth: Any


class Benchmark(ABC):
    """A benchmark: how its files are read, its samples made and its predictions scored.

    Subclasses are stateless; everything that changes a number is in the protocol.

    Required: the class attributes, :meth:`layout`, :meth:`splits`, :meth:`load`, :meth:`samples`,
    :meth:`statistics`, :meth:`compute`, :meth:`read_predictions`.
    Optional: :meth:`curves`, :meth:`breakdown`, :meth:`per_sample`, :meth:`error_analysis`,
    :meth:`training_samples`, :meth:`poses`, :meth:`faces`, :meth:`make_embedded`,
    :meth:`write_submission`, :meth:`resample`, :meth:`ranked_by`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    obtain: ClassVar[str]
    """Where a user gets the real data, and under which terms."""
    schema: ClassVar[PredictionSchema]
    skeleton: ClassVar[Skeleton | None]
    protocols: ClassVar[Mapping[str, Protocol]]
    """Named variants; the first is the default."""
    columns: ClassVar[tuple[Column, ...]]
    primary: ClassVar[str]
    """The metric that ranks, where a protocol names no other; one of the columns."""
    default_split: ClassVar[str]
    embedded_split: ClassVar[str | None] = None

    def ranked_by(self, protocol: str) -> Column:
        """Return the column that ranks the results of a protocol, which its variant names."""
        return next(column for column in self.columns if column.metric == self.primary)

    @abstractmethod
    def layout(self, split: str) -> str:
        """Return the files that :meth:`load` expects below the root, one per line."""

    @abstractmethod
    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose files are below ``root``; fast, nothing is read."""

    @abstractmethod
    def load(self, root: Path, split: str) -> Dataset:
        """Read a split from its official files.

        Raises
        ------
        PrerequisiteError
            If a file is missing, or a record of it is wrong: file, record, value, remedy.
        """

    @abstractmethod
    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return what methods are given, one sample per id of the dataset, in its order.

        ``detections`` is the file of person boxes that ``protocol.box_source`` names by its
        digest; None where the boxes come from the truth or are not given at all.

        Raises
        ------
        PrerequisiteError
            If the detections file is wrong: file, record, value, remedy.
        """

    @abstractmethod
    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Compare predictions with the truth, sample by sample.

        ``predictions`` covers any subset of the dataset's ids.
        """

    @abstractmethod
    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        """Turn statistics into metrics by name; NaN where a metric has no value.

        ``weights`` (n,) says how often each sample counts, as in a bootstrap draw; the result
        is that of a data set in which the sample is repeated that often.
        """

    @abstractmethod
    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read predictions made elsewhere: the official submission format or ``.npz``.

        Raises
        ------
        PrerequisiteError
            Naming file, record, value and remedy.
        """

    def write_submission(
        self, predictions: Predictions, dataset: Dataset, protocol: Protocol, path: Path
    ) -> None:
        """Write predictions of a whole split in the format that the benchmark's server takes.

        Raises
        ------
        PrerequisiteError
            If the benchmark has no such format, or the predictions lack what it wants.
        OSError
            If ``path`` cannot be written.
        """
        raise PrerequisiteError(
            f"{self.name} has no submission format that could be written.",
            "The predictions of a result lie in its folder of the workspace, predictions.parquet.",
        )

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return samples with ground-truth boxes and their people's truth, row for row.

        The truth holds at least ``keypoints`` (n, K, 2) of the method's ``skeleton`` in pixels and
        ``visible`` (n, K) bool: whether a joint is labelled.

        Raises
        ------
        PrerequisiteError
            If the data set is not labelled in that skeleton.
        """
        raise TypeError(f"{self.name} has no training samples")

    def poses(self, dataset: Dataset) -> Mapping[str, NDArray[np.float64]]:
        """Return the true poses of every sample's people, for pictures of them.

        (n, K, 2) in pixels, or (n, K, 3) in millimetres for poses in space; NaN for a joint without
        label. By default what :meth:`training_samples` hands out.

        Raises
        ------
        PrerequisiteError
            If the files of the split hold none.
        """
        assert self.skeleton is not None
        name = "joints" if self.schema.task == "joints-3d" else "keypoints"
        return {
            sample.id: np.where(truth["visible"][..., None], truth[name], np.nan)
            for sample, truth in self.training_samples(dataset, self.skeleton)
        }

    def faces(self, dataset: Dataset) -> NDArray[np.int64] | None:
        """Return the triangles (F, 3) of the meshes, for pictures of them; None if not known."""
        return None

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        """Write an embedded split's official files below ``root``, unless they are there already.

        ``progress`` is called with the number of samples made and wanted. Returns the annotation
        file, which comes last: an interrupted split never looks finished.

        Raises
        ------
        PrerequisiteError
            If there is no such split, or ``root`` cannot be written.
        """
        raise TypeError(f"{self.name} has no embedded data")

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        """Compute every metric for many draws: weights (draws, n) -> metric -> (draws,)."""
        rows = [self.compute(statistics, protocol, draw) for draw in weights]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        """Return the curves of the papers' figures, if the benchmark has any."""
        return []

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return values per joint, size or condition: ``{"joint": {"nose": 0.8, ...}, ...}``."""
        return {}

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return per-sample scores (n,) by name: what a gallery sorts by; NaN for no value."""
        return {}

    def error_analysis(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> dict[str, Any]:
        """Say which kinds of error there are and what each costs, as plain JSON values; or {}.

        ``kinds`` holds counts by kind of error and joint, ``{"jitter": {"nose": 8, ...}, ...}``;
        ``metric`` is the metric that suffers, ``baseline`` its value as predicted, and ``steps``
        its value after each further kind of error is made good, ``[{"kind": "miss", "value": 0.36,
        "gain": 0.22}, ...]``, None for no value. ``matches`` people were compared; ``source`` is
        the publication to cite.
        """
        return {}

    def units(self, dataset: Dataset, statistics: Statistics) -> tuple[str, ...]:
        """Name the units of the statistics: sample ids, unless a unit is a whole sequence."""
        return tuple(dataset.sample_ids[i] for i in statistics.position)

    def protocol(self, variant: str | None = None) -> Protocol:
        """Return a named protocol, the default for None.

        Raises
        ------
        PrerequisiteError
            If the benchmark has no variant of that name.
        """
        if variant is None:
            return next(iter(self.protocols.values()))
        if variant not in self.protocols:
            raise PrerequisiteError(
                f"{self.name} has no protocol {variant!r}.",
                f"Choose one of: {', '.join(self.protocols)}.",
            )
        return self.protocols[variant]


def require_skeleton(benchmark: Benchmark, skeleton: Skeleton) -> None:
    """Make sure that training data is labelled in the joints that a method learns.

    Raises
    ------
    PrerequisiteError
        Naming both skeletons.
    """
    own = benchmark.skeleton
    if own is None or own != skeleton:
        raise PrerequisiteError(
            f"{benchmark.name} is labelled in {own.name if own else 'no joints'}, "
            f"the method predicts {skeleton.name}.",
            "Choose a variant of the benchmark's skeleton.",
        )


def check_ids(predictions: Predictions, dataset: Dataset) -> None:
    """Make sure predictions cover a split exactly: no sample dropped, doubled or unknown.

    Raises
    ------
    ValueError
        Naming the first few ids that are wrong and their number.
    """
    have, need = set(predictions.sample_ids), set(dataset.sample_ids)
    for ids, what in ((need - have, "without predictions"), (have - need, "not in the split")):
        if ids:
            shown = ", ".join(sorted(ids)[:5])
            raise ValueError(f"{len(ids)} samples {what} ({dataset.split}): {shown}")
