"""Predictions: one columnar container, one schema per task.

A schema says which arrays a person (or hand, or box) has. :class:`Predictions` holds them for many
samples at once: the rows of sample ``i`` are ``offsets[i]:offsets[i + 1]`` of every column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.skeleton import Skeleton, convert

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Mapping[str, NDArray[Any]]
"""The columns of one sample's rows, each (n, ...)."""


@dataclass(frozen=True)
class Field:
    """One column of a prediction.

    Parameters
    ----------
    name : str
    shape : tuple of int or str
        Shape of one row's value; a letter stands for a size that all rows of a file share
        (``K`` joints, ``V`` vertices).
    meaning : str
        Units and convention in plain words.
    dtype : str
        ``float64``, ``int64`` or ``bytes`` (an encoded image, say).
    optional : bool
        Whether the column may be absent as a whole.
    missing : bool
        Whether NaN is allowed, meaning "not predicted". Infinity never is.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    dtype: str = "float64"
    optional: bool = False
    missing: bool = False


@dataclass(frozen=True)
class PredictionSchema:
    """The columns that predictions of one task have."""

    task: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """Return the field of that name; KeyError if the task has none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(f"task {self.task} has no field {name!r}")


_SCORE = Field("score", (), "confidence of the row; ranks rows, any scale")
_BOX = Field("box", (4,), "x, y, w, h in image pixels", optional=True)
_TRACK = Field("track_id", (), "identity across frames", dtype="int64", optional=True)

PEOPLE_2D = PredictionSchema(
    "people-2d",
    (
        Field("keypoints", ("K", 2), "x, y in image pixels, 0-based", missing=True),
        Field("keypoint_scores", ("K",), "confidence of each joint, any scale", missing=True),
        _SCORE,
        _BOX,
        _TRACK,
    ),
)
BOXES = PredictionSchema(
    "boxes",
    (
        # A tracker that has lost its target says so with NaN.
        Field("box", (4,), "x, y, w, h in image pixels", missing=True),
        _SCORE,
        Field("label", (), "category id", dtype="int64", optional=True),
        Field("frame", (), "frame index in the sequence", dtype="int64", optional=True),
        _TRACK,
    ),
)
JOINTS_3D = PredictionSchema(
    "joints-3d",
    (
        Field("joints", ("K", 3), "x, y, z in millimetres, the protocol's frame", missing=True),
        Field("joint_scores", ("K",), "confidence of each joint", optional=True),
    ),
)
MESH = PredictionSchema(
    "mesh",
    (
        Field("vertices", ("V", 3), "x, y, z in millimetres"),
        Field("joints", ("K", 3), "joints regressed from the mesh, millimetres"),
        Field("camera", (3,), "s, tx, ty: at pixel s (x + tx), s (y + ty)", optional=True),
    ),
)
DENSE_POSE = PredictionSchema(
    "dense-pose",
    (
        Field("box", (4,), "x, y, w, h in image pixels"),
        _SCORE,
        Field("iuv", (), "PNG of the box: channels part I, U x 255, V x 255", dtype="bytes"),
    ),
)
PARSING = PredictionSchema(
    "parsing",
    (Field("labels", (), "PNG of class indices, the size of the image", dtype="bytes"),),
)

SCHEMAS: Mapping[str, PredictionSchema] = {
    schema.task: schema for schema in (PEOPLE_2D, BOXES, JOINTS_3D, MESH, DENSE_POSE, PARSING)
}


