"""Plain JSON values: configurations and results as text that any program can read."""

import dataclasses
import datetime
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from genjax.errors import InvalidInputError


def plain(value: Any, where: str = "value") -> Any:
    """Return `value` as nested dicts, lists, strings, numbers, booleans and None.

    NumPy and JAX scalars and arrays, tuples, NamedTuples, dataclasses, sets, paths and dates are
    converted. NaN becomes None (JSON has no NaN); an infinity becomes the string `"Infinity"` or
    `"-Infinity"`, because an infinite bound is not a missing one.

    Args:
        value: what is to be written.
        where: the name of `value` for the refusal.

    Raises:
        InvalidInputError: if a part of `value` has no form in JSON, or two keys become the same.

    Example:
        >>> import numpy as np
        >>> plain({"rate": np.float32(0.5), "sizes": np.arange(3), "gap": float("nan")})
        {'rate': 0.5, 'sizes': [0, 1, 2], 'gap': None}
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain_mapping(value._asdict(), where)  # pyright: ignore[reportAttributeAccessIssue]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _plain_mapping(fields, where)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, where) for item in value), key=str)
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _plain_number(value, where)


def canonical(value: Any, where: str = "config") -> Any:
    """Return `plain(value)` with sorted keys and whole floats as integers, for comparison.

    `1` and `1.0` are the same setting, and so are a tuple and a list.

    Example:
        >>> canonical({"b": 1.0, "a": (1, 2.5)})
        {'a': [1, 2.5], 'b': 1}
    """
    return _ordered(plain(value, where))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _plain_mapping(mapping: Mapping[Any, Any], where: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in mapping.items():
        if not isinstance(key, str | int | float | np.integer | np.floating):
            raise InvalidInputError(
                f"{where}: a key has the type {type(key).__name__}; keys are strings or numbers."
            )
        name = str(key.item() if isinstance(key, np.generic) else key)
        if name in result:
            raise InvalidInputError(f"{where}: two keys become the same name '{name}' in JSON.")
        result[name] = plain(item, f"{where}.{name}")
    return result


def _plain_number(value: Any, where: str) -> Any:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return float(value) if math.isfinite(value) else f"{'-' * (value < 0)}Infinity"
    # NumPy and JAX arrays, their scalars, and pandas' series: everything that says it is an array.
    if hasattr(value, "__array__"):
        array = _array(value)
        if array is not None:
            return plain(array.tolist(), where)
    raise InvalidInputError(
        f"{where}: the type {type(value).__name__} cannot be written as JSON; "
        "use numbers, strings, arrays, lists or mappings of these."
    )


def _array(value: Any) -> np.ndarray | None:
    """Return `value` as an array of a kind that JSON can hold, or None."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "V" and array.dtype.names is None:
            array = array.astype(np.float64)  # bfloat16 and the other small floats
        if array.dtype.kind == "M":
            array = array.astype(str)
    except (TypeError, ValueError):  # e.g. a PRNG key
        return None
    return array if array.dtype.kind in "biufU" else None
