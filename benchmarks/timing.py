"""What benchmarks share: medians, and the dated file of results."""

import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax


def timed(function: Callable[[], Any], repetitions: int = 1, *, warm: bool = False):
    """Return (median seconds, result of the last call); `warm` adds a call that is not counted."""
    if warm:
        function()
    seconds = []
    result = None
    for _ in range(repetitions):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def write(path: str | None, **found: Any) -> None:
    """Write results with date, machine and versions; None writes nothing."""
    if path is None:
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    known = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "device": jax.devices()[0].device_kind,
        "versions": {
            name: sys.modules[name].__version__
            for name in ("jax", "numpy", "torch", "curvlinops", "sklearn")
            if hasattr(sys.modules.get(name), "__version__")
        },
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**known, **found}, file, indent=1)