JOINTS_TO_BOX = 1.25
"""Sides of a person's box in extents of the joints: so it is, at the median, in COCO's val2017."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one task for many samples, checked on construction.

    Parameters
    ----------
    schema : PredictionSchema
    sample_ids : tuple of str
        One per sample, without repetition; a sample without any row is still listed.
    offsets : int array (len(sample_ids) + 1,)
        Sample ``i`` owns rows ``offsets[i]:offsets[i + 1]``.
    columns : mapping of str to array
        Every column (rows, \\*shape); ``bytes`` columns are object arrays (rows,).

    Raises
    ------
    ValueError
        If a column is missing, unknown, of the wrong shape, not finite, or an id repeats.

    Examples
    --------
    >>> people = Predictions.from_samples(
    ...     PEOPLE_2D,
    ...     [("7", {"keypoints": np.zeros((1, 17, 2)), "keypoint_scores": np.ones((1, 17)),
    ...             "score": np.array([0.9])})],
    ... )
    >>> people.rows_of(0)["keypoints"].shape
    (1, 17, 2)
    """

    schema: PredictionSchema
    sample_ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        _check_ids(self.sample_ids)
        if self.offsets.shape != (len(self.sample_ids) + 1,) or np.any(np.diff(self.offsets) < 0):
            raise ValueError(
                f"{len(self.sample_ids)} samples need as many offsets plus one, rising"
            )
        _check_columns(self.schema, self.columns, int(self.offsets[-1]))

    @classmethod
    def from_samples(
        cls, schema: PredictionSchema, samples: Iterable[tuple[str, Rows]]
    ) -> Predictions:
        """Build from (sample id, columns of that sample's rows) pairs, in the given order."""
        ids, rows = [], []
        for sample_id, columns in samples:
            ids.append(sample_id)
            rows.append(columns)
        counts = [len(columns[schema.fields[0].name]) for columns in rows]
        names = [f.name for f in schema.fields if rows and all(f.name in r for r in rows)]
        for columns in rows:
            for name in set(columns) - set(names):
                raise ValueError(
                    f"column {name!r} is unknown to {schema.task} or not in all samples"
                )
        return cls(
            schema,
            tuple(ids),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
            {name: np.concatenate([r[name] for r in rows]) for name in names},
        )

    def boxed(self) -> Predictions:
        """Return people with a box of ``JOINTS_TO_BOX`` times the extent of their joints.

        Whoever is known by one joint only has no extent and is left out.
        """
        known = np.isfinite(self.columns["keypoints"][..., :1])
        wide = known.sum(axis=(1, 2)) > 1
        points, known = self.columns["keypoints"][wide], known[wide]
        low = np.where(known, points, np.inf).min(axis=1)
        high = np.where(known, points, -np.inf).max(axis=1)
        size = np.maximum(high - low, 1) * JOINTS_TO_BOX
        box = np.concatenate([(low + high) / 2 - size / 2, size], axis=1)
        columns = {name: column[wide] for name, column in self.columns.items()}
        offsets = np.concatenate([[0], np.cumsum(wide)])[self.offsets]
        return Predictions(self.schema, self.sample_ids, offsets, {**columns, "box": box})

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Predictions:
        """Join the samples of several parts in the given order; all have the same columns."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        filled = [part for part in parts if len(part)]
        return cls(
            parts[0].schema,
            tuple(sample_id for part in parts for sample_id in part.sample_ids),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            {
                name: np.concatenate([part.columns[name] for part in filled])
                for name in (filled[0].columns if filled else ())
            },
        )

    def __len__(self) -> int:
        return len(self.sample_ids)

    def rows_of(self, index: int) -> Rows:
        """Return the columns of sample number ``index`` as views (n, ...)."""
        own = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return {name: column[own] for name, column in self.columns.items()}

    def select(self, sample_ids: Sequence[str]) -> Predictions:
        """Return the named samples in the named order.

        Raises
        ------
        KeyError
            If an id is not among the samples.
        """
        position = {sample_id: i for i, sample_id in enumerate(self.sample_ids)}
        chosen = np.array([position[sample_id] for sample_id in sample_ids], dtype=np.int64)
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], counts)
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Predictions(self.schema, tuple(sample_ids), offsets, columns)

    def digest(self) -> str:
        """Return a SHA-256 over ids, offsets and the bits of every column."""
        sha = hashlib.sha256("\n".join(self.sample_ids).encode())
        sha.update(np.ascontiguousarray(self.offsets, dtype="<i8").tobytes())
        for name in sorted(self.columns):
            column = self.columns[name]
            sha.update(f"{name}{column.shape[1:]}".encode())
            if column.dtype == object:
                for blob in column:
                    sha.update(hashlib.sha256(blob).digest())
            else:
                kind = "<f8" if column.dtype.kind == "f" else "<i8"
                sha.update(np.ascontiguousarray(column, dtype=kind).tobytes())
        return sha.hexdigest()

    def to_arrow(self) -> pa.Table:
        """Return one Arrow row per sample; each column is a list of its rows' flattened values."""
        import pyarrow as pa

        names, arrays = [pa.field("sample_id", pa.string())], [pa.array(self.sample_ids)]
        for name, column in self.columns.items():
            width = int(np.prod(column.shape[1:], dtype=np.int64))
            bounds = pa.array(self.offsets * width, type=pa.int64())
            values = pa.array(column.reshape(-1) if column.dtype != object else list(column))
            array = pa.LargeListArray.from_arrays(bounds, values)
            shape = ",".join(str(size) for size in column.shape[1:])
            names.append(pa.field(name, array.type, metadata={"shape": shape}))
            arrays.append(array)
        counts = np.diff(self.offsets)
        names.append(pa.field("rows", pa.int64()))
        arrays.append(pa.array(counts))
        return pa.Table.from_arrays(
            arrays, schema=pa.schema(names, metadata={"task": self.schema.task})
        )

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Predictions:
        """Rebuild what :meth:`to_arrow` wrote, to the bit."""
        schema = SCHEMAS[table.schema.metadata[b"task"].decode()]
        table = table.combine_chunks()
        counts = table["rows"].to_numpy()
        columns = {}
        for field in table.schema:
            if field.name in ("sample_id", "rows"):
                continue
            shape = [int(size) for size in field.metadata[b"shape"].decode().split(",") if size]
            values = pa_values(table[field.name])
            if schema.field(field.name).dtype == "bytes":
                flat = np.empty(len(values), dtype=object)
                flat[:] = values.to_pylist()
            else:
                flat = values.to_numpy(zero_copy_only=False)
            columns[field.name] = flat.reshape(-1, *shape)
        return cls(
            schema,
            tuple(table["sample_id"].to_pylist()),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            columns,
        )


