"""What one network offers its measures; what several of them need is computed once."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.errors import InvalidInputError
from genjax.metrics.complexity.contract import Intermediate, MeasureData, Trained
from genjax.metrics.complexity.layers import WeightLayer, kernels
from genjax.models import Network
from genjax.types import Key

CHUNK = 512
"""Examples per forward pass, so that memory does not grow with their number."""


class Workspace:
    """One network under measurement, inside one traced program.

    Attributes:
        network: the model as pure functions.
        layers: its weight layers, in order; static.
        trained: its arrays.
        data: the examples.
    """

    def __init__(
        self,
        network: Network,
        layers: tuple[WeightLayer, ...],
        trained: Trained,
        data: MeasureData,
        key: Key,
        intermediates: Mapping[str, Intermediate],
    ):
        """Offer the intermediates given, none of them computed yet."""
        self.network, self.layers = network, layers
        self.trained, self.data = trained, data
        self._key, self._intermediates = key, intermediates
        self._computed: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return an intermediate, computed at most once."""
        if name not in self._computed:
            one = self._intermediates[name]
            self._computed[name] = one.compute(self.restricted(one.needs))
        return self._computed[name]

    def restricted(self, needs: tuple[str, ...]) -> "Workspace":
        """Return the same workspace, in which only the intermediates named can be read.

        A measure that reads what it did not declare would have a wrong cost: it fails instead.
        """
        view = Workspace.__new__(_Restricted)
        view.__dict__.update(self.__dict__)
        view.__dict__.update(_whole=self, _needs=needs)
        return view

    def key(self, name: str) -> Key:
        """Return a key that depends on the network's seed and on `name` alone.

        Networks of the same seed share their draws, so that their values differ by the networks.
        """
        seeded = jax.random.fold_in(self._key, self.trained.seed)
        return jax.random.fold_in(seeded, zlib.crc32(name.encode()) & 0x7FFFFFFF)

    @property
    def kernels(self) -> list[Any]:
        """Trained kernels of the weight layers, in order."""
        return kernels(self.layers, self.trained.params)

    @property
    def init_kernels(self) -> list[Any]:
        """Kernels at initialisation, in order."""
        return kernels(self.layers, self.trained.init_params)

    @property
    def train_size(self) -> int:
        """Number m of training examples."""
        return self.data.train_size


class _Restricted(Workspace):
    _whole: Workspace
    _needs: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        if name not in self._needs:
            raise InvalidInputError(
                f"intermediate '{name}': it is read but not declared; needs are {self._needs}."
            )
        return self._whole[name]


def in_chunks(function: Any, *arrays: Any, chunk: int = CHUNK) -> Any:
    """Apply `function` to slices of arrays along their first axis, and join the results.

    The last slice is padded by repeating the first examples, whose results are dropped.

    Args:
        function: `(*slices) -> pytree` of arrays whose first axis is that of the slices.
        *arrays: all with the same first axis N.
        chunk: examples per slice.

    Example:
        >>> in_chunks(lambda x: 2 * x, jnp.arange(5.0), chunk=2).tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    count = arrays[0].shape[0]
    pieces = max(1, -(-count // chunk))
    size = -(-count // pieces)
    if pieces == 1:
        return function(*arrays)
    order = np.arange(pieces * size) % count
    slices = [jnp.asarray(a)[order].reshape(pieces, size, *a.shape[1:]) for a in arrays]
    results = jax.lax.map(lambda pieces: function(*pieces), tuple(slices))
    return jax.tree.map(lambda r: r.reshape(pieces * size, *r.shape[2:])[:count], results)


def margins(logits: Any, labels: Any) -> Any:
    """Return true logit minus the largest other one, `[N]`.

    Example:
        >>> margins(jnp.array([[2.0, 0.5, 1.0]]), jnp.array([0])).tolist()
        [1.0]
    """
    hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    true = jnp.sum(jnp.where(hot, logits, 0.0), axis=-1)
    return true - jnp.max(jnp.where(hot, -jnp.inf, logits), axis=-1)


def cross_entropies(logits: Any, labels: Any) -> Any:
    """Return the cross-entropy of every example in nats, `[N]`.

    Example:
        >>> round(float(cross_entropies(jnp.zeros((1, 4)), jnp.array([2]))[0]), 4)
        1.3863
    """
    logs = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]


def _logits(workspace: Workspace) -> Any:
    network, params = workspace.network, workspace.trained.params
    return in_chunks(lambda x: network.apply(params, x), workspace.data.train.images)


def _margins(workspace: Workspace) -> Any:
    return margins(workspace["logits"], workspace.data.train.labels)


def _margin(workspace: Workspace) -> Any:
    ordered = jnp.sort(workspace["margins"])
    return ordered[max(ordered.shape[0] // 10 - 1, 0)]


def _losses(workspace: Workspace) -> Any:
    return cross_entropies(workspace["logits"], workspace.data.train.labels)


def _train_error(workspace: Workspace) -> Any:
    wrong = jnp.argmax(workspace["logits"], axis=-1) != workspace.data.train.labels
    return jnp.mean(wrong.astype(jnp.float32))


INTERMEDIATES = (
    # [N, classes] on the measured training examples.
    Intermediate("logits", _logits, requires=("train",), passes=1 / 3),
    # [N], true logit minus best other.
    Intermediate("margins", _margins, needs=("logits",)),
    # The k-th smallest margin, k = floor(N / 10) counted from 1 (at least the smallest).
    Intermediate("margin", _margin, needs=("margins",)),
    # [N], nats.
    Intermediate("losses", _losses, needs=("logits",)),
    # Share of wrong training examples.
    Intermediate("train_error", _train_error, needs=("logits",)),
)
