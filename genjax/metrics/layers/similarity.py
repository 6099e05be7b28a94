"""Centred kernel alignment between embeddings, and of embeddings with labels. Host, float64."""

from typing import Any

import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points


def linear_cka(first: Any, second: Any, *, unbiased: bool = False) -> float:
    """Return the linear centred kernel alignment of two embeddings of the same examples.

    `HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`, `K = XX'`, `L = YY'` (Kornblith et al., 2019,
    equations 3-5). Biased HSIC of centred X and Y is `||Y'X||_F^2` up to a factor that cancels; it
    goes to 1 for any two embeddings as D grows beyond N. The unbiased one (Song et al., 2012,
    equation 4; Nguyen, Raghu and Kornblith, 2021, equation 3) does not, and can be below 0.

    In 0 ... 1, or -1 ... 1 if unbiased; 1 for embeddings equal up to rotation, scale and shift.
    About 0 is chance if unbiased. Products of features `[D, D']` are taken where D and D' are at
    most N, else of examples `[N, N]`. NaN for a constant embedding, or where the unbiased HSIC of
    one with itself is not above 0.

    Args:
        first: X, `[N, D]`.
        second: Y, `[N, D']`.
        unbiased: needs at least 4 examples.

    Raises:
        InvalidInputError: different numbers of examples, or fewer than 2 (4 if unbiased).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> round(linear_cka(x, 2 * x[:, ::-1] + 1), 6), round(linear_cka(x, x, unbiased=True), 6)
        (1.0, 1.0)
    """
    x, y = _centred(first, "first"), _centred(second, "second")
    if len(x) != len(y):
        raise InvalidInputError(f"second: found {len(y)} examples; the first has {len(x)}.")
    least = 4 if unbiased else 2
    if len(x) < least:
        raise InvalidInputError(f"first: found {len(x)} examples; at least {least} are needed.")
    if not (x.any() and y.any()):
        return float("nan")
    if max(x.shape[1], y.shape[1]) > len(x):
        # Gram matrices are their own inner products: K.L is the sum of entries times entries.
        k, ell = x @ x.T, y @ y.T
        inner = [float(np.vdot(a, b)) for a, b in ((k, ell), (k, k), (ell, ell))]
    else:
        inner = [_squared_norm(a.T @ b) for a, b in ((x, y), (x, x), (y, y))]
    if unbiased:
        rests = [_off_diagonal_rest(a, b) for a, b in ((x, y), (x, x), (y, y))]
        inner = [a + b for a, b in zip(inner, rests, strict=True)]
    across, within_x, within_y = inner
    if not (within_x > 0 and within_y > 0):
        return float("nan")
    return float(across / np.sqrt(within_x) / np.sqrt(within_y))


def label_cka(points: Any, labels: Any, *, unbiased: bool = False) -> float:
    """Return the alignment of an embedding with the labels: `L_ij = 1[y_i = y_j]`.

    `linear_cka` with one-hot labels: how much of the similarity between examples is that of their
    classes. 1 where every class is one point and these are equally far apart; about 0 is chance if
    unbiased.

    Args:
        points: `[N, D]`.
        labels: `[N]`, at least two classes.
        unbiased: as of `linear_cka`.

    Example:
        >>> round(label_cka([[1.0], [1.0], [0.0], [0.0]], [0, 0, 1, 1]), 6)
        1.0
    """
    points, labels = check_points(points, labels)
    _, codes = np.unique(np.asarray(labels), return_inverse=True)
    return linear_cka(points, np.eye(codes.max() + 1)[codes], unbiased=unbiased)


def _centred(points: Any, name: str) -> np.ndarray:
    """Return centred rows in float64 of largest entry 1; zeros for a constant embedding."""
    points, _ = check_points(points, name=name)
    raw = np.asarray(points)
    if np.all(raw == raw[:1]):
        return np.zeros(raw.shape)
    rows = raw.astype(np.float64) / np.abs(raw).max()
    rows -= rows.mean(axis=0, keepdims=True)
    return rows / np.abs(rows).max()


def _squared_norm(matrix: np.ndarray) -> float:
    return float(np.vdot(matrix, matrix))


def _off_diagonal_rest(x: np.ndarray, y: np.ndarray) -> float:
    """Return what n(n - 3) times unbiased HSIC adds to tr(KL), for centred x and y.

    With K~ and L~ free of their diagonals it is `tr(K~L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) -
    2/(n - 2) 1'K~L~1`. Rows of centred K and L add up to 0, so `K~1 = -diag(K)`.
    """
    n = len(x)
    k, ell = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", y, y)
    together = float(k @ ell)
    return (
        -together + float(k.sum()) * float(ell.sum()) / ((n - 1) * (n - 2)) - 2 / (n - 2) * together
    )
