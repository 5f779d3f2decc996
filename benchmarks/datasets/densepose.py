"""DensePose-COCO: annotated surface points, the geodesic tables, and IUV results."""

from __future__ import annotations

import base64
import binascii
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.coco import CocoTruth, is_synthetic, read_annotations, read_truth
from benchmarks.datasets.records import Records, positions, read_json, read_records
from benchmarks.metrics.geodesic import PARTS, Surface
from harness.api import (
    DENSE_POSE,
    Dataset,
    Predictions,
    PrerequisiteError,
    content_digest,
    file_digest,
)

OBTAIN = (
    "Download 'DensePose COCO' (densepose_minival2014.json) and the evaluation data (SMPL_subdiv."
    "mat, SMPL_SUBDIV_TRANSFORM.mat, Pdist_matrix) from the DensePose project; they have their own "
    "licences (CC BY-NC 2.0, SMPL)."
)
_PREFIX, _PLAIN = "densepose_", "annotations.json"
_TABLES = ("eval_data", "mesh", "../mesh")
_SUBDIV, _TRANSFORM = "SMPL_subdiv.mat", "SMPL_SUBDIV_TRANSFORM.mat"
_DISTANCES = ("Pdist_matrix.npy", "Pdist_matrix.mat", "Pdist_matrix.pkl")
_OFFICIAL = "Use the file as it was published."


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """What is annotated on one person.

    Parameters
    ----------
    x, y : array (n,)
        0 to 255 of the person's box.
    part : int array (n,)
        1 to 24.
    u, v : array (n,)
        0 to 1.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    part: NDArray[np.int64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """People of one split.

    Parameters
    ----------
    people : CocoTruth
        With COCO's keypoints if the file has those of every person, else without any.
    points : tuple of SurfacePoints or None
        Per annotation; None for a person that is not annotated: such people are ignored.
    masks : tuple
        Per annotation ``dp_masks`` or, where there are none, ``segmentation``, as in the file.
    surface : Surface
    """

    people: CocoTruth
    points: tuple[SurfacePoints | None, ...]
    masks: tuple[Mapping[str, Any], ...]
    surface: Surface


def layout(split: str) -> str:
    """Return the files of a split below the root."""
    return "\n".join(
        (
            f"annotations/{_PREFIX}{split}.json (or {_PLAIN})",
            "val2014/*.jpg or train2014/*.jpg of COCO (or in images/)",
            f"eval_data/{_SUBDIV}, {_TRANSFORM}, {' or '.join(_DISTANCES)}",
            "  (or mesh/uv_mesh.json, here or beside the root)",
        )
    )


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation file is below the root."""
    found = [p.stem.removeprefix(_PREFIX) for p in (root / "annotations").glob(f"{_PREFIX}*.json")]
    plain = ["minival2014"] if (root / _PLAIN).is_file() else []
    return tuple(sorted({*found, *plain}))


def picture_folder(dataset: Dataset) -> Path:
    """Return the folder that holds the split's pictures.

    Raises
    ------
    PrerequisiteError
        If there is none.
    """
    # minival2014 and valminusminival2014 are parts of COCO's val2014.
    parts = {"minival2014": "val2014", "valminusminival2014": "val2014"}
    name = parts.get(dataset.split, dataset.split)
    for folder in (dataset.root / name, dataset.root / "images" / name, dataset.root / "images"):
        if folder.is_dir():
            return folder
    raise PrerequisiteError(
        f"{dataset.root} holds no pictures of {dataset.split}.", f"Put COCO's {name} folder there."
    )


def load(root: Path, split: str) -> Dataset:
    """Read a split and the geodesic tables.

    Raises
    ------
    PrerequisiteError
        If a file is missing or a record is wrong.
    """
    path = root / "annotations" / f"{_PREFIX}{split}.json"
    if not path.is_file() and (root / _PLAIN).is_file() and split == "minival2014":
        path = root / _PLAIN
    content = read_annotations(path, root, splits(root), layout(split))
    for image in content.get("images", []) if isinstance(content, dict) else []:
        if image.get("ignore_regions_x"):
            raise PrerequisiteError(
                f"{path}: image {image.get('id')} has ignore regions (DensePose-PoseTrack).",
                "This benchmark is DensePose-COCO.",
            )
    people = read_truth(path, content, joints=_joints(content))
    annotations = {item["id"]: item for item in content["annotations"]}
    items = [annotations[number] for number in people.id.tolist()]
    surface, tables = read_surface(root)
    return Dataset(
        benchmark="densepose",
        split=split,
        root=root,
        digest=content_digest([file_digest(path), *(file_digest(table) for table in tables)]),
        synthetic=is_synthetic(content),
        sample_ids=tuple(str(number) for number in people.image_id),
        truth=DenseTruth(
            people,
            tuple(_points(path, item) if "dp_x" in item else None for item in items),
            tuple(
                {key: item[key] for key in ("dp_masks", "segmentation") if key in item}
                for item in items
            ),
            surface,
        ),
    )


