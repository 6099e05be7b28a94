"""Norms of weights, with and without the margin.

Sums and products run over the d weight layers: dense layers, convolutions and depthwise ones, and
of an attention the projections to queries, keys, values and output; biases, scales of layer norms
and embeddings take no part. Normalisation that can be folded is folded in first. Products of norms
bound how much a chain of such layers amplifies; of residual networks and transformers the formula
is computed as written and bounds nothing.

Spectral norms come in two versions: of the kernel reshaped to [outputs, rest], and, in names that
end in `_fft`, of the convolution as a linear map of images of the size that the layer reads, with
periodic borders and stride 1. The code of Dziugaite et al. takes the size of the network's images
at every layer instead, and the absolute value of a negative margin, which is refused here. Logs are
natural; values are those before size adjustment, see `size_adjusted`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.complexity import spectral
from genjax.metrics.complexity.contract import Measure, Refusal, Result, refuse_where, value
from genjax.metrics.complexity.workspace import Workspace

INTERMEDIATES = spectral.INTERMEDIATES

_JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"
_GAMMA = "gamma: 10th percentile of the training margins"


def size_adjusted(values: Any, kind: str, train_size: int) -> np.ndarray:
    """Return measures as Dziugaite et al. (2020) scale them with the number of examples m.

    A logarithm mu becomes `(mu - ln m) / 2`, anything else `sqrt(mu / m)`: both are the square root
    of the measure over m. The names of the logarithms start with `log_`.

    Args:
        values: of a measure of norms, path norms, margins, parameters or PAC-Bayes; NaN stays.
        kind: `log` or `plain`.
        train_size: m.

    Raises:
        InvalidInputError: another kind, a train size below 1, or negative values of kind `plain`.

    Example:
        >>> size_adjusted([400.0], "plain", 100).tolist()
        [2.0]
        >>> size_adjusted([float(np.log(400.0))], "log", 100).round(4).tolist()  # ln 2
        [0.6931]
    """
    values = np.asarray(values, np.float64)
    if kind not in ("log", "plain"):
        raise InvalidInputError(f"kind: found '{kind}'; allowed are 'log' and 'plain'.")
    if train_size < 1:
        raise InvalidInputError(f"train_size: found {train_size}; it must be at least 1.")
    if kind == "log":
        return (values - math.log(train_size)) / 2
    if np.any(values < 0):
        raise InvalidInputError(
            f"values: found {np.nanmin(values)}; those of kind 'plain' are 0 or larger."
        )
    return np.sqrt(values / train_size)


def _inverse_margin(workspace: Workspace) -> Result:
    margin = workspace["margin"]
    return refuse_where({Refusal.MARGIN: ~(margin > 0)}, 1 / margin**2)


def _log_product(norms: str, *, mean: bool, over_margin: bool) -> Callable[[Workspace], Result]:
    """Return `sum ln ||W||^2 [- 2 ln gamma]`, or of the sum form `ln d + that / d`."""

    def compute(workspace: Workspace) -> Result:
        found = workspace[norms]
        refused = {Refusal.ZERO_LAYER: jnp.any(found == 0)}
        amount = 2 * jnp.sum(jnp.log(found))
        if over_margin:
            margin = workspace["margin"]
            refused[Refusal.MARGIN] = ~(margin > 0)
            amount = amount - 2 * jnp.log(margin)
        if mean:
            amount = math.log(len(found)) + amount / len(found)
        return refuse_where(refused, amount)

    return compute


def _log_main(norms: str, numerators: str) -> Callable[[Workspace], Result]:
    """Return the log of `prod ||W||_2^2 / gamma^2 * sum_i numerator_i^2 / ||W_i||_2^2`."""

    def compute(workspace: Workspace) -> Result:
        found, above, margin = workspace[norms], workspace[numerators], workspace["margin"]
        ratio = jnp.sum((above / found) ** 2)
        refused = {
            Refusal.ZERO_LAYER: jnp.any(found == 0),
            Refusal.MARGIN: ~(margin > 0),
            Refusal.DEGENERATE: ratio == 0,
        }
        amount = 2 * jnp.sum(jnp.log(found)) - 2 * jnp.log(margin) + jnp.log(ratio)
        return refuse_where(refused, amount)

    return compute


def _fro_over_spec(norms: str) -> Callable[[Workspace], Result]:
    def compute(workspace: Workspace) -> Result:
        found = workspace[norms]
        amount = jnp.sum((workspace["frobenius_norms"] / found) ** 2)
        return refuse_where({Refusal.ZERO_LAYER: jnp.any(found == 0)}, amount)

    return compute


def _sum_of_squares(norms: str) -> Callable[[Workspace], Result]:
    return lambda workspace: value(jnp.sum(workspace[norms] ** 2))


def _measure(name: str, formula: str, compute: Any, *needs: str) -> Measure:
    return Measure(name, "norms", formula, _JIANG, compute, needs=needs)


def _log_products(short: str, suffix: str, norms: str, symbol: str, equations: Any) -> Any:
    """Return the four log forms: product and sum, plain and over the margin."""
    product = f"sum_i ln {symbol}^2"
    forms = (
        ("prod", "_over_margin", f"{product} - 2 ln gamma; {_GAMMA}"),
        ("prod", "", product),
        ("sum", "_over_margin", f"ln d + ({product} - 2 ln gamma) / d; {_GAMMA}"),
        ("sum", "", f"ln d + ({product}) / d"),
    )
    return tuple(
        _measure(
            f"log_{form}_of_{short}{margin}{suffix}",
            f"{words} (eq {equation})",
            _log_product(norms, mean=form == "sum", over_margin=bool(margin)),
            norms,
            *(["margin"] if margin else []),
        )
        for (form, margin, words), equation in zip(forms, equations, strict=True)
    )


def _spectral_measures(suffix: str, words: str) -> tuple[Measure, ...]:
    """Return all that reads spectral norms of one version."""
    norms, changes = f"spectral_norms{suffix}", f"spectral_distances{suffix}"
    main = "sum_i ln ||W_i||_2^2 - 2 ln gamma + ln sum_i"
    below = f"/ ||W_i||_2^2; {_GAMMA}; ||.||_2 {words}"
    return (
        _measure(
            f"log_spec_init_main{suffix}",
            f"{main} ||W_i - W_i^0||_F^2 {below} (eq 29)",
            _log_main(norms, "frobenius_distances"),
            *(norms, "frobenius_distances", "margin"),
        ),
        _measure(
            f"log_spec_orig_main{suffix}",
            f"{main} ||W_i||_F^2 {below} (eq 30)",
            _log_main(norms, "frobenius_norms"),
            *(norms, "frobenius_norms", "margin"),
        ),
        *_log_products("spec", suffix, norms, "||W_i||_2", _equations(words, (31, 32, 34, 35))),
        _measure(
            f"fro_over_spec{suffix}",
            f"sum_i ||W_i||_F^2 / ||W_i||_2^2; ||.||_2 {words} (eq 33)",
            _fro_over_spec(norms),
            *(norms, "frobenius_norms"),
        ),
        _measure(
            f"dist_spec_init{suffix}",
            f"sum_i ||W_i - W_i^0||_2^2; ||.||_2 {words} (eq 41)",
            _sum_of_squares(changes),
            changes,
        ),
    )


def _equations(words: str, numbers: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{number}; ||.||_2 {words}" for number in numbers)


MEASURES = (
    _measure("inverse_margin", f"1 / gamma^2; {_GAMMA} (eq 22)", _inverse_margin, "margin"),
    *_spectral_measures("_fft", "of the circular convolution"),
    *_spectral_measures("", "of the reshaped matrix"),
    *_log_products("fro", "", "frobenius_norms", "||W_i||_F", ("36", "37", "38", "39")),
    _measure(
        "fro_dist",
        "sum_i ||W_i - W_i^0||_F^2 (eq 40)",
        _sum_of_squares("frobenius_distances"),
        "frobenius_distances",
    ),
    _measure(
        "param_norm",
        "sum_i ||W_i||_F^2, biases left out (eq 42)",
        _sum_of_squares("frobenius_norms"),
        "frobenius_norms",
    ),
)
