"""Spectra of weight matrices in PyTorch eager: power laws and the Marchenko-Pastur bulk."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

MIN_EIGENVALUES = 10
TRACY_WIDOM_95 = 0.9793


def power_law(values: Any) -> tuple[float, float]:
    """Return exponent and Kolmogorov-Smirnov distance; positive values in ascending order."""
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    logs = values.log()
    excess = (logs - logs[:-1, None]).clamp_min(0)
    places = torch.arange(count, dtype=values.dtype)
    sizes = count - places[:-1, None]
    alphas = 1 + sizes / excess.sum(1, keepdim=True)
    expected = -torch.expm1((1 - alphas) * excess)
    distances = (expected - (places - places[:-1, None]) / sizes).abs().triu().amax(1)
    new = torch.ones(count - 1, dtype=torch.bool)
    new[1:] = values[1:-1] > values[:-2]
    distances = distances.masked_fill(~(new & (logs[:-1] < logs[-1])), math.inf)
    best = int(distances.argmin())
    if distances[best] == math.inf:
        return math.nan, math.nan
    return alphas[best, 0].item(), distances[best].item()


@functools.cache
def marchenko_pastur_median(ratio: float) -> float:
    """Return the median of the law of unit variance, columns / rows = ratio."""
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    t = (np.arange(20_000) + 0.5) / 20_000 * np.pi / 2
    mass = np.cumsum(np.sin(2 * t) ** 2 / (low + (high - low) * np.sin(t) ** 2))
    return float(np.interp(0.5, mass / mass[-1], low + (high - low) * np.sin(t) ** 2))


def bulk(eigenvalues: Any, rows: int) -> tuple[float, float]:
    """Return the upper edge over the largest eigenvalue, and the number of spikes."""
    count = len(eigenvalues)
    median = (eigenvalues[(count - 1) // 2] + eigenvalues[count // 2]).item() / 2
    scale = median / (rows * marchenko_pastur_median(count / rows))
    edge = scale * (math.sqrt(rows) + math.sqrt(count)) ** 2
    both = math.sqrt(rows - 1) + math.sqrt(count)
    spread = both * (1 / math.sqrt(rows - 1) + 1 / math.sqrt(count)) ** (1 / 3)
    spikes = (eigenvalues > scale * (both**2 + TRACY_WIDOM_95 * spread)).sum().item()
    return edge / eigenvalues[-1].item(), spikes


def spectra(singular_values: Sequence[Any], shapes: Sequence[Any]) -> dict[str, float]:
    """Return means over the layers with at least 10 eigenvalues that are not rounding."""
    rows, everything = [], []
    for singular, shape in zip(singular_values, shapes, strict=True):
        ordered = singular.flip(0)
        floor = ordered[-1] * max(shape) * torch.finfo(ordered.dtype).eps
        eigenvalues = ordered.where(ordered > floor, 0).square()
        known = eigenvalues[eigenvalues > 0]
        everything.append(known)
        if len(known) < MIN_EIGENVALUES:
            continue
        alpha, distance = power_law(known)
        softrank, spikes = bulk(eigenvalues, max(shape))
        largest, total = known[-1].item(), known.sum().item()
        norm = torch.logsumexp(alpha * known.log(), 0).item() / math.log(10)
        rows.append(
            {
                "alpha": alpha,
                "alpha_weighted": alpha * math.log10(largest),
                "log_alpha_norm": norm,
                "alpha_distance": distance,
                "log_norm": math.log10(total),
                "log_spectral_norm": math.log10(largest),
                "stable_rank": total / largest,
                "mp_softrank": softrank,
                "num_spikes": spikes,
            }
        )
    pooled = torch.cat(everything).sort().values
    alpha = power_law(pooled)[0] if len(pooled) >= MIN_EIGENVALUES else math.nan
    return {name: float(np.mean([r[name] for r in rows])) for name in rows[0]} | {
        "alpha_pooled": alpha
    }