def _joints(content: Any) -> int:
    """Return COCO's 17 if all annotations have keypoints, and 0 otherwise: training may use them.

    What is no annotation file at all is left to its reader.
    """
    items = content.get("annotations") if isinstance(content, dict) else None
    due = {"keypoints", "num_keypoints"}
    if not isinstance(items, list) or not items:
        return 0
    return 17 if all(isinstance(item, dict) and due <= item.keys() for item in items) else 0


def _points(path: Path, item: Mapping[str, Any]) -> SurfacePoints:
    values = {}
    for key in ("dp_x", "dp_y", "dp_I", "dp_U", "dp_V"):
        try:
            values[key] = np.array(item[key], dtype=np.float64).reshape(len(item["dp_x"]))
            if not np.isfinite(values[key]).all():
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise PrerequisiteError(
                f"{path}: annotation {item.get('id')} has no {key} of {len(item['dp_x'])} numbers.",
                _OFFICIAL,
            ) from None
    part = values["dp_I"].astype(np.int64)
    if ((part < 1) | (part > PARTS)).any():
        raise PrerequisiteError(
            f"{path}: annotation {item.get('id')} has a part outside 1 to 24.", _OFFICIAL
        )
    return SurfacePoints(values["dp_x"], values["dp_y"], part, values["dp_U"], values["dp_V"])


def read_surface(root: Path) -> tuple[Surface, list[Path]]:
    """Read the tables of the body surface, and return the files they are in.

    Raises
    ------
    PrerequisiteError
        If they are not there: they have a licence of their own and come from the user.
    """
    for folder in (root / name for name in _TABLES):
        if (folder / "uv_mesh.json").is_file():
            return _from_json(folder / "uv_mesh.json"), [folder / "uv_mesh.json"]
        distances = next((folder / n for n in _DISTANCES if (folder / n).is_file()), None)
        if distances is not None:
            return _from_tables(folder, distances)
    raise PrerequisiteError(
        f"DensePose: no geodesic tables in {root / 'eval_data'}; without them no similarity can be "
        "computed.",
        f"Expected below {root}:\n{layout('minival2014')}\n{OBTAIN}",
    )


