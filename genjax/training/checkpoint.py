"""Checkpoints of a group of networks: the only room that knows orbax."""

import pathlib
import shutil
import threading
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from genjax import errors

_FORMAT = 1
# Orbax numbers the operations of a whole process: saves of two threads at once were seen to create
# one temporary folder twice.
_ONE_AT_A_TIME = threading.Lock()


def _leaf_names(tree: Any) -> list[str]:
    # Flat names instead of the tree itself: a checkpoint then holds arrays and text only, and the
    # structure always comes from the program that reads it.
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [f"{i:05d}{jax.tree_util.keystr(path)}" for i, (path, _) in enumerate(paths)]


def save(folder: pathlib.Path, step: int, tree: Any, fingerprint: str) -> pathlib.Path:
    """Write `tree` as the checkpoint of `step` and drop the older ones; atomic.

    Args:
        folder: one folder per group.
        step: training step.
        tree: pytree of arrays.
        fingerprint: of configuration and data; `restore` refuses any other.

    Raises:
        OutputError: the folder cannot be written.
    """
    target = folder / f"step_{step:09d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        leaves = map(np.asarray, jax.tree.leaves(tree))
        arrays = dict(zip(_leaf_names(tree), leaves, strict=True))
        with _ONE_AT_A_TIME:
            ocp.save(
                str(target.absolute()),
                arrays,
                overwrite=True,
                custom_metadata={"format": _FORMAT, "fingerprint": fingerprint, "step": step},
            )
        for older in folder.glob("step_*"):
            if older.name != target.name:
                shutil.rmtree(older, ignore_errors=True)
    except OSError as error:
        raise errors.OutputError(
            f"checkpoint folder {folder}: cannot be written ({error})."
        ) from error
    return target


def latest(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the newest complete checkpoint of a group, or None."""
    complete = [p for p in folder.glob("step_*") if p.name.removeprefix("step_").isdigit()]
    return max(complete, default=None)


def check(path: pathlib.Path, fingerprint: str) -> int:
    """Return the step of a checkpoint after making sure that it belongs to this run.

    Raises:
        CheckpointError: it cannot be read, or has another fingerprint.
    """
    try:
        metadata: Any = ocp.checkpointables_metadata(str(path.absolute())).custom_metadata
        step = int(metadata["step"])  # orbax returns None for a header that it cannot parse
    except (
        Exception
    ) as error:  # orbax and tensorstore raise many kinds; all mean the same to a user
        raise _unreadable(path, error) from error
    if metadata.get("fingerprint") != fingerprint or metadata.get("format") != _FORMAT:
        raise errors.CheckpointError(
            f"checkpoint {path}: it belongs to another configuration or data set "
            f"(fingerprint {metadata.get('fingerprint')}, this run has {fingerprint}); "
            "choose another output folder or delete this one."
        )
    return step


def restore(path: pathlib.Path, like: Any, fingerprint: str) -> tuple[int, Any]:
    """Read a checkpoint into the structure of `like`.

    Args:
        path: what `latest` returned.
        like: tree of arrays or shapes.
        fingerprint: what `save` was given.

    Returns:
        The step and the tree, as NumPy arrays.

    Raises:
        CheckpointError: the files are corrupt, or belong to another configuration, data set or
            model.
    """
    step = check(path, fingerprint)
    try:
        with _ONE_AT_A_TIME:
            stored = ocp.load(str(path.absolute()))
    except Exception as error:
        raise _unreadable(path, error) from error
    wanted, structure = jax.tree_util.tree_flatten(like)
    names = _leaf_names(like)
    if sorted(stored) != sorted(names) or any(
        np.shape(stored[n]) != w.shape for n, w in zip(names, wanted, strict=True)
    ):
        raise errors.CheckpointError(
            f"checkpoint {path}: its arrays do not fit this model; choose another output folder."
        )
    leaves = [np.asarray(stored[n]) for n in names]
    return step, jax.tree_util.tree_unflatten(structure, leaves)


def _unreadable(path: pathlib.Path, error: Exception) -> errors.CheckpointError:
    first = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return errors.CheckpointError(
        f"checkpoint {path}: cannot be read, it is corrupt or not a checkpoint ({first}); "
        "delete this folder to train the group again."
    )
