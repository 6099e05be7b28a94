"""The information plane: per layer, I(X; T) and I(T; Y) by a chosen estimator, with its ceilings.

What stands on the axes depends on the estimator more than on the network: bins and noise are put
there by whoever measures. The numbers compare networks and layers under one setting; no layer's
value is the information of the network itself. Nats.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.information import (
    binning,
    discrete,
    nearest_neighbour_information,
    pairwise,
    variational,
)
from genjax.metrics.layers import embeddings, readouts
from genjax.metrics.layers.checks import check_labels
from genjax.models.network import Network
from genjax.types import Key, Params

ESTIMATORS = ("pairwise", "binned", "gaussian", "neighbours", "infonce")

_FULL = 0.99  # of a ceiling


class PlaneSettings(NamedTuple):
    """How layers are measured.

    Attributes:
        estimator: one of `ESTIMATORS`.
        readout: of `genjax.metrics.layers.readouts.READOUTS`; must apply to every tap.
        variance: of the noise per unit (`pairwise`, `gaussian`), positive.
        relative: whether the variance is in units of the layer's mean variance, so that a layer and
            its double get the same value.
        bins: of every unit (`binned`).
        binning: `equal_width` or `quantile`.
        neighbours: k (`neighbours`).
        dimensions: whitened principal components that `neighbours` looks at, at most.
        steps: of a critic (`infonce`).
        batch: of a critic; its values stop at log batch.
    """

    estimator: str = "pairwise"
    readout: str = "flatten"
    variance: float = 0.1
    relative: bool = True
    bins: int = 30
    binning: str = "equal_width"
    neighbours: int = 3
    dimensions: int = 8
    steps: int = 500
    batch: int = 64


class LayerInformation(NamedTuple):
    """Where a layer stands in the plane; low and high are equal where the estimator has one value.

    Attributes:
        layer: name of the tap.
        input_low: I(X; T).
        input_high: infinite where the estimator knows no upper bound; see `flag`.
        input_ceiling: largest value that the estimator can return, e.g. log N; what is near it says
            nothing but how many examples there were.
        label_low: I(T; Y).
        label_high: the same.
        label_ceiling: largest value that the estimator can return: H(Y) of the labels, for
            neighbours slightly more, for a critic at most log batch.
        flag: in words what is to be known about the points or the values, "" for nothing.
    """

    layer: str
    input_low: float
    input_high: float
    input_ceiling: float
    label_low: float
    label_high: float
    label_ceiling: float
    flag: str


def information_plane(
    network: Network,
    params: Params,
    images: np.ndarray,
    labels: Any,
    settings: PlaneSettings = PlaneSettings(),  # noqa: B008 - a tuple of constants
    *,
    key: Key | None = None,
    chunk: int = 500,
) -> tuple[LayerInformation, ...]:
    """Measure every layer of a network.

    - `pairwise`: noise N(0, v) on the layer, bounds of Kolchinsky and Tracey on both axes.
    - `binned`: entropy of boxes and plug-in I(T; Y): clustering of the examples.
    - `gaussian`: noise as in `pairwise`; I(X; T) is at most that of a Gaussian of this covariance
      (low is 0), I(T; Y) is `1/2 log det(S + v) - sum_y p_y 1/2 log det(S_y + v)`, an upper bound
      only if classes are Gaussian (low is 0), and too large where N is not far above the units.
    - `neighbours`: I(T; Y) of Ross of the first whitened components; I(X; T) is infinite.
    - `infonce`: lower bounds of a trained critic.

    Args:
        network: its taps, in the order in which they are computed.
        params: of one network.
        images: `[N, H, W, C]`.
        labels: `[N]`.
        settings: how.
        key: of critics, and of the noise of 1e-10 that tells equal rows apart; None is key 0.
        chunk: images that go through the network at once.

    Returns:
        One entry per tap. A layer that is not finite has NaN and says so; it stops no other.

    Raises:
        InvalidInputError: an unknown name, a number out of range, or labels that do not fit.

    Example:
        >>> from genjax import models
        >>> network = models.create("mlp", image_shape=(2, 2, 1), num_classes=2, widths=(8, 8))
        >>> params = network.fold(*network.init(jax.random.key(0)))
        >>> images = np.random.default_rng(0).normal(size=(20, 2, 2, 1)).astype(np.float32)
        >>> for one in information_plane(network, params, images, np.arange(20) % 2):
        ...     print(one.layer, 0 <= one.input_low <= one.input_high <= np.log(20) + 1e-6)
        block1 True
        block2 True
    """
    labels = np.asarray(check_labels(labels))
    _check(settings, len(images), len(labels))
    found = embeddings.extract(network, params, images, [settings.readout], chunk=chunk)
    wanted = embeddings.taps_in_order(network, params, images[:1])
    missing = set(wanted) - {layer for layer, _ in found}
    if not found or missing - {"features"}:
        raise InvalidInputError(
            f"readout: '{settings.readout}' applies to some layers only; 'flatten' to all of them."
        )
    key = jax.random.key(0) if key is None else key
    keys = jax.random.split(key, len(found))
    inputs = np.asarray(images).reshape(len(images), -1)
    return tuple(
        measure_layer(layer, points, inputs, labels, settings, key=keys[index])
        for index, ((layer, _), points) in enumerate(found.items())
    )


def information_planes(
    network: Network,
    params: Params,
    images: np.ndarray,
    labels: Any,
    settings: PlaneSettings = PlaneSettings(),  # noqa: B008 - a tuple of constants
    *,
    key: Key | None = None,
    chunk: int = 500,
) -> tuple[tuple[LayerInformation, ...], ...]:
    """Measure every layer of every network of a stack, one network after the other.

    All have one compiled program per layer width. They get the same key: what differs is not the
    critic's start.

    Args:
        network: of one architecture.
        params: every leaf `[networks, ...]`.
        images: `[N, H, W, C]`.
        labels: `[N]`.
        settings: how.
        key: as of `information_plane`.
        chunk: images that go through a network at once.

    Example:
        >>> from genjax import models
        >>> network = models.create("mlp", image_shape=(2, 2, 1), num_classes=2, widths=(4,))
        >>> params = jax.vmap(lambda key: network.fold(*network.init(key)))(
        ...     jax.random.split(jax.random.key(0), 2))
        >>> images = np.random.default_rng(0).normal(size=(20, 2, 2, 1)).astype(np.float32)
        >>> binned = PlaneSettings("binned", bins=2)
        >>> len(information_planes(network, params, images, np.arange(20) % 2, binned))
        2
    """
    count = jax.tree.leaves(params)[0].shape[0]
    return tuple(
        information_plane(
            network,
            jax.tree.map(lambda leaf, i=i: leaf[i], params),
            images,
            labels,
            settings,
            key=key,
            chunk=chunk,
        )
        for i in range(count)
    )


def measure_layer(
    layer: str,
    points: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    settings: PlaneSettings,
    *,
    key: Key,
) -> LayerInformation:
    """Measure one layer, as `information_plane` does.

    Args:
        layer: its name.
        points: activations `[N, D]`.
        inputs: images as vectors `[N, pixels]`; only a critic reads them.
        labels: `[N]`.
        settings: how.
        key: of a critic or of noise.

    Example:
        >>> points = np.array([[0.0], [0.0], [9.0], [9.0]])
        >>> measure_layer("last", points, points, np.array([0, 0, 1, 1]), PlaneSettings("binned"),
        ...     key=jax.random.key(0)).flag
        '50 % duplicates'
    """
    flags = embeddings.flags(points)
    if not flags.finite:
        return LayerInformation._make((layer, *[float("nan")] * 6, flags.words()))
    _, codes = np.unique(labels, return_inverse=True)
    measure = {
        "pairwise": _pairwise,
        "binned": _binned,
        "gaussian": _gaussian,
        "neighbours": _neighbours,
        "infonce": _infonce,
    }[settings.estimator]
    values, said = measure(points, inputs, codes, settings, key)
    # A lower bound, or where there is none the upper one, that no longer tells layers apart.
    full = np.isfinite(values[2]) and (values[0] or values[1]) >= _FULL * values[2]
    parts = (flags.words(), "I(X; T) is at its ceiling" if full else "", said)
    words = "; ".join(text for text in parts if text)
    return LayerInformation._make((layer, *(float(value) for value in values), words))


def _label_entropy(codes: Any) -> float:
    return float(discrete.entropy(np.bincount(codes)))


def _variance(points: Any, settings: PlaneSettings) -> float:
    scale = float(points.var(axis=0, dtype=np.float64).mean()) if settings.relative else 1.0
    # Of a constant layer any noise says 0.
    return settings.variance * scale if scale > 0 else 1.0


def _pairwise(points, inputs, codes, settings, key):
    found = pairwise.pairwise_information(points, codes, variance=_variance(points, settings))
    cap = np.log(len(points))
    return (
        found.input_low,
        found.input_high,
        cap,
        found.label_low,
        found.label_high,
        found.label_cap,
    ), ""


def _binned(points, inputs, codes, settings, key):
    found = binning.binned_information(points, codes, bins=settings.bins, method=settings.binning)
    return (
        found.input,
        found.input,
        found.input_cap,
        found.label,
        found.label,
        found.label_cap,
    ), ""


def _gaussian(points, inputs, codes, settings, key):
    variance = _variance(points, settings)

    def half_log_det(rows):
        # From the smaller of both Gram matrices, whose non-zero eigenvalues are the same.
        centred = rows - rows.mean(axis=0, keepdims=True)
        small = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
        return 0.5 * np.linalg.slogdet(np.eye(len(small)) + small / (len(rows) * variance))[1]

    rows = points.astype(np.float64)
    whole = half_log_det(rows)
    shares = np.bincount(codes) / len(codes)
    within = sum(share * half_log_det(rows[codes == c]) for c, share in enumerate(shares))
    cap, entropy = np.log(len(points)), _label_entropy(codes)
    label = min(max(whole - within, 0.0), entropy)
    said = "I(T; Y) takes classes for Gaussian"
    return (0.0, min(whole, cap), cap, 0.0, label, entropy), said


def _neighbours(points, inputs, codes, settings, key):
    said = "I(X; T) of a deterministic layer of continuous inputs is infinite"
    infinite = (np.inf, np.inf, np.inf)
    fitted = readouts.whitening(points, dimensions=settings.dimensions)
    seen = np.asarray(readouts.project(points, fitted))
    found = nearest_neighbour_information.discrete_information(
        seen, codes, k=settings.neighbours, key=key
    )
    said = "; ".join(text for text in (said, found.flag) if text)
    return (*infinite, found.value, found.value, found.cap), said


def _infonce(points, inputs, codes, settings, key):
    of_input, of_label = jax.random.split(key)
    how = {"steps": settings.steps, "batch": settings.batch}
    points = jnp.asarray(points)
    one_hot = jax.nn.one_hot(codes, int(codes.max()) + 1)
    first, info = variational.estimate(jnp.asarray(inputs), points, of_input, **how)
    second, _ = variational.estimate(points, one_hot, of_label, **how)
    cap, entropy = float(info.cap), _label_entropy(codes)
    said = "lower bounds of a critic"
    return (first, np.inf, cap, second, entropy, min(cap, entropy)), said


def _check(settings: PlaneSettings, images: int, labels: int) -> None:
    if settings.estimator not in ESTIMATORS:
        raise InvalidInputError(suggest("estimator", settings.estimator, ESTIMATORS))
    if settings.readout not in readouts.READOUTS:
        raise InvalidInputError(suggest("readout", settings.readout, readouts.READOUTS))
    if labels != images:
        raise InvalidInputError(f"labels: found {labels} for {images} images; one each is needed.")
    if not 0 < settings.variance < np.inf:
        raise InvalidInputError(
            f"variance: found {settings.variance}; noise above 0 and finite is needed, without it "
            "I(X; T) is infinite."
        )
    if settings.dimensions < 1:
        raise InvalidInputError(f"dimensions: found {settings.dimensions}; at least 1 is needed.")
