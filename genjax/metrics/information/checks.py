"""Checks of numbers and arrays of numbers, which are returned in float64."""

from typing import Any

import numpy as np

from genjax.errors import InvalidInputError


def check_counts(value: Any, name: str) -> Any:
    """Return whole numbers of at least 1.

    Raises:
        InvalidInputError: they are not.

    Example:
        >>> float(check_counts(3, "num_examples"))
        3.0
    """
    counts = np.asarray(value, np.float64)
    if not np.all((counts >= 1) & (counts == np.floor(counts)) & np.isfinite(counts)):
        raise InvalidInputError(f"{name}: found {value}; a whole number of at least 1 is needed.")
    return counts


def check_positive(value: Any, name: str) -> Any:
    """Return finite numbers above 0.

    Raises:
        InvalidInputError: they are not.
    """
    numbers = np.asarray(value, np.float64)
    if not np.all((numbers > 0) & np.isfinite(numbers)):
        raise InvalidInputError(f"{name}: found {value}; it must be positive and finite.")
    return numbers


def check_not_negative(value: Any, name: str) -> Any:
    """Return finite numbers of at least 0.

    Raises:
        InvalidInputError: they are not.
    """
    numbers = np.asarray(value, np.float64)
    if not np.all((numbers >= 0) & np.isfinite(numbers)):
        raise InvalidInputError(f"{name}: found {value}; it must be at least 0 and finite.")
    return numbers


def check_fraction(value: Any, name: str) -> Any:
    """Return numbers in [0, 1].

    Raises:
        InvalidInputError: they are not.
    """
    numbers = np.asarray(value, np.float64)
    if not np.all((numbers >= 0) & (numbers <= 1)):
        raise InvalidInputError(f"{name}: found {value}; it must be in [0, 1].")
    return numbers


def check_delta(value: Any) -> Any:
    """Return the argument `delta`, probabilities in (0, 1].

    Raises:
        InvalidInputError: they are not.
    """
    numbers = np.asarray(value, np.float64)
    if not np.all((numbers > 0) & (numbers <= 1)):
        raise InvalidInputError(f"delta: found {value}; it must be in (0, 1].")
    return numbers
