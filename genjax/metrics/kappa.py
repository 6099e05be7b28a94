"""Kappa distances of the practical metric: how far agreement with the truth is from perfect.

Every distance is `K = 1 - kappa = (1 - P0) / (1 - Pe)`, P0 the observed agreement and Pe the
agreement expected by chance. It is computed in this form, never as 1 - (P0 - Pe) / (1 - Pe): all
terms are then non-negative sums of counts, nothing cancels, and float32 gives full precision.

0 is perfect agreement, 1 is chance. By the paper's convention kappa = 0 (K = 1) where Pe = 1.
Larger K means worse agreement, so a larger "diversity" in the paper's words is a worse network.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Num

from genjax.errors import InvalidInputError, suggest

PAPER_EXAMPLES = 10_000
"""The number of examples that the 2024 code assumes, whatever the test set holds."""


def one_vs_rest_distance(counts: Num[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """One-vs-rest Cohen kappa distance of every class, the journal version (the default).

    `K_i = (n_i. + n_.i - 2 n_ii) / N / [p_i (1 - q_i) + q_i (1 - p_i)]` with p_i = n_i. / N,
    q_i = n_.i / N: the algebra of 1 - kappa_i with
    `P0_i = (n_ii + N - n_i. - n_.i + n_ii) / N` and
    `Pe_i = [n_i. n_.i + (N - n_i.)(N - n_.i)] / N^2`.

    Args:
        counts: confusion counts `[..., C, C]`, rows are the truth.

    Returns:
        K float32 `[..., C]` in [0, 2]; NaN where a class has no examples (absent or excluded).

    Raises:
        InvalidInputError: `counts` is not square in its last two axes.

    References:
        Huang, Yu and Zhang, A practical generalization metric for deep networks benchmarking,
        Scientific Reports 15, 9747 (2025); Cohen, A coefficient of agreement for nominal
        scales (1960).

    Example:
        >>> import jax.numpy as jnp
        >>> one_vs_rest_distance(jnp.array([[5, 0], [0, 5]])).tolist()
        [0.0, 0.0]
    """
    counts = _square(counts)
    total = counts.sum((-2, -1))[..., None].astype(jnp.float32)
    truth, predicted = counts.sum(-1), counts.sum(-2)
    hits = jnp.diagonal(counts, axis1=-2, axis2=-1)
    distance = _two_class_distance(hits, truth - hits, predicted - hits, total)
    return jnp.where(truth > 0, distance, jnp.nan)


def multiclass_distance(counts: Num[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """One Cohen kappa distance over all classes together.

    `K = (N - sum_i n_ii) / N / sum_i p_i (1 - q_i)`. On a test set with equally many examples of
    each of C classes it equals error * C / (C - 1) exactly, whatever the predictions.

    Args:
        counts: confusion counts `[..., C, C]`, rows are the truth.

    Returns:
        K float32 `[...]`; NaN where there are no examples.

    Raises:
        InvalidInputError: `counts` is not square in its last two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(multiclass_distance(jnp.array([[4, 1], [1, 4]]))), 6)
        0.4
    """
    counts = _square(counts)
    total = counts.sum((-2, -1))
    scale = total.astype(jnp.float32)[..., None]
    truth = counts.sum(-1) / scale
    missed = (total[..., None] - counts.sum(-2)) / scale
    wrong = (total - jnp.trace(counts, axis1=-2, axis2=-1)) / total.astype(jnp.float32)
    return jnp.where(total > 0, _ratio(wrong, (truth * missed).sum(-1)), jnp.nan)


def pairwise_distance(counts: Num[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """Mean over the other classes j of the Cohen kappa distance between classes i and j alone.

    The distance of the pair is that of the 2 x 2 table n_ii, n_ij, n_ji, n_jj: the examples of the
    two classes that are predicted as one of the two. The paper does not define a pairwise kappa;
    this one separates confusion with one neighbour from confusion with many.

    Args:
        counts: confusion counts `[..., C, C]`, rows are the truth.

    Returns:
        K float32 `[..., C]`; NaN where a class has no examples or no pair with a non-empty table.

    Raises:
        InvalidInputError: `counts` is not square in its last two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> pairwise_distance(jnp.array([[5, 0], [0, 5]])).tolist()
        [0.0, 0.0]
    """
    counts = _square(counts)
    truth = counts.sum(-1)
    hits = jnp.diagonal(counts, axis1=-2, axis2=-1)
    mine = jnp.broadcast_to(hits[..., :, None], counts.shape)
    other = jnp.broadcast_to(hits[..., None, :], counts.shape)
    back = jnp.swapaxes(counts, -2, -1)
    total = (mine + other + counts + back).astype(jnp.float32)
    distance = _two_class_distance(mine, counts, back, total)
    present = truth > 0
    pairs = present[..., :, None] & present[..., None, :] & (total > 0)
    pairs = pairs & jnp.broadcast_to(~jnp.eye(counts.shape[-1], dtype=bool), pairs.shape)
    return jnp.where(pairs, distance, 0).sum(-1) / pairs.sum(-1)


def arxiv2024_distance(
    probabilities: Float[Array | np.ndarray, "..."],
    labels: Int[Array | np.ndarray, " examples"],
    t1: float = 0.2,
    t2: float = 0.2,
    M: int | None = PAPER_EXAMPLES,
) -> Float[Array, "..."]:
    """The different quantity that the arXiv-era code (September 2024) calls Kappa.

    With h = p_i and m = max_{j != i} p_j over the examples whose largest probability reaches t1:
    a = #(|h - m| <= t2), b = #(m - h > t2), c = #(h - m > t2), d = M - a - b - c,
    p1 = (a + d) / M, p2 = [(a + b)(a + c) + (c + d)(b + d)] / M^2 and
    `K_i = |p1 - p2| / (1 - p2)`, 0.5 where p2 = 1.

    It compares the network's probabilities with each other and never with the truth: `labels`
    only say which classes have examples. The code multiplies its average by 10 later; this does
    not.

    Args:
        probabilities: softmax outputs `[..., N, C]`.
        labels: true classes `[N]`.
        t1: examples whose every probability is below t1 are ignored.
        t2: two probabilities closer than t2 count as equal.
        M: number of examples in the formula. The code has 10000 whatever the test set holds (the
            default, for comparison with its numbers); None takes N, the number of examples.

    Returns:
        K float32 `[..., C]`; NaN where a class has no examples.

    Raises:
        InvalidInputError: shapes do not fit, there are fewer than two classes, or more than M
            examples.

    Example:
        >>> import jax.numpy as jnp
        >>> p = jnp.array([[0.9, 0.1], [0.2, 0.8]])
        >>> arxiv2024_distance(p, jnp.array([0, 1]), M=None).tolist()
        [1.0, 1.0]
    """
    p = _check_probabilities(probabilities, labels, M)
    total = p.shape[-2] if M is None else M
    ranked, _ = jax.lax.top_k(p, 2)
    best, second = ranked[..., :1], ranked[..., 1:]
    # The largest of the others is the best, unless this class is the best itself.
    is_best = jax.nn.one_hot(jnp.argmax(p, -1), p.shape[-1], dtype=bool)
    margin = p - jnp.where(is_best, second, best)
    counted = best >= t1
    a = (counted & (jnp.abs(margin) <= t2)).sum(-2)
    b = (counted & (margin < -t2)).sum(-2)
    c = (counted & (margin > t2)).sum(-2)
    a, b, c, d = (count / float(total) for count in (a, b, c, total - a - b - c))
    expected = (a + b) * (a + c) + (c + d) * (b + d)
    # 1 - p2 without cancellation: the two margins are a + b and a + c.
    unexpected = (a + b) * (b + d) + (a + c) * (c + d)
    distance = jnp.abs(a + d - expected) / jnp.where(unexpected > 0, unexpected, 1)
    distance = jnp.where(unexpected > 0, distance, 0.5)
    present = jnp.zeros(p.shape[-1], bool).at[labels].set(True, mode="drop")
    return jnp.where(jnp.broadcast_to(present, distance.shape), distance, jnp.nan)


class KappaVariant(NamedTuple):
    """One way to define the kappa distance.

    Attributes:
        needs: "confusion" (called with counts) or "probabilities" (called with probabilities and
            labels).
        per_class: whether it gives one value per class, [..., C], or one for all, [...].
        apply: the function.
        summary: one line for tables.
    """

    needs: str
    per_class: bool
    apply: Callable[..., Array]
    summary: str


KAPPA_VARIANTS: dict[str, KappaVariant] = {
    "one_vs_rest": KappaVariant(
        "confusion", True, one_vs_rest_distance, "each class against the rest (journal, default)"
    ),
    "multiclass": KappaVariant(
        "confusion", False, multiclass_distance, "Cohen kappa over all classes together"
    ),
    "pairwise": KappaVariant(
        "confusion", True, pairwise_distance, "each class against each other one, averaged"
    ),
    "arxiv2024": KappaVariant(
        "probabilities", True, arxiv2024_distance, "margins of probabilities (arXiv-era code)"
    ),
}


def kappa_variant(name: str) -> KappaVariant:
    """Look a variant up by name.

    Raises:
        InvalidInputError: there is no such variant.

    Example:
        >>> kappa_variant("one_vs_rest").per_class
        True
    """
    if name not in KAPPA_VARIANTS:
        raise InvalidInputError(suggest("kappa", name, list(KAPPA_VARIANTS)))
    return KAPPA_VARIANTS[name]


def _two_class_distance(both, only_true, only_predicted, total) -> Array:
    """Give `(1 - P0) / (1 - Pe)` of the 2 x 2 table whose counts sum to `total`."""
    p, q = (both + only_true) / total, (both + only_predicted) / total
    not_p = (total - both - only_true) / total
    not_q = (total - both - only_predicted) / total
    return _ratio((only_true + only_predicted) / total, p * not_q + q * not_p)


def _ratio(disagreement, by_chance) -> Array:
    return jnp.where(by_chance > 0, disagreement / jnp.where(by_chance > 0, by_chance, 1), 1.0)


def _square(counts) -> Array:
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise InvalidInputError(
            f"counts: found shape {tuple(counts.shape)}; confusion counts [..., C, C] are needed."
        )
    return jnp.asarray(counts)


def _check_probabilities(probabilities, labels, M: int | None) -> Array:
    shape = tuple(probabilities.shape)
    if len(shape) < 2 or shape[-2] != labels.shape[0] or shape[-1] < 2:
        raise InvalidInputError(
            f"probabilities: found shape {shape}; [..., {labels.shape[0]}, C] with C >= 2 classes "
            "is needed for the labels given."
        )
    if M is not None and shape[-2] > M:
        raise InvalidInputError(
            f"M: found {M}; with {shape[-2]} examples it must be at least {shape[-2]}, or None."
        )
    if not isinstance(probabilities, Tracer):
        low, high = float(probabilities.min()), float(probabilities.max())
        if not (low >= 0 and high <= 1 + 1e-5):
            raise InvalidInputError(
                f"probabilities: found values from {low:.4g} to {high:.4g}; softmax outputs in "
                "[0, 1] are needed, not logits."
            )
    return jnp.asarray(probabilities, jnp.float32)