def pa_values(column: pa.ChunkedArray) -> pa.Array:
    """Return the flattened values of a list column that has been combined into one chunk."""
    import pyarrow as pa

    if column.num_chunks == 0:
        return pa.array([], type=column.type.value_type)
    return column.chunk(0).flatten()


def in_skeleton(predictions: Predictions, source: Skeleton, target: Skeleton) -> Predictions:
    """Return predictions with the joints of another skeleton; what the source lacks is NaN.

    Raises
    ------
    KeyError
        If no conversion between the skeletons is declared.
    """
    columns = dict(predictions.columns)
    for field in predictions.schema.fields:
        if field.shape[:1] != ("K",) or field.name not in columns:
            continue
        values = columns[field.name]
        if len(field.shape) == 1:  # a number per joint
            values = convert(values[..., None], source, target)[..., 0]
        else:
            values = convert(values, source, target)
        columns[field.name] = values
    return replace(predictions, columns=columns)


def _check_ids(sample_ids: tuple[str, ...]) -> None:
    if len(set(sample_ids)) == len(sample_ids):
        return
    seen: set[str] = set()
    for sample_id in sample_ids:
        if sample_id in seen:
            raise ValueError(f"sample {sample_id} appears twice")
        seen.add(sample_id)


def _check_columns(
    schema: PredictionSchema, columns: Mapping[str, NDArray[Any]], rows: int
) -> None:
    sizes: dict[str, int] = {}
    for name in columns:
        schema.field(name)
    for field in schema.fields:
        if field.name not in columns:
            if field.optional or not columns:
                continue
            raise ValueError(f"{schema.task} predictions need the column {field.name!r}")
        column = columns[field.name]
        where = f"{schema.task} column {field.name!r}"
        if column.ndim != 1 + len(field.shape) or len(column) != rows:
            raise ValueError(f"{where} has shape {column.shape}, expected ({rows}, {field.shape})")
        for size, expected in zip(column.shape[1:], field.shape, strict=True):
            if size != (
                sizes.setdefault(expected, size) if isinstance(expected, str) else expected
            ):
                raise ValueError(f"{where} has shape {column.shape}, expected (n, {field.shape})")
        if field.dtype == "bytes":
            continue
        if column.dtype != field.dtype:
            raise ValueError(f"{where} is {column.dtype}, expected {field.dtype}")
        bad = np.isinf(column) if field.missing else ~np.isfinite(column)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            raise ValueError(f"{where}, row {row}: {column[row]!r} is not finite")