def _from_json(path: Path) -> Surface:
    remedy = "Give part, u, v, transform (1-based mesh vertex), vertices, distances_lower (metres)."
    content = read_json(path, remedy)
    try:
        count = int(content["vertices"])
        surface = Surface(
            np.array(content["part"], dtype=np.int64),
            np.array(content["u"], dtype=np.float64),
            np.array(content["v"], dtype=np.float64),
            np.array(content["transform"], dtype=np.int64) - 1,
            np.array(content["distances_lower"], dtype=np.float64),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PrerequisiteError(f"{path} is no surface: {error}.", remedy) from None
    return _checked(surface, count, path)


def _from_tables(folder: Path, distances: Path) -> tuple[Surface, list[Path]]:
    subdiv, transform = folder / _SUBDIV, folder / _TRANSFORM
    read: Mapping[str, Callable[[Path], NDArray[Any]]] = {
        ".npy": lambda path: np.load(path, mmap_mode="r"),
        ".mat": _matrix_of_mat,
        ".pkl": _matrix_of_pickle,
    }
    u, v, part = (
        read_array(subdiv, name, _OFFICIAL).ravel()
        for name in ("U_subdiv", "V_subdiv", "Part_ID_subdiv")
    )
    vertex = read_array(transform, "index", _OFFICIAL).ravel().astype(np.int64) - 1
    try:
        geodesic = read[distances.suffix](distances).reshape(-1)
    except Exception as error:  # a damaged file fails in as many ways as there are readers
        raise PrerequisiteError(f"{distances} cannot be read: {error}.", _OFFICIAL) from error
    surface = Surface(part.astype(np.int64), u, v, vertex, geodesic)
    return _checked(surface, int(vertex.max()) + 1, distances), [subdiv, transform, distances]


def _checked(surface: Surface, vertices: int, path: Path) -> Surface:
    lengths = {len(surface.part), len(surface.u), len(surface.v), len(surface.vertex)}
    due = vertices * (vertices - 1) // 2
    if len(lengths) != 1 or len(surface.geodesic) != due:
        raise PrerequisiteError(
            f"{path}: {len(surface.geodesic)} distances, {vertices} vertices need {due}; tables of "
            f"{sorted(lengths)} entries.",
            _OFFICIAL,
        )
    if surface.vertex.min() < 0 or surface.vertex.max() >= vertices:
        raise PrerequisiteError(f"{path}: the transform leaves 1..{vertices}.", _OFFICIAL)
    absent = set(range(1, PARTS + 1)) - set(surface.part.tolist())
    if absent:
        raise PrerequisiteError(f"{path}: no vertex of the parts {sorted(absent)}.", _OFFICIAL)
    return surface


def _matrix_of_mat(path: Path) -> NDArray[Any]:
    import h5py

    with h5py.File(path) as file:
        return np.asarray(file["Pdist_matrix"])


class _ArraysOnly(pickle.Unpickler):
    """A pickle may run code on loading; this reader admits numpy arrays and nothing else."""

    _ALLOWED = frozenset(
        (module, name)
        for module, name in (
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        )
    )

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return super().find_class(module, name)


def _matrix_of_pickle(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        content = _ArraysOnly(file).load()
    return np.asarray(content["Pdist_matrix"])


def read_results(path: Path, dataset: Dataset) -> Predictions:
    """Read results: ``image_id``, ``category_id``, ``bbox``, ``score`` and the IUV image.

    The image is ``iuv`` (path of a PNG beside the file) or the challenge's ``uv_data`` (base64 of
    a PNG): red = part, green = U x 255, blue = V x 255, of the box's whole size in pixels.

    Raises
    ------
    PrerequisiteError
        Naming file, record, value and remedy.
    """
    people: CocoTruth = dataset.truth.people
    expected = "a list of {image_id, category_id, bbox [x, y, w, h], score, iuv or uv_data}"
    image, boxes, scores, images = [], [], [], []
    for records in read_records(path, "result", expected):
        boxes.append(records.rows("bbox", 4, "x, y, width, height"))
        scores.append(records.numbers("score"))
        image.append(positions(records, "image_id", people.image_id, "Score the right split."))
        for index, box in enumerate(boxes[-1]):
            images.append(_image(records, index, box, path.parent))
    where = np.concatenate(image)
    order = np.argsort(where, kind="stable")
    column = np.empty(len(images), dtype=object)
    column[:] = images
    return Predictions(
        DENSE_POSE,
        dataset.sample_ids,
        np.searchsorted(where[order], np.arange(len(people.image_id) + 1)),
        {
            "box": np.concatenate(boxes)[order],
            "score": np.concatenate(scores)[order],
            "iuv": column[order],
        },
    )


def _image(records: Records, index: int, box: NDArray[np.float64], folder: Path) -> bytes:
    item, remedy = records.items[index], "Give a PNG: red = part, green = U, blue = V."
    if "iuv" in item:
        file = folder / str(item["iuv"])
        if not file.is_file():
            records.fail(index, f"names {file}, which does not exist", remedy)
        content = file.read_bytes()
    else:
        try:
            content = base64.b64decode(item["uv_data"], validate=False)
        except (KeyError, TypeError, binascii.Error):
            records.fail(index, "has neither iuv nor uv_data", remedy)
    try:
        decoded = decode_iuv(content)
    except ValueError as error:
        records.fail(index, f"has an IUV image that {error}", remedy)
    due = iuv_size(box)
    if decoded.shape[:2] != due:
        records.fail(
            index,
            f"has an IUV image of {decoded.shape[:2]}, its box needs {due}",
            "Height and width are those of the box, cut to whole pixels.",
        )
    return content


def iuv_size(box: NDArray[np.float64]) -> tuple[int, int]:
    """Return height and width in pixels of the IUV image of a box x, y, w, h."""
    return max(int(box[3]), 1), max(int(box[2]), 1)


def decode_iuv(content: bytes) -> NDArray[np.uint8]:
    """Decode a PNG to (h, w, 3): part, U x 255, V x 255.

    Raises
    ------
    ValueError
        If it is no colour image, or a part is beyond 24.
    """
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError("is no image of three 8-bit channels")
    iuv = np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)
    if iuv[..., 0].max() > PARTS:
        raise ValueError(f"has part {iuv[..., 0].max()}; parts are 0 to 24")
    return iuv
