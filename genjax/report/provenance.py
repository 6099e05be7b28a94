"""The run card: everything that is needed to repeat a run, and to recognise it."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax

from genjax.errors import InvalidInputError
from genjax.report import json_values

PACKAGES = {
    "genjax": "genjax-benchmark",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "optax": "optax",
    "numpy": "numpy",
}
"""Name on the card -> name of the distribution."""


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON form of `config`, in hexadecimal.

    The order of the keys, tuple against list and `1` against `1.0` do not change it.

    Example:
        >>> config_hash({"a": 1, "b": (2,)}) == config_hash({"b": [2.0], "a": 1})
        True
    """
    text = json.dumps(json_values.canonical(config), separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def first_difference(old: Any, new: Any, field: str = "") -> tuple[str, Any, Any] | None:
    """Return the first field (in sorted order) in which two configurations differ.

    Args:
        old: one configuration.
        new: the other one.
        field: the prefix of the field's name.

    Returns:
        The dotted name of the field and its two values, None for a field that is not there;
        or None if the configurations are the same.

    Example:
        >>> first_difference({"sweep": {"seeds": 8}}, {"sweep": {"seeds": 16}})
        ('sweep.seeds', 8, 16)
    """
    old, new = json_values.canonical(old), json_values.canonical(new)
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            name = f"{field}.{key}" if field else key
            if (key in old) != (key in new):
                return name, old.get(key), new.get(key)
            found = first_difference(old[key], new[key], name)
            if found:
                return found
        return None
    return None if old == new and type(old) is type(new) else (field, old, new)


def run_card(
    config: Mapping[str, Any],
    *,
    data_fingerprint: str,
    seeds: Sequence[int],
    wall_times: Mapping[str, float],
    command: str,
    status: Literal["partial", "complete"] = "partial",
    started: datetime.datetime | None = None,
    ended: datetime.datetime | None = None,
    files: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the content of `run.json`: configuration, versions, devices, seeds, times, command.

    Args:
        config: the full configuration.
        data_fingerprint: the fingerprint of the data set.
        seeds: the seeds of the networks.
        wall_times: phase -> seconds.
        command: the command line that started the run.
        status: `"complete"` once everything is written.
        started: when the run started; now, if not given.
        ended: when it ended; now, if not given and the run is complete.
        files: written file -> bytes; `OutputFolder.write_run_card` fills it in.

    Returns:
        A mapping of plain JSON values; times are UTC in ISO 8601.

    Raises:
        InvalidInputError: if the status is unknown, a time has no zone, or the configuration has
            no form in JSON.

    Example:
        >>> card = run_card({"seeds": 8}, data_fingerprint="ab12", seeds=[0, 1],
        ...                 wall_times={"training": 12.5}, command="make benchmark")
        >>> card["status"], card["config"]["seeds"], card["ended"]
        ('partial', 8, None)
    """
    if status not in ("partial", "complete"):
        raise InvalidInputError(f"status: found '{status}'; allowed are partial and complete.")
    started = started or datetime.datetime.now(datetime.UTC)
    if ended is None and status == "complete":
        ended = datetime.datetime.now(datetime.UTC)
    card = {
        "status": status,
        "config": dict(config),
        "config_hash": config_hash(config),
        "command": command,
        "data_fingerprint": data_fingerprint,
        "seeds": list(seeds),
        "started": _utc("started", started),
        "ended": _utc("ended", ended) if ended else None,
        "wall_times": dict(wall_times),
        "versions": versions(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "files": dict(files or {}),
    }
    return json_values.plain(card, "run card")


def versions() -> dict[str, str]:
    """Return the versions of Python, genjax and the libraries that the numbers depend on.

    Example:
        >>> sorted(versions())
        ['flax', 'genjax', 'jax', 'jaxlib', 'numpy', 'optax', 'python']
    """
    found = {"python": platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"  # e.g. genjax run from a source tree
    return found


def _utc(name: str, time: datetime.datetime) -> str:
    if time.tzinfo is None:
        raise InvalidInputError(f"{name}: the time {time} has no zone; give it in UTC.")
    return time.astimezone(datetime.UTC).isoformat(timespec="seconds")
