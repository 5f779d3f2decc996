"""The vocabulary that methods, benchmarks and the engine share.

Nothing here imports Ray, MLflow, SQL or torch.
"""

from harness.api.benchmark import (
    FOUND_BY,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Protocol,
    check_ids,
    quirk,
    require_skeleton,
)
from harness.api.card import Card, Variant, read_card
from harness.api.digest import canonical_json, content_digest, file_digest
from harness.api.errors import PrerequisiteError, SampleError
from harness.api.evaluation import Evaluation
from harness.api.method import Method, Prepared
from harness.api.prediction import (
    BOXES,
    DENSE_POSE,
    JOINTS_3D,
    JOINTS_TO_BOX,
    MESH,
    PARSING,
    PEOPLE_2D,
    SCHEMAS,
    Field,
    Predictions,
    PredictionSchema,
    Rows,
    in_skeleton,
)
from harness.api.sample import Sample
from harness.api.skeleton import COCO_17, Skeleton, convert, missing_joints, skeletons
from harness.api.statistics import Ragged, Statistics, merge

__all__ = [
    "BOXES",
    "COCO_17",
    "DENSE_POSE",
    "FOUND_BY",
    "JOINTS_3D",
    "JOINTS_TO_BOX",
    "MESH",
    "PARSING",
    "PEOPLE_2D",
    "SCHEMAS",
    "Benchmark",
    "Card",
    "Column",
    "Curve",
    "Dataset",
    "Evaluation",
    "Field",
    "Method",
    "PredictionSchema",
    "Predictions",
    "Prepared",
    "PrerequisiteError",
    "Protocol",
    "Ragged",
    "Rows",
    "Sample",
    "SampleError",
    "Skeleton",
    "Statistics",
    "Variant",
    "canonical_json",
    "check_ids",
    "content_digest",
    "convert",
    "file_digest",
    "in_skeleton",
    "merge",
    "missing_joints",
    "quirk",
    "read_card",
    "require_skeleton",
    "skeletons",
]
