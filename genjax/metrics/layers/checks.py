"""What scores of layers refuse at the door: points and labels that no score is defined for."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError


def check_points(
    points: Any, labels: Any = None, *, name: str = "points", min_classes: int = 2
) -> tuple[Any, Any]:
    """Return points and labels as arrays of the kinds that scores read, or refuse them.

    NumPy arrays and lists stay with NumPy, JAX arrays with JAX. Points of whole numbers, booleans
    or half precision become float32; float32 and float64 stay. Of traced values only shapes and
    types are checked.

    Args:
        points: `[N, D]`, finite, N and D at least 1.
        labels: `[N]`, whole numbers from 0 on; or None.
        name: of the points, for the sentence.
        min_classes: how many classes the labels must have at least.

    Returns:
        Points `[N, D]` and labels `[N]`, or None where none were given.

    Raises:
        InvalidInputError: naming the argument, what was found and what is allowed.

    Example:
        >>> points, labels = check_points([[0, 1], [2, 3]], [0, 1])
        >>> points.dtype.name, labels.shape
        ('float32', (2,))
        >>> check_points(np.ones((3, 2)), np.zeros(3, int))
        Traceback (most recent call last):
        ...
        genjax.errors.InvalidInputError: labels: found 1 class; at least 2 are needed.
    """
    points = _as_points(points, name)
    if labels is None:
        return points, None
    labels = check_labels(labels, min_classes=min_classes)
    if labels.shape[0] != points.shape[0]:
        raise InvalidInputError(
            f"labels: found {labels.shape[0]} for {points.shape[0]} {name}; "
            "there must be one for each."
        )
    return points, labels


def check_labels(labels: Any, *, name: str = "labels", min_classes: int = 1) -> Any:
    """Return labels as an array of whole numbers `[N]` from 0 on, or refuse them.

    Args:
        labels: `[N]`; NumPy arrays and lists stay with NumPy, JAX arrays with JAX.
        name: of the argument, for the sentence.
        min_classes: how many different values there must be at least; not for traced values.

    Raises:
        InvalidInputError: another shape or type, a negative label, or too few classes.

    Example:
        >>> check_labels([2, 0, 2]).tolist()
        [2, 0, 2]
    """
    labels = _as_array(labels, name)
    if labels.ndim != 1 or labels.shape[0] == 0:
        raise InvalidInputError(f"{name}: found shape {labels.shape}; [N] is needed, N at least 1.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInputError(f"{name}: found type {labels.dtype}; whole numbers are needed.")
    if isinstance(labels, jax.core.Tracer):
        return labels
    concrete = np.asarray(labels)
    if concrete.min() < 0:
        raise InvalidInputError(f"{name}: found {concrete.min()}; labels count from 0.")
    found = np.unique(concrete).size
    if found < min_classes:
        classes = "class" if found == 1 else "classes"
        raise InvalidInputError(
            f"{name}: found {found} {classes}; at least {min_classes} are needed."
        )
    return labels


def _as_array(values: Any, name: str) -> Any:
    if isinstance(values, jax.Array):
        return values
    try:
        values = np.asarray(values)
    except ValueError as error:  # lists of several lengths
        raise InvalidInputError(f"{name}: not one array; {error}.") from error
    if values.dtype == object:
        raise InvalidInputError(f"{name}: found an array of objects; numbers are needed.")
    return values


def _as_points(points: Any, name: str) -> Any:
    points = _as_array(points, name)
    if points.ndim != 2 or 0 in points.shape:
        raise InvalidInputError(
            f"{name}: found shape {points.shape}; [N, D] is needed, N and D at least 1."
        )
    real = jnp.issubdtype(points.dtype, jnp.number) or points.dtype == bool
    if not real or jnp.issubdtype(points.dtype, jnp.complexfloating):
        raise InvalidInputError(f"{name}: found type {points.dtype}; real numbers are needed.")
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float32)
    if isinstance(points, jax.core.Tracer):
        return points
    # A sum is not finite where a value is not, and takes no second array of that size; where the
    # sum alone overflows, the values are asked.
    if not np.isfinite(_sum(points)) and not bool(np.all(np.isfinite(np.asarray(points)))):
        bad = int(np.sum(~np.isfinite(np.asarray(points)).all(axis=1)))
        raise InvalidInputError(
            f"{name}: found {bad} of {points.shape[0]} rows with values that are not finite."
        )
    return points


def _sum(points: Any) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(points.sum())
