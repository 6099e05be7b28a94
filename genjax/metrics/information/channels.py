"""Finite channels: row-stochastic matrices `P[x, y] = P(Y = y | X = x)`, in float64 on the host."""

import functools
import itertools
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import entr, rel_entr

from genjax.errors import InvalidInputError
from genjax.metrics.layers.contingency import mutual_information as information_of_table

_ROUNDING = 1e-8


def check_channel(channel: Any, name: str = "channel") -> Float[np.ndarray, "inputs outputs"]:
    """Return a channel in float64 after checking that every row is a distribution.

    Args:
        channel: `[inputs, outputs]`.
        name: of the argument, for the sentence.

    Raises:
        InvalidInputError: it is no matrix, an entry is negative or not finite, or a row does not
            sum to 1.
    """
    matrix = np.asarray(channel, np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InvalidInputError(f"{name}: found shape {matrix.shape}; [inputs, outputs] is needed.")
    if not (np.isfinite(matrix).all() and matrix.min() >= 0):
        raise InvalidInputError(f"{name}: found probabilities that are negative or not finite.")
    off = np.abs(matrix.sum(1) - 1).max()
    if off > _ROUNDING:
        raise InvalidInputError(f"{name}: found a row whose sum is {off:.3g} off; it must be 1.")
    return matrix


def check_distribution(p: Any, size: int, name: str) -> Float[np.ndarray, " size"]:
    """Return a distribution over `size` letters in float64 after checking it.

    Raises:
        InvalidInputError: it has another shape, is negative or not finite, or does not sum to 1.
    """
    p = np.asarray(p, np.float64)
    if p.shape != (size,):
        raise InvalidInputError(f"{name}: found shape {p.shape}; [{size}] is needed.")
    return check_channel(p[None], name)[0]


def check_probability(value: Any, name: str) -> float:
    """Return a probability after checking that it is in [0, 1].

    Raises:
        InvalidInputError: it is not.
    """
    if not 0 <= value <= 1:
        raise InvalidInputError(f"{name}: found {value}; it must be in [0, 1].")
    return float(value)


def binary_entropy(p: Any) -> Any:
    """Return `h_b(p) = -p log p - (1 - p) log(1 - p)` in nats; scalar in, scalar out.

    Example:
        >>> round(float(binary_entropy(0.5)), 6)
        0.693147
    """
    return entr(p) + entr(1.0 - np.asarray(p))


def kl_divergence(p: Any, q: Any) -> Any:
    """Return `D(p || q) = sum_x p_x log(p_x / q_x)` in nats over the last axis.

    Infinite where p has mass and q has none.

    Args:
        p: distributions `[..., letters]`.
        q: the same, broadcast.

    Example:
        >>> round(float(kl_divergence([0.5, 0.5], [0.25, 0.75])), 6)
        0.143841
    """
    return np.sum(rel_entr(np.asarray(p, np.float64), np.asarray(q, np.float64)), axis=-1)


def mutual_information(p_x: Any, channel: Any) -> float:
    """Return `I(X;Y)` in nats of an input distribution and a channel.

    Args:
        p_x: `[inputs]`.
        channel: `[inputs, outputs]`.

    Raises:
        InvalidInputError: either is no distribution, or they do not fit.

    Example:
        >>> round(mutual_information([0.5, 0.5], binary_symmetric(0.1)), 6)
        0.368064
    """
    channel = check_channel(channel)
    p_x = check_distribution(p_x, len(channel), "p_x")
    return float(information_of_table(p_x[:, None] * channel))


def binary_symmetric(flip: float | int) -> Float[np.ndarray, "2 2"]:
    """Return the channel that flips a bit with probability `flip` (BSC).

    Example:
        >>> binary_symmetric(0.25).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    flip = check_probability(flip, "flip")
    return np.array([[1 - flip, flip], [flip, 1 - flip]])


def erasure(erase: float | int, num_letters: int = 2) -> Float[np.ndarray, "inputs outputs"]:
    """Return the channel that erases its letter with probability `erase` (BEC for two letters).

    The last output is "erased".

    Example:
        >>> erasure(0.25).tolist()
        [[0.75, 0.0, 0.25], [0.0, 0.75, 0.25]]
    """
    erase = check_probability(erase, "erase")
    kept = (1 - erase) * identity(num_letters)
    return np.concatenate([kept, np.full((num_letters, 1), erase)], axis=1)


def z_channel(fall: float | int) -> Float[np.ndarray, "2 2"]:
    """Return the channel that keeps 0 and turns 1 into 0 with probability `fall`.

    Example:
        >>> z_channel(0.25).tolist()
        [[1.0, 0.0], [0.25, 0.75]]
    """
    fall = check_probability(fall, "fall")
    return np.array([[1.0, 0.0], [fall, 1 - fall]])


def symmetric(num_letters: int, error: float | int) -> Float[np.ndarray, "letters letters"]:
    """Return the channel that puts each wrong letter with probability `error / (K - 1)`.

    Args:
        num_letters: K, at least 2.
        error: probability of any wrong letter.

    Example:
        >>> symmetric(3, 0.5).tolist()
        [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    """
    error = check_probability(error, "error")
    if num_letters < 2:
        raise InvalidInputError(f"num_letters: found {num_letters}; at least 2 are needed.")
    other = error / (num_letters - 1)
    return np.where(identity(num_letters) > 0, 1 - error, other)


def identity(num_letters: int) -> Float[np.ndarray, "letters letters"]:
    """Return the channel that changes nothing.

    Example:
        >>> identity(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if num_letters < 1:
        raise InvalidInputError(f"num_letters: found {num_letters}; at least 1 is needed.")
    return np.eye(num_letters)


def deterministic(targets: Any, num_outputs: int | None = None) -> Float[np.ndarray, "x y"]:
    """Return the channel of a map, `Y = targets[X]`.

    Args:
        targets: whole numbers `[inputs]`, the output of each input.
        num_outputs: the largest target plus 1 if not given.

    Raises:
        InvalidInputError: a target is no whole number or out of range.

    Example:
        >>> deterministic([0, 0, 1]).tolist()
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    codes = np.asarray(targets)
    if codes.ndim != 1 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
        raise InvalidInputError("targets: a row of whole numbers is needed.")
    size = int(codes.max()) + 1 if num_outputs is None else num_outputs
    if codes.min() < 0 or codes.max() >= size:
        raise InvalidInputError(
            f"targets: found {codes.min()} ... {codes.max()}; allowed are 0 ... {size - 1}."
        )
    return np.eye(size)[codes]


def compose(*channels: Any) -> Float[np.ndarray, "inputs outputs"]:
    """Return the channel of layers one after the other, the first given is applied first.

    Raises:
        InvalidInputError: there is none, or the outputs of one are not the inputs of the next.

    Example:
        >>> compose(binary_symmetric(0.25), binary_symmetric(0.25)).tolist()
        [[0.625, 0.375], [0.375, 0.625]]
    """
    checked = [check_channel(one, f"channels[{i}]") for i, one in enumerate(channels)]
    if not checked:
        raise InvalidInputError("channels: found none; at least one is needed.")
    for i, (one, following) in enumerate(itertools.pairwise(checked)):
        if one.shape[1] != len(following):
            raise InvalidInputError(
                f"channels[{i + 1}]: found {len(following)} inputs; the channel before has "
                f"{one.shape[1]} outputs."
            )
    return functools.reduce(np.matmul, checked)


def parallel(*channels: Any) -> Float[np.ndarray, "inputs outputs"]:
    """Return the channel of independent channels side by side, the tensor product.

    Inputs and outputs are numbered as by `numpy.kron`: the last varies fastest.

    Raises:
        InvalidInputError: there is none.

    Example:
        >>> parallel(binary_symmetric(0.25), identity(3)).shape
        (6, 6)
    """
    if not channels:
        raise InvalidInputError("channels: found none; at least one is needed.")
    checked = [check_channel(one, f"channels[{i}]") for i, one in enumerate(channels)]
    return functools.reduce(np.kron, checked)


def with_label(channel: Any, num_labels: int) -> Float[np.ndarray, "inputs outputs"]:
    """Return the channel of a layer on examples (x, y): x goes through it, y rides along.

    This is how the layers of Zhang, Liu and Tao act, (x, y) -> (x_k, y); its coefficient is 1
    whenever there are two labels, however noisy the layer is.

    Example:
        >>> with_label(binary_symmetric(0.5), 2)[0].tolist()
        [0.5, 0.0, 0.5, 0.0]
    """
    return parallel(channel, identity(num_labels))


def dropout(num_units: int, rate: float | int, num_levels: int = 2) -> Float[np.ndarray, "x y"]:
    """Return the channel that erases each of `num_units` units with probability `rate`.

    An erased unit is seen to be erased; a layer that writes 0 instead loses at least as much.

    Args:
        num_units: d; there are `num_levels^d` inputs and `(num_levels + 1)^d` outputs.
        rate: of dropout.
        num_levels: letters of one unit.

    Raises:
        InvalidInputError: no unit, a rate out of range, or more than 2^24 entries.

    Example:
        >>> dropout(2, 0.5).shape
        (4, 9)
    """
    if num_units < 1 or (num_levels * (num_levels + 1)) ** num_units > 1 << 24:
        raise InvalidInputError(
            f"num_units: found {num_units} of {num_levels} levels; at least 1 is needed, and at "
            "most 2^24 entries of the channel."
        )
    return parallel(*[erasure(rate, num_levels)] * num_units)
