"""Empirical tangent kernels, the kernel of an infinitely wide network, and what they say of labels.

Gradients come from reverse mode alone, because the networks' convolutions have no forward one.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.errors import InvalidInputError, suggest

FORMS = ("trace", "sum", "full")
_HELD = 2**25
"""Numbers of one block of gradients (128 MiB in float32); two blocks are held at once."""

_TOGETHER = 32


def empirical_ntk(
    apply: Callable[..., Any], params: Any, images: Array, *, form: str = "trace", held: int = _HELD
) -> Array:
    """Return the empirical neural tangent kernel of a network.

    With J_c(x) the gradient of logit c at x with respect to all parameters (Jacot, Gabriel and
    Hongler, Neural tangent kernel, 2018):

    - `trace`: K_ij = (1/C) sum_c J_c(x_i) . J_c(x_j), the kernel averaged over outputs;
    - `sum`: K_ij = (1/C) (sum_c J_c(x_i)) . (sum_c J_c(x_j)), the pseudo-kernel of the sum of
      logits (Mohamadi, Bae and Sutherland, A fast, well-founded approximation to the empirical
      neural tangent kernel, 2023): one gradient per example instead of C;
    - `full`: K_(ic)(jd) = J_c(x_i) . J_d(x_j), `[n C, n C]`, example by example.

    Gradients of at most `held` numbers are kept at once, twice; where all of them are more, outputs
    are taken one by one, and if the gradients of one are still more, they are computed again for
    each pair of blocks of examples. Products are at the highest precision.

    Args:
        apply: `(params, images) -> logits`.
        params: where the gradients are taken.
        images: [n, H, W, channels].
        form: one of the three.
        held: bound on the numbers in a block of gradients.

    Returns:
        [n, n], or [n C, n C] with `full`.

    Raises:
        InvalidInputError: an unknown form.

    Example:
        >>> images = jnp.array([[1.0, 0.0], [1.0, 1.0]])
        >>> empirical_ntk(lambda w, x: x @ w, jnp.ones((2, 3)), images).tolist()
        [[1.0, 1.0], [1.0, 2.0]]
    """
    if form not in FORMS:
        raise InvalidInputError(suggest("form", form, FORMS))
    classes = jax.eval_shape(apply, params, images[:1]).shape[-1]
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    with jax.default_matmul_precision("highest"):
        if form == "full":
            outputs = jnp.eye(classes)
            return _blocks(apply, params, images, outputs, max(1, held // (size * classes)))
        block = max(1, held // size)
        if form == "sum":
            ones = jnp.full((1, classes), 1 / math.sqrt(classes))
            return _blocks(apply, params, images, ones, block)
        if len(images) * size * classes <= held:
            gradients = _gradients(apply, params, images, jnp.eye(classes))
            gradients = gradients.reshape(len(images), -1)
            return gradients @ gradients.T / classes

        def add(total, output):
            return total + _blocks(apply, params, images, output[None], block), None

        start = jnp.zeros((len(images), len(images)), jnp.result_type(float))
        return jax.lax.scan(add, start, jnp.eye(classes))[0] / classes


def _blocks(apply, params, images, outputs, block):
    """Return J J' of the outputs [R, C] given, [n R, n R], for blocks of examples."""
    count, rows = len(images), len(outputs)
    if block >= count:
        gradients = _gradients(apply, params, images, outputs)
        return gradients @ gradients.T
    pieces = -(-count // block)
    size = -(-count // pieces)
    order = jnp.arange(pieces * size) % count
    sliced = images[order].reshape(pieces, size, *images.shape[1:])

    def against_all(left):
        own = _gradients(apply, params, left, outputs)

        def against(right):
            return own @ _gradients(apply, params, right, outputs).T

        return jax.lax.map(against, sliced).transpose(1, 0, 2).reshape(len(own), -1)

    whole = jax.lax.map(against_all, sliced).reshape(pieces * size * rows, -1)
    return whole[: count * rows, : count * rows]


def _gradients(apply, params, images, outputs):
    """Return the gradients [n R, P] of every example, one example after the other.

    A loop and not `vmap`: kernel gradients of many examples at once would be grouped convolutions,
    for which XLA:CPU has no fast kernel; the outputs of one example share theirs. Accelerators take
    some examples at once.
    """

    def of_example(image):
        _, pull = jax.vjp(lambda p: apply(p, image[None])[0], params)
        leaves = jax.tree.leaves(jax.vmap(lambda v: pull(v)[0])(outputs.astype(jnp.float32)))
        return jnp.concatenate([leaf.reshape(len(outputs), -1) for leaf in leaves], axis=1)

    together = None if jax.default_backend() == "cpu" else _TOGETHER
    found = jax.lax.map(of_example, images, batch_size=together)
    return found.reshape(-1, found.shape[-1])


def two_layer_relu_kernel(inputs: Float[Array, "n features"]) -> Float[Array, "n n"]:
    """Return the kernel of an infinitely wide two-layer ReLU network whose first layer is trained.

    H_ij = x_i . x_j (pi - arccos(x_i . x_j)) / (2 pi) for inputs of unit norm (Arora, Du, Hu, Li
    and Wang, Fine-grained analysis of optimization and generalization for overparameterized
    two-layer neural networks, 2019, eq 3). Inputs are scaled to unit norm here.

    Example:
        >>> two_layer_relu_kernel(jnp.array([[2.0, 0.0], [0.0, 3.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    with jax.default_matmul_precision("highest"):
        norms = jnp.sqrt(jnp.sum(inputs**2, axis=1, keepdims=True))
        unit = inputs / jnp.where(norms > 0, norms, 1.0)
        cosines = jnp.clip(unit @ unit.T, -1.0, 1.0)
    # Equal inputs have cosine 1, which rounding would miss.
    cosines = jnp.fill_diagonal(cosines, jnp.where(norms[:, 0] > 0, 1.0, 0.0), inplace=False)
    return cosines * (jnp.pi - jnp.arccos(cosines)) / (2 * jnp.pi)


def label_complexity(
    kernel: Float[Array, "n n"], targets: Float[Array, "n outputs"], ridge: float = 1e-4
) -> Float[Array, ""]:
    """Return sqrt(2 tr(Y' (K + r I)^-1 Y) / n), r = ridge tr(K) / n.

    With one output and r = 0 this is the complexity of Arora et al. 2019 (theorem 5.1), whose
    kernel is that of `two_layer_relu_kernel`; several outputs share one kernel and add up. The
    ridge keeps rounding out: eigenvalues below r count as r, more or less.

    Args:
        kernel: positive semi-definite.
        targets: Y; rows of norm at most 1 in the theorem.
        ridge: relative to the mean of the kernel's diagonal.

    Example:
        >>> round(float(label_complexity(2.0 * jnp.eye(4), jnp.ones((4, 1)), 0.0)), 4)
        1.0
    """
    added = ridge * jnp.trace(kernel) / len(kernel)

    def by_eigenvalues():
        values, vectors = jnp.linalg.eigh(kernel)
        shares = jnp.sum((vectors.T @ targets) ** 2, axis=1)
        return jnp.sum(shares / (jnp.maximum(values, 0.0) + added))

    with jax.default_matmul_precision("highest"):
        # Small eigenvalues come out of a factorisation more exactly than of a decomposition; where
        # rounding has made one of them negative there is no factor.
        factor = jnp.linalg.cholesky(kernel + added * jnp.eye(len(kernel), dtype=kernel.dtype))
        half = jax.scipy.linalg.solve_triangular(factor, targets, lower=True)
        energy = jnp.sum(half**2)
        energy = jax.lax.cond(jnp.isfinite(energy), lambda: energy, by_eigenvalues)
    return jnp.sqrt(2 * energy / len(kernel))


def alignment(
    first: Float[Array, "n n"], second: Float[Array, "n n"], *, centred: bool = False
) -> Float[Array, ""]:
    """Return <K, L> / (||K||_F ||L||_F), the cosine between two kernels.

    With `centred`, of H K H and H L H, H = I - 11'/n: centred kernel alignment, CKA (Cristianini et
    al., On kernel-target alignment, 2001; Cortes, Mohri and Rostamizadeh, Algorithms for learning
    kernels based on centered alignment, 2012).

    Example:
        >>> round(float(alignment(jnp.eye(4), jnp.ones((4, 4)))), 4)
        0.5
    """
    if centred:
        first, second = _centred(first), _centred(second)
    # Kernels are scaled first, so that squares of large ones do not overflow.
    first, second = (k / jnp.max(jnp.abs(k)) for k in (first, second))
    both = jnp.sqrt(jnp.sum(first**2)) * jnp.sqrt(jnp.sum(second**2))
    return jnp.sum(first * second) / both


def _centred(kernel):
    rows = kernel - jnp.mean(kernel, axis=0, keepdims=True)
    return rows - jnp.mean(rows, axis=1, keepdims=True)


def effective_dimension(kernel: Float[Array, "n n"], ridge: float) -> Float[Array, ""]:
    """Return tr(K (K + r I)^-1), r = ridge tr(K) / n: the degrees of freedom of kernel regression.

    (Zhang, Learning bounds for kernel regression using effective data dimensionality, 2005.)

    Example:
        >>> float(effective_dimension(jnp.eye(6), 1.0))
        3.0
    """
    values = jnp.maximum(jnp.linalg.eigvalsh(kernel), 0.0)
    return jnp.sum(values / (values + ridge * jnp.trace(kernel) / len(kernel)))
