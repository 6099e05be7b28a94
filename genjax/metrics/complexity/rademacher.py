"""Rademacher complexity of an architecture, estimated by training it on random targets.

All estimates are too low where training does not find the best member of the class: they are
capacities that this much training reaches (`SCHEDULE`), not upper bounds.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Measure, Refusal, Result, refuse_where, value
from genjax.metrics.complexity.sign_fit import (
    FunctionClass,
    Schedule,
    balls,
    fit_random_targets,
    mean_and_error,
)
from genjax.metrics.complexity.workspace import Workspace, cross_entropies, in_chunks, margins

SCHEDULE = Schedule()
"""Adam on mini-batches, for signs and labels."""

BALL_SCHEDULE = Schedule(learning_rate=0.02)
"""Projected gradient ascent; the learning rate is a share of the radius.

Chosen for what it reaches: on a small network of digits 0.02 found the largest mean over draws of
0.005 to 0.3, and from 0.1 on some draws ended with all units of a layer dead.
"""

DELTA = 0.05

_TRAINING = (
    f"{SCHEDULE.epochs} epochs of Adam at {SCHEDULE.learning_rate} falling along a cosine, batches "
    f"of {SCHEDULE.batch_size}, mean over {SCHEDULE.draws} draws; a lower estimate"
)
_PASSES = SCHEDULE.draws * (SCHEDULE.epochs + 1 / 3)


def _fresh(workspace: Workspace, loss: Any, gain: Any) -> FunctionClass:
    """Return all networks of the architecture, started as training starts them.

    `loss` and `gain` read (logits, targets). Parameters are the pair (weights, statistics).
    """
    network = workspace.network

    def batch_loss(params, images, targets):
        # Without dropout the key is read by nothing.
        logits, statistics = network.train_apply(*params, images, jax.random.key(0), None)
        return jnp.mean(loss(logits, targets)), statistics

    def with_statistics(params, images, targets):
        amount, statistics = batch_loss(params, images, targets)
        return amount, (params[0], statistics)

    def total_gain(params, images, targets):
        folded = network.fold(*params)
        logits = in_chunks(lambda x: network.apply(folded, x), images)
        return jnp.mean(gain(logits, targets))

    return FunctionClass(network.init, with_statistics, total_gain)


def _sign_outputs(logits: Any) -> Any:
    return logits[:, 0] - logits[:, 1]


def sign_complexity(workspace: Workspace, schedule: Schedule) -> tuple[Any, Any]:
    """Return (gains [draws], signs [draws, n]) of the architecture's fit to random signs.

    A gain is `(1/n) sum_i s_i sign(z_1 - z_2)(x_i)` after training, z the first two logits.
    """
    images = jnp.asarray(workspace.data.train.images)
    functions = _fresh(
        workspace,
        lambda logits, signs: jax.nn.softplus(-signs * _sign_outputs(logits)),
        lambda logits, signs: signs * jnp.sign(_sign_outputs(logits)),
    )
    return fit_random_targets(
        functions,
        images,
        lambda key: jax.random.rademacher(key, images.shape[:1], images.dtype),
        workspace.key("rademacher_complexity"),
        schedule,
    )


def _rademacher(workspace: Workspace) -> Result:
    mean, error = mean_and_error(sign_complexity(workspace, SCHEDULE)[0])
    return value(mean, standard_error=error)


def _random_labels(workspace: Workspace) -> Result:
    images = jnp.asarray(workspace.data.train.images)
    classes = workspace.network.num_classes
    chance = 1 / classes
    functions = _fresh(
        workspace,
        cross_entropies,
        lambda logits, labels: jnp.argmax(logits, -1) == labels,
    )
    accuracies, _ = fit_random_targets(
        functions,
        images,
        lambda key: jax.random.randint(key, images.shape[:1], 0, classes),
        workspace.key("random_label_fit"),
        SCHEDULE,
    )
    mean, error = mean_and_error((accuracies - chance) / (1 - chance))
    return value(mean, standard_error=error)


def margin_complexity(workspace: Workspace, schedule: Schedule) -> tuple[Any, Any]:
    """Return (gains [draws], signs [draws, n]) of margins of networks within the trained norms.

    `(1/n) sum_i s_i M_w(x_i, y_i)`, M the true logit minus the best other one, maximised over w of
    the architecture whose every array is no longer than that of the trained network.
    """
    network, train = workspace.network, workspace.data.train
    radii = jax.tree.map(lambda w: jnp.linalg.norm(w.reshape(-1)), workspace.trained.params)

    def correlation(params, examples, signs):
        images, labels = examples
        logits = in_chunks(lambda x: network.apply(params, x), images)
        return jnp.mean(signs * margins(logits, labels))

    functions = balls(
        radii,
        start=lambda key: network.fold(*network.init(key)),
        loss=lambda params, examples, signs: (-correlation(params, examples, signs), params),
        gain=correlation,
    )
    examples = (jnp.asarray(train.images), jnp.asarray(train.labels))
    return fit_random_targets(
        functions,
        examples,
        lambda key: jax.random.rademacher(key, examples[1].shape, examples[0].dtype),
        workspace.key("rademacher_margin_bound"),
        schedule,
    )


def _margin_bound(workspace: Workspace) -> Result:
    gamma = workspace["margin"]
    count = workspace["margins"].shape[0]
    gains, _ = margin_complexity(workspace, BALL_SCHEDULE)
    mean, error = mean_and_error(gains)
    safe = jnp.where(gamma > 0, gamma, 1.0)
    margin_error = jnp.mean(workspace["margins"] <= gamma)
    deviation = 3 * math.sqrt(math.log(2 / DELTA) / (2 * count))
    bound = margin_error + 2 * mean / safe + deviation
    return refuse_where(
        {Refusal.MARGIN: gamma <= 0},
        bound,
        standard_error=2 * error / safe,
        rademacher=mean,
        margin_error=margin_error,
        vacuous=bound >= 1,
    )


MEASURES = (
    Measure(
        name="rademacher_complexity",
        family="rademacher",
        formula="E_s max_w (1/n) sum_i s_i sign(z_1 - z_2)(x_i), uniform signs s, z the first two "
        f"logits of the architecture, n the measured training images; logistic loss, {_TRAINING}",
        source="Bartlett and Mendelson, Rademacher and Gaussian Complexities, JMLR 2002; Zhang et "
        "al., Understanding Deep Learning Requires Rethinking Generalization, ICLR 2017",
        compute=_rademacher,
        requires=("train", "trainable"),
        passes=_PASSES,
        fast=False,
    ),
    Measure(
        name="random_label_fit",
        family="rademacher",
        formula="(a - 1/K) / (1 - 1/K), a the training accuracy on labels drawn uniformly from all "
        f"K classes; cross-entropy, {_TRAINING}",
        source="Zhang et al., Understanding Deep Learning Requires Rethinking Generalization, ICLR "
        "2017",
        compute=_random_labels,
        requires=("train", "trainable"),
        passes=_PASSES,
        fast=False,
    ),
    Measure(
        name="rademacher_margin_bound",
        family="rademacher",
        formula="R_gamma + 2 Rad / gamma + 3 sqrt(ln(2/delta) / (2n)), delta = 0.05: R_gamma the "
        "share of the n measured training examples with margin up to gamma, gamma their 10th "
        "percentile, Rad = E_s max_w (1/n) sum_i s_i margin_w(x_i, y_i) over networks whose every "
        f"array has at most the trained norm; {BALL_SCHEDULE.epochs} epochs of projected ascent, "
        f"mean over {BALL_SCHEDULE.draws} draws",
        source="Bartlett and Mendelson, Rademacher and Gaussian Complexities, JMLR 2002; "
        "Koltchinskii and Panchenko, Empirical Margin Distributions, Annals of Statistics 2002",
        compute=_margin_bound,
        needs=("margin", "margins"),
        requires=("train", "trainable"),
        passes=BALL_SCHEDULE.draws * (BALL_SCHEDULE.epochs + 1 / 3),
        fast=False,
        conditions="an estimate of a bound on the test error, with probability 0.95 over n "
        "independent examples, that would hold if gamma and the norms had been fixed before the "
        "data were seen and if training found the maximum for every draw; neither is checked, so "
        "it is no certificate",
    ),
)
