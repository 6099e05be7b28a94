"""Strengths of a shift at which the average SSIM to the untouched images takes given values."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from genjax.data.corruptions import Shift
from genjax.data.ssim import ssim
from genjax.errors import ShiftError

CHUNK = 1024  # Images shifted at once: bounds the memory, whatever the size of the set.
FIRST_LOOK = 17  # Strengths evaluated before the bisection, which finds the first crossing.
NARROWEST = 1e-7  # Strengths closer than this are the same: the SSIM jumps between them.


class Calibration(NamedTuple):
    """The levels of a shift.

    Attributes:
      targets: average SSIM asked for, float64 `[L]`.
      strengths: strength of each level; 0 is untouched.
      achieved: average SSIM at that strength.
      spread: standard deviation of the SSIM over the images (population, ddof 0).
    """

    targets: Float[np.ndarray, " levels"]
    strengths: Float[np.ndarray, " levels"]
    achieved: Float[np.ndarray, " levels"]
    spread: Float[np.ndarray, " levels"]


def _chunks(
    images: np.ndarray, key: PRNGKeyArray
) -> Iterator[tuple[np.ndarray, PRNGKeyArray, int]]:
    """Chunks of one shape (the last is filled up), their keys, and how many images count.

    Calibrating and applying share this division, so that both see the same noise.
    """
    for i, start in enumerate(range(0, len(images), CHUNK)):
        chunk = images[start : start + CHUNK]
        count = len(chunk)
        if start > 0 and count < CHUNK:
            fill = np.broadcast_to(chunk[:1], (CHUNK - count, *chunk.shape[1:]))
            chunk = np.concatenate([chunk, fill])
        yield chunk, jax.random.fold_in(key, i), count


def _similarity(
    shift: Shift, images: np.ndarray, key: PRNGKeyArray
) -> Callable[[float], np.ndarray]:
    """The function strength -> SSIM of every image, float64 `[N]`."""

    @jax.jit
    def of_chunk(chunk: jax.Array, strength: jax.Array, key: PRNGKeyArray) -> jax.Array:
        return ssim(chunk, shift.apply(chunk, strength, key))

    chunks = [(jnp.asarray(chunk), key, count) for chunk, key, count in _chunks(images, key)]

    def of_strength(strength: float) -> np.ndarray:
        value = jnp.asarray(strength, jnp.float32)
        parts = [of_chunk(chunk, value, key)[:count] for chunk, key, count in chunks]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    return of_strength


def _first_crossing(known: dict[float, float], target: float) -> tuple[float, float]:
    """The first pair of neighbouring known strengths between which the SSIM falls to `target`.

    The SSIM is 1 at strength 0; where it stays above the target its lowest point stands twice.
    """
    for low, high in itertools.pairwise(sorted(known)):
        if known[high] <= target:
            return low, high
    lowest = min(known, key=lambda strength: known[strength])
    return lowest, lowest


def _find(
    shift: Shift,
    target: float,
    known: dict[float, float],
    mean: Callable[[float], float],
    tolerance: float | int,
) -> float:
    """Bisect until the average SSIM is within `tolerance` of `target`; extends `known`.

    Every other split is where a straight line would cross, which saves two thirds of the steps.
    """
    for number in itertools.count():
        low, high = _first_crossing(known, target)
        for strength in (low, high):
            if abs(known[strength] - target) <= tolerance:
                return strength
        if high - low < NARROWEST:
            raise ShiftError(
                f"targets: shift '{shift.name}' cannot meet an average SSIM of {target:g} within "
                f"{tolerance:g}; it jumps from {known[low]:.4f} to {known[high]:.4f} there, "
                "use more images or a larger tolerance."
            )
        share = 0.5
        if number % 2 == 0:
            line = (known[low] - target) / (known[low] - known[high])
            share = min(max(line, 0.05), 0.95)
        split = low + share * (high - low)
        known[split] = mean(split)
    raise AssertionError("unreachable: the loop above has no end")


def _check_targets(shift: Shift, targets: Sequence[float | int] | np.ndarray) -> np.ndarray:
    values = np.asarray(targets, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not (values <= 1).all():
        raise ShiftError(
            f"targets: found {np.asarray(targets).tolist()} for shift '{shift.name}'; "
            "allowed are SSIM values up to 1, at least one."
        )
    return values


def calibrate(
    shift: Shift,
    images: Float[np.ndarray | jax.Array, "n h w c"],
    targets: Sequence[float | int] | np.ndarray,
    key: PRNGKeyArray,
    *,
    tolerance: float | int = 1e-3,
) -> Calibration:
    """Find the strengths at which the average SSIM over `images` takes the target values.

    By bisection, after a first look at evenly spaced strengths: where the SSIM is not monotone
    (a digit turned by 180 degrees resembles itself again) the smallest strength counts. All
    strengths see the same noise.

    Args:
      shift: from `genjax.data.shifts.create`.
      images: in [0, 1]; the ones the levels are meant for.
      targets: average SSIM values; 1 is the untouched images, strength 0.
      key: of the shift's noise; `apply_levels` with the same key and images gives what is
        reported here.
      tolerance: largest distance of the achieved average from its target.

    Raises:
      ShiftError: a target above 1, below what any strength reaches, or at a jump.

    Example:
      >>> from genjax.data import load, shifts
      >>> images = load("digits").images[:100]
      >>> levels = calibrate(shifts.create("contrast"), images, [1.0, 0.8], jax.random.key(0))
      >>> levels.strengths[0], abs(levels.achieved[1] - 0.8) < 1e-3
      (np.float64(0.0), np.True_)
    """
    values = _check_targets(shift, targets)
    if tolerance <= 0:
        raise ShiftError(f"tolerance: found {tolerance}; allowed are numbers > 0.")
    similarity = _similarity(shift, np.asarray(images), key)
    seen: dict[float, np.ndarray] = {}

    def mean(strength: float) -> float:
        seen[strength] = similarity(strength)
        return float(seen[strength].mean())

    known = {0.0: 1.0}
    seen[0.0] = np.ones(len(images))
    lowest = values.min()
    if lowest < 1:
        for strength in np.linspace(0, 1, FIRST_LOOK)[1:].tolist():
            known[strength] = mean(strength)
            if known[strength] < lowest:
                break
    if lowest < min(known.values()) - tolerance:
        raise ShiftError(
            f"targets: shift '{shift.name}' cannot reach an average SSIM of {lowest:g} on these "
            f"images; reachable are {min(known.values()):.3f} to 1."
        )
    strengths = [
        0.0 if value == 1 else _find(shift, float(value), known, mean, tolerance)
        for value in values
    ]
    achieved = np.array([known[strength] for strength in strengths])
    spread = np.array([seen[strength].std() for strength in strengths])
    return Calibration(values, np.array(strengths), achieved, spread)


def apply_levels(
    shift: Shift,
    calibration: Calibration,
    images: Float[np.ndarray | jax.Array, "n h w c"],
    key: PRNGKeyArray,
) -> Float[np.ndarray, "levels n h w c"]:
    """Return `images` at every calibrated level, float32 `[L, N, H, W, C]`.

    Example:
      >>> from genjax.data import load, shifts
      >>> images, key = load("digits").images[:100], jax.random.key(0)
      >>> blur = shifts.create("gaussian_blur")
      >>> apply_levels(blur, calibrate(blur, images, [1.0, 0.8], key), images, key).shape
      (2, 100, 8, 8, 1)
    """
    apply = jax.jit(shift.apply)
    images = np.asarray(images, np.float32)
    result = np.empty((len(calibration.strengths), *images.shape), np.float32)
    for level, strength in enumerate(calibration.strengths):
        value = jnp.asarray(strength, jnp.float32)
        start = 0
        for chunk, chunk_key, count in _chunks(images, key):
            shifted = apply(chunk, value, chunk_key)
            result[level, start : start + count] = shifted[:count]
            start += count
    return result
