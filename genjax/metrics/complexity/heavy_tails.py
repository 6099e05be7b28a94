"""Spectra of weights: power laws, norms and the Marchenko-Pastur bulk of every layer.

All are read off the eigenvalues of W'W, not divided by a dimension, and need no data (Martin,
Peng and Mahoney, Predicting trends in the quality of state-of-the-art neural networks, 2021). A
convolution is the matrix [outputs, window x inputs]; measures named `_slices` take the matrices
[inputs, outputs] at every place of the window apart and join their eigenvalues, halved, as the
package `weightwatcher` does. Layers with fewer than 10 eigenvalues that are not numerically zero
are left out; the value is the mean over the others. The info of alpha, log spectral norm and
stable rank has the value of every layer (NaN where it was left out).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.metrics.complexity.contract import Intermediate, Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.layers import WeightLayer
from genjax.metrics.complexity.spectral_laws import (
    MarchenkoPastur,
    PowerLaw,
    fit_power_law,
    ordered_marchenko_pastur,
)
from genjax.metrics.complexity.workspace import Workspace

MIN_EIGENVALUES = 10
"""Layers with fewer have no spectrum to speak of; the default of `weightwatcher`."""

_SOURCE = "Martin, Peng and Mahoney, Nature Communications 12:4122, 2021"


def _sides(layer: WeightLayer) -> tuple[int, int]:
    """Return the longer and the shorter side of a layer as a matrix."""
    inputs = int(np.prod(layer.shape[: layer.inputs if layer.kind == "dense" else -1]))
    outputs = int(np.prod(layer.shape)) // inputs
    return max(inputs, outputs), min(inputs, outputs)


def _stacked(spectra: Sequence[Any], sides: Sequence[int]) -> Any:
    """Return eigenvalues [layers, most] from singular values; zeros are put in front.

    What the rounding of a matrix with the given longer side may have left of zero is set to zero.
    """
    most = max(s.size for s in spectra)
    rows = []
    for singular, side in zip(spectra, sides, strict=True):
        ordered = jnp.sort(singular.reshape(-1))
        floor = ordered[-1] * side * jnp.finfo(ordered.dtype).eps
        squares = jnp.where(ordered > floor, ordered, 0.0) ** 2
        rows.append(jnp.pad(squares, (most - squares.size, 0)))
    return jnp.stack(rows)


def _layer_eigenvalues(workspace: Workspace) -> Any:
    sides = [_sides(layer)[0] for layer in workspace.layers]
    return _stacked(workspace["singular_values"], sides)


def _singular_values(matrix: Any) -> Any:
    """Decompose one matrix, for `lax.map`: on CPU a batch of decompositions can block itself."""
    return jnp.linalg.svd(matrix, compute_uv=False)


def _slice_eigenvalues(workspace: Workspace) -> Any:
    spectra, sides = [], []
    found = zip(workspace.kernels, workspace.layers, workspace["singular_values"], strict=True)
    for kernel, layer, singular in found:
        if layer.kind == "dense":
            spectra.append(singular)
            sides.append(_sides(layer)[0])
            continue
        slices = kernel.reshape(-1, *layer.shape[2:])
        spectra.append(jax.lax.map(_singular_values, slices) / np.sqrt(2.0))
        sides.append(max(layer.shape[2:]))
    return _stacked(spectra, sides)


def _fits(eigenvalues: Any) -> PowerLaw:
    return jax.lax.map(fit_power_law, eigenvalues)


def _bulks(workspace: Workspace) -> MarchenkoPastur:
    found = []
    for row, layer in zip(workspace["layer_eigenvalues"], workspace.layers, strict=True):
        rows, count = _sides(layer)
        found.append(ordered_marchenko_pastur(row[row.size - count :], rows))
    return jax.tree.map(lambda *one: jnp.stack(one), *found)


def _log10(x: Any) -> Any:
    return jnp.log10(jnp.where(x > 0, x, 1.0))


def _log_alpha_norms(eigenvalues: Any, alphas: Any) -> Any:
    powers = jnp.where(eigenvalues > 0, alphas[:, None] * jnp.log(eigenvalues), -jnp.inf)
    return jax.nn.logsumexp(powers, axis=1) / np.log(10.0)


def _mean_over_layers(per_layer: Any, eigenvalues: Any, *, shown: bool = False) -> Result:
    """Return the mean over layers with enough eigenvalues and a value, and each if `shown`."""
    kept = (jnp.sum(eigenvalues > 0, axis=1) >= MIN_EIGENVALUES) & jnp.isfinite(per_layer)
    used = jnp.sum(kept)
    mean = jnp.sum(jnp.where(kept, per_layer, 0.0)) / jnp.maximum(used, 1)
    each = jnp.where(kept, per_layer, jnp.nan)
    layers = {f"layer{i}": each[i - 1] for i in range(1, len(each) + 1)} if shown else {}
    left_out = len(per_layer) - used
    return refuse_where({Refusal.DEGENERATE: used == 0}, mean, layers_left_out=left_out, **layers)


def _alpha(workspace: Workspace) -> Result:
    alphas = workspace["power_laws"].alpha
    return _mean_over_layers(alphas, workspace["layer_eigenvalues"], shown=True)


def _alpha_weighted(workspace: Workspace) -> Result:
    values = workspace["layer_eigenvalues"]
    return _mean_over_layers(workspace["power_laws"].alpha * _log10(values[:, -1]), values)


def _log_alpha_norm(workspace: Workspace) -> Result:
    values = workspace["layer_eigenvalues"]
    return _mean_over_layers(_log_alpha_norms(values, workspace["power_laws"].alpha), values)


def _ks_distance(workspace: Workspace) -> Result:
    return _mean_over_layers(workspace["power_laws"].distance, workspace["layer_eigenvalues"])


def _log_norm(workspace: Workspace) -> Result:
    values = workspace["layer_eigenvalues"]
    return _mean_over_layers(_log10(jnp.sum(values, axis=1)), values)


def _log_spectral_norm(workspace: Workspace) -> Result:
    values = workspace["layer_eigenvalues"]
    return _mean_over_layers(_log10(values[:, -1]), values, shown=True)


def _stable_rank(workspace: Workspace) -> Result:
    values = workspace["layer_eigenvalues"]
    largest = jnp.where(values[:, -1] > 0, values[:, -1], 1.0)
    return _mean_over_layers(jnp.sum(values, axis=1) / largest, values, shown=True)


def _mp_softrank(workspace: Workspace) -> Result:
    return _mean_over_layers(workspace["bulks"].softrank, workspace["layer_eigenvalues"])


def _num_spikes(workspace: Workspace) -> Result:
    spikes = workspace["bulks"].spikes.astype(jnp.float32)
    return _mean_over_layers(spikes, workspace["layer_eigenvalues"])


def _alpha_pooled(workspace: Workspace) -> Result:
    values = workspace["layer_eigenvalues"]
    law = fit_power_law(values.reshape(-1))
    few = jnp.sum(values > 0) < MIN_EIGENVALUES
    refused = {Refusal.DEGENERATE: few | ~jnp.isfinite(law.alpha)}
    return refuse_where(refused, law.alpha, distance=law.distance, tail=law.tail)


def _alpha_slices(workspace: Workspace) -> Result:
    values = workspace["slice_eigenvalues"]
    return _mean_over_layers(workspace["slice_power_laws"].alpha, values)


def _alpha_weighted_slices(workspace: Workspace) -> Result:
    values = workspace["slice_eigenvalues"]
    return _mean_over_layers(workspace["slice_power_laws"].alpha * _log10(values[:, -1]), values)


def _log_alpha_norm_slices(workspace: Workspace) -> Result:
    values = workspace["slice_eigenvalues"]
    return _mean_over_layers(_log_alpha_norms(values, workspace["slice_power_laws"].alpha), values)


INTERMEDIATES = (
    # [layers, most], eigenvalues of W'W ascending; zeros in front where a layer has fewer.
    Intermediate("layer_eigenvalues", _layer_eigenvalues, ("singular_values",)),
    # The same of the joined slices of convolutions.
    Intermediate("slice_eigenvalues", _slice_eigenvalues, ("singular_values",)),
    # `PowerLaw` of [layers].
    Intermediate("power_laws", lambda w: _fits(w["layer_eigenvalues"]), ("layer_eigenvalues",)),
    Intermediate(
        "slice_power_laws", lambda w: _fits(w["slice_eigenvalues"]), ("slice_eigenvalues",)
    ),
    # `MarchenkoPastur` of [layers].
    Intermediate("bulks", _bulks, ("layer_eigenvalues",)),
)


def _measure(name: str, formula: str, compute: Any, *needs: str, **options: Any) -> Measure:
    return Measure(
        name, "heavy_tails", formula, options.pop("source", _SOURCE), compute, needs, **options
    )


_SPECTRUM = "layer_eigenvalues"
_SLICES = "slice_eigenvalues"
MEASURES = (
    _measure(
        "alpha",
        "mean over layers of alpha = 1 + k / sum ln(l_j / xmin), l the eigenvalues of W'W from "
        "xmin, which minimises the Kolmogorov-Smirnov distance",
        _alpha,
        "power_laws",
        _SPECTRUM,
    ),
    _measure(
        "alpha_weighted",
        "alpha-hat: mean over layers of alpha log10 of the largest eigenvalue of W'W",
        _alpha_weighted,
        "power_laws",
        _SPECTRUM,
    ),
    _measure(
        "log_alpha_norm",
        "mean over layers of log10 of the sum of l^alpha",
        _log_alpha_norm,
        "power_laws",
        _SPECTRUM,
    ),
    _measure(
        "alpha_distance",
        "mean over layers of the Kolmogorov-Smirnov distance between tail and power law",
        _ks_distance,
        "power_laws",
        _SPECTRUM,
    ),
    _measure(
        "alpha_pooled",
        "alpha of the eigenvalues of all layers together",
        _alpha_pooled,
        _SPECTRUM,
    ),
    _measure("log_norm", "mean over layers of log10 ||W||_F^2", _log_norm, _SPECTRUM),
    _measure(
        "log_spectral_norm",
        "mean over layers of log10 ||W||_2^2",
        _log_spectral_norm,
        _SPECTRUM,
    ),
    _measure(
        "stable_rank",
        "mean over layers of ||W||_F^2 / ||W||_2^2",
        _stable_rank,
        _SPECTRUM,
    ),
    _measure(
        "mp_softrank",
        "mean over layers of upper edge of the Marchenko-Pastur bulk / largest eigenvalue; "
        "variance from the median eigenvalue (Gavish and Donoho 2014)",
        _mp_softrank,
        "bulks",
        _SPECTRUM,
        source="Martin and Mahoney, JMLR 22:165, 2021",
    ),
    _measure(
        "num_spikes",
        "mean over layers of the number of eigenvalues beyond the 95th percentile of the largest "
        "of a random matrix (Tracy-Widom; Johnstone 2001)",
        _num_spikes,
        "bulks",
        _SPECTRUM,
        source="Martin and Mahoney, JMLR 22:165, 2021",
        larger_is_worse=None,
    ),
    _measure(
        "alpha_slices",
        "alpha with a convolution as the joined eigenvalues of its slices [inputs, outputs]",
        _alpha_slices,
        "slice_power_laws",
        _SLICES,
        fast=False,
    ),
    _measure(
        "alpha_weighted_slices",
        "alpha-hat with a convolution as the joined, halved eigenvalues of its slices",
        _alpha_weighted_slices,
        "slice_power_laws",
        _SLICES,
        fast=False,
    ),
    _measure(
        "log_alpha_norm_slices",
        "log10 alpha norm with a convolution as the joined, halved eigenvalues of its slices",
        _log_alpha_norm_slices,
        "slice_power_laws",
        _SLICES,
        fast=False,
    ),
)
