"""The Fisher-Rao norm and the trace of the empirical Fisher information."""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Measure, Result, value
from genjax.metrics.complexity.workspace import Workspace, in_chunks
from genjax.metrics.programs import forward_differentiable

_LIANG = "Liang et al., Fisher-Rao Metric, Geometry, and Complexity of Neural Networks, 2019"


def loss_slopes(logits: Any, changes: Any, labels: Any) -> Any:
    """Return the derivative of each cross-entropy (nats) where logits change, `[N]`.

    It is `sum_k p_k (change_k - change_y)`, y the label and p the softmax: written so that nothing
    cancels where the network is certain.

    Args:
        logits: [N, C].
        changes: [N, C], derivative of the logits.
        labels: [N].

    Example:
        >>> changes = jnp.array([[1.0, 3.0]])
        >>> loss_slopes(jnp.zeros((1, 2)), changes, jnp.array([0])).tolist()
        [1.0]
    """
    own = jnp.take_along_axis(changes, labels[:, None], axis=-1)
    return jnp.sum(jax.nn.softmax(logits, axis=-1) * (changes - own), axis=-1)


def _fisher_rao(workspace: Workspace) -> Result:
    params, train = workspace.trained.params, workspace.data.train
    apply = forward_differentiable(workspace.network.apply)

    def slopes(images, labels):
        # w itself is the direction: one forward derivative instead of a gradient per example.
        logits, changes = jax.jvp(lambda w: apply(w, images), (params,), (params,))
        return loss_slopes(logits, changes, labels)

    return value(jnp.mean(in_chunks(slopes, train.images, train.labels) ** 2))


def _closed_form(workspace: Workspace) -> Result:
    logits = workspace["logits"]
    slopes = loss_slopes(logits, logits, workspace.data.train.labels)
    return value(len(workspace.layers) ** 2 * jnp.mean(slopes**2))


def _fisher_trace(workspace: Workspace) -> Result:
    return value(jnp.mean(workspace["gradients"].squared_norms))


MEASURES = (
    Measure(
        name="fisher_rao",
        family="fisher",
        formula="mean_i (w . grad_w loss_i)^2 over training examples; w: all weights and biases, "
        "loss_i: cross-entropy in nats with the true label (definition 2)",
        source=_LIANG,
        compute=_fisher_rao,
        requires=("train",),
        passes=1,
    ),
    Measure(
        name="fisher_rao_closed_form",
        family="fisher",
        formula="d^2 mean_i (d loss_i / d f . f(x_i))^2 over training examples; f: logits, d: "
        "number of weight layers, hidden layers plus one; equals fisher_rao where there are no "
        "biases (theorem 3.1)",
        source=_LIANG,
        compute=_closed_form,
        needs=("logits",),
        requires=("chain", "layers"),
    ),
    Measure(
        name="fisher_trace",
        family="fisher",
        formula="mean_i ||grad_w loss_i||^2 over training examples: trace of the empirical Fisher "
        "information (true labels, nats)",
        source="Kunstner, Balles and Hennig, Limitations of the Empirical Fisher, 2019",
        compute=_fisher_trace,
        needs=("gradients",),
    ),
)
