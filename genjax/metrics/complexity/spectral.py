"""Spectral norms and singular values of every weight layer, shared by all that needs them."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Intermediate
from genjax.metrics.complexity.layers import WeightLayer, as_matrix, fourier_blocks
from genjax.metrics.complexity.workspace import Workspace

_SQUARINGS = 20


def matrices(layers: tuple[WeightLayer, ...], kernels: list[Any]) -> list[Any]:
    """Return kernels as stacks [1, outputs, rest] of one matrix, the reshaped-matrix version.

    Example:
        >>> layer = WeightLayer("", 0, "dense", (4, 5), 1, (1, 1), (1, 1))
        >>> [m.shape for m in matrices((layer,), [jnp.ones((4, 5))])]
        [(1, 5, 4)]
    """
    return [as_matrix(k, layer)[None] for k, layer in zip(kernels, layers, strict=True)]


def convolution_blocks(layers: tuple[WeightLayer, ...], kernels: list[Any]) -> list[Any]:
    """Return kernels as stacks [F, a, b] of the blocks of their circular convolutions.

    The largest singular value of a stack is that of the layer as a linear map of images of the
    size that it reads, with periodic borders and stride 1 (Sedghi, Gupta and Long, 2019). A window
    larger than the images wraps around them. A depthwise convolution has one block of size 1 per
    frequency and channel; a dense layer and a 1 x 1 convolution are their own block. Convolutions
    in groups of several channels are not supported: their blocks are NaN.

    Example:
        >>> layer = WeightLayer("", 0, "convolution", (3, 3, 2, 5), 3, (8, 8), (1, 1))
        >>> [b.shape for b in convolution_blocks((layer,), [jnp.ones((3, 3, 2, 5))])]
        [(40, 2, 5)]
    """
    found = []
    for kernel, layer in zip(kernels, layers, strict=True):
        if layer.kind == "dense" or (layer.kind == "convolution" and layer.shape[:2] == (1, 1)):
            found.append(as_matrix(kernel, layer)[None])
            continue
        if layer.kind == "grouped":
            found.append(jnp.full((1, 1, 1), jnp.nan))
            continue
        wrapped = _wrapped(kernel, layer.spatial)
        blocks = fourier_blocks(wrapped, layer._replace(shape=wrapped.shape))
        found.append(blocks.reshape(-1, 1, 1) if layer.kind == "depthwise" else blocks)
    return found


def _wrapped(kernel: Any, spatial: tuple[int, int]) -> Any:
    """Add up the taps of a kernel that meet the same pixel of a periodic image."""
    for axis, size in enumerate(spatial):
        laps = -(-kernel.shape[axis] // size)
        if laps > 1:
            pad = [(0, 0)] * kernel.ndim
            pad[axis] = (0, laps * size - kernel.shape[axis])
            shape = (*kernel.shape[:axis], laps, size, *kernel.shape[axis + 1 :])
            kernel = jnp.pad(kernel, pad).reshape(shape).sum(axis)
    return kernel


def largest_singular_values(stacks: list[Any]) -> Any:
    r"""Return the largest singular value of each stack of blocks, `[len(stacks)]`.

    With G = B* B and p = 2^20, `lambda_max(G) <= tr(G^p)^(1/p) <= n^(1/p) lambda_max(G)`: the
    result is too large by at most `ln(n) / 2^21`, 3e-6 for n = 512. It takes 20 products of
    matrices. By hand because decompositions of many small matrices are loops on accelerators, and
    because all layers share one loop, so that it compiles once.

    Args:
        stacks: arrays [F, a, b], real or complex.

    Example:
        >>> blocks = jnp.array([[[3.0, 0.0], [0.0, 1.0]], [[0.0, 4.0], [0.0, 0.0]]])
        >>> [round(float(v), 3) for v in largest_singular_values([blocks, jnp.ones((1, 2, 5))])]
        [4.0, 3.162]
    """
    # The largest entry is 1, so that squares neither overflow nor vanish.
    sizes = [jnp.max(jnp.abs(stack)) for stack in stacks]
    grams = [_gram(b / jnp.where(s == 0, 1, s)) for b, s in zip(stacks, sizes, strict=True)]
    # Blocks of one size and type go through the loop as one array.
    kinds: dict[Any, list[int]] = {}
    for i, gram in enumerate(grams):
        kinds.setdefault((gram.shape[-1], str(gram.dtype)), []).append(i)
    joined = [jnp.concatenate([grams[i] for i in some]) for some in kinds.values()]
    start = [(gram, jnp.zeros(len(gram), gram.real.dtype)) for gram in joined]
    ended, _ = jax.lax.scan(
        lambda carry, _: ([_squared(*pair) for pair in carry], None), start, length=_SQUARINGS
    )
    found: dict[int, Any] = {}
    for (power, log_scale), some in zip(ended, kinds.values(), strict=True):
        logs = (log_scale + jnp.log(_trace(power))) / 2 ** (_SQUARINGS + 1)
        begin = 0
        for i in some:
            end = begin + len(grams[i])
            found[i], begin = jnp.exp(jnp.max(logs[begin:end])), end
    return jnp.stack([found[i] * size for i, size in enumerate(sizes)])


def _gram(stack: Any) -> Any:
    """Return B* B or B B*, the smaller, with zeros around it up to one of few sizes."""
    adjoint = stack.conj().swapaxes(-1, -2)
    pair = (adjoint, stack) if stack.shape[-1] <= stack.shape[-2] else (stack, adjoint)
    gram = jnp.matmul(*pair, precision="highest")
    size = gram.shape[-1]
    # Each size compiles on its own. Size 1 is what depthwise convolutions have many of.
    extra = 0 if size == 1 else max(16, 2 ** (size - 1).bit_length()) - size
    return jnp.pad(gram, ((0, 0), (0, extra), (0, extra)))


def _trace(power: Any) -> Any:
    return jnp.trace(power, axis1=-2, axis2=-1).real


def _squared(power: Any, log_scale: Any) -> tuple[Any, Any]:
    """Return the square of a matrix that is divided by its trace first, and the log it lost."""
    trace = _trace(power)
    scale = jnp.where(trace == 0, 1, trace)
    power = power / scale[:, None, None]
    return jnp.matmul(power, power, precision="highest"), 2 * (log_scale + jnp.log(scale))


def frobenius_norms(kernels: list[Any]) -> Any:
    """Return the root of the sum of squares of each kernel, `[L]`.

    Example:
        >>> frobenius_norms([jnp.array([3.0, 4.0])]).tolist()
        [5.0]
    """
    return jnp.stack([jnp.linalg.norm(kernel.reshape(-1)) for kernel in kernels])


def _changes(workspace: Workspace) -> list[Any]:
    pairs = zip(workspace.kernels, workspace.init_kernels, strict=True)
    return [end - start for end, start in pairs]


def _singular_values(workspace: Workspace) -> tuple[Any, ...]:
    stacks = matrices(workspace.layers, workspace.kernels)
    return tuple(jnp.linalg.svd(stack[0], compute_uv=False) for stack in stacks)


def _of_kernels(form: Any) -> Any:
    return lambda w: largest_singular_values(form(w.layers, w.kernels))


def _of_changes(form: Any) -> Any:
    return lambda w: largest_singular_values(form(w.layers, _changes(w)))


INTERMEDIATES = (
    # Per layer [min(outputs, rest)], descending; reshaped matrices.
    Intermediate("singular_values", _singular_values, requires=("layers",)),
    # [L], largest singular value of the reshaped matrix.
    Intermediate("spectral_norms", _of_kernels(matrices), requires=("layers",)),
    # [L], largest singular value of the circular convolution at the size that the layer reads.
    Intermediate("spectral_norms_fft", _of_kernels(convolution_blocks), requires=("layers",)),
    # The same two of the change since initialisation.
    Intermediate("spectral_distances", _of_changes(matrices), requires=("layers", "init")),
    Intermediate(
        "spectral_distances_fft", _of_changes(convolution_blocks), requires=("layers", "init")
    ),
    # [L], of the kernels and of their change.
    Intermediate("frobenius_norms", lambda w: frobenius_norms(w.kernels), requires=("layers",)),
    Intermediate(
        "frobenius_distances", lambda w: frobenius_norms(_changes(w)), requires=("layers", "init")
    ),
)
