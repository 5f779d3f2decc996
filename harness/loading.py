"""Build a method by its name, with its weights."""

from __future__ import annotations

from pathlib import Path

from harness.api import Method, PrerequisiteError, Skeleton
from harness.registry import method_card, method_class, split_name


def load_method(
    spec: str, weights: Path | str | None = None, skeleton: Skeleton | None = None
) -> Method:
    """Build a method, in evaluation mode on the CPU.

    Parameters
    ----------
    spec : str
        ``METHOD:VARIANT``, such as ``hrnet:w32-256x192``.
    weights : path, optional
        Checkpoint to load: safetensors or a torch file, under the official or a documented
        foreign key format. None gives the deterministic random initialisation.
    skeleton : Skeleton, optional
        Joints to predict, where they are not the card's own.

    Returns
    -------
    Method
        Its ``network`` is the ``torch.nn.Module``.

    Raises
    ------
    PrerequisiteError
        If a name is unknown or the checkpoint does not fit.
    """
    from harness.weights import load_into

    name, variant = split_name(spec)
    method = method_class(name)(method_card(name), variant, skeleton)
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise PrerequisiteError(
                f"Weights file {path} does not exist.", "Give an existing file."
            )
        load_into(method, path)
    method.network.eval()
    return method
