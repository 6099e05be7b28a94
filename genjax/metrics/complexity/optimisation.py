"""Optimisation speed: what the record of the training loss says about generalization.

A loss is known only at the records, every `record_every` steps. Nothing is interpolated: a network
has reached a loss at the first record that is below it, and the true step lies in the `resolution`
steps up to there. Losses are mean cross-entropies in nats over the whole training set.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.metrics.complexity.contract import Intermediate, Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.workspace import Workspace

_JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020"


class LossRecord(NamedTuple):
    """The record of one network's training loss.

    Attributes:
        losses: [T], NaN where the network had stopped.
        steps: [T], step of each record.
        gaps: [T], steps since the record before; the first counts from the start.
    """

    losses: Any
    steps: Any
    gaps: Any


def _record(workspace: Workspace) -> LossRecord:
    steps = jnp.asarray(workspace.trained.history_steps, jnp.int32)
    gaps = jnp.diff(steps, prepend=jnp.zeros(1, jnp.int32))
    return LossRecord(jnp.asarray(workspace.trained.history.loss), steps, gaps)


def _first_below(record: LossRecord, loss: float) -> tuple[Any, Any, Any]:
    """Return (reached, step, gap) of the first record below `loss`; a NaN is below nothing."""
    below = record.losses < loss
    first = jnp.argmax(below)
    return jnp.any(below), record.steps[first], record.gaps[first]


def _steps_to_tenth(workspace: Workspace) -> Result:
    reached, step, gap = _first_below(workspace["loss_record"], 0.1)
    return refuse_where(
        {Refusal.NOT_REACHED: ~reached}, step.astype(jnp.float32), resolution=gap.astype(float)
    )


def _steps_tenth_to_hundredth(workspace: Workspace) -> Result:
    _, start, gap_start = _first_below(workspace["loss_record"], 0.1)
    # Below 0.01 is below 0.1 as well: one condition is enough.
    reached, end, gap_end = _first_below(workspace["loss_record"], 0.01)
    return refuse_where(
        {Refusal.NOT_REACHED: ~reached},
        (end - start).astype(jnp.float32),
        resolution=jnp.maximum(gap_start, gap_end).astype(float),
    )


def _sum_of_losses(workspace: Workspace) -> Result:
    record = workspace["loss_record"]
    known = jnp.isfinite(record.losses)
    area = jnp.sum(jnp.where(known, record.losses * record.gaps, 0.0))
    widest = jnp.max(jnp.where(known, record.gaps, 0))
    return refuse_where(
        {Refusal.NOT_REACHED: ~jnp.any(known)}, area, resolution=widest.astype(float)
    )


INTERMEDIATES = (Intermediate("loss_record", _record, requires=("history",)),)

MEASURES = (
    Measure(
        name="steps_to_loss_0_1",
        family="optimisation",
        formula="step of the first record with training cross-entropy below 0.1 nats (eq 63); the "
        "true step is less than `resolution` steps earlier",
        source=_JIANG,
        compute=_steps_to_tenth,
        needs=("loss_record",),
    ),
    Measure(
        name="steps_loss_0_1_to_0_01",
        family="optimisation",
        formula="step of the first record below 0.01 nats minus that of the first below 0.1 "
        "(eq 64); the true number differs by less than `resolution`",
        source=_JIANG,
        compute=_steps_tenth_to_hundredth,
        needs=("loss_record",),
    ),
    Measure(
        name="sum_of_train_losses",
        family="optimisation",
        formula="sum over steps of the training cross-entropy, nats; every step counts with the "
        "next record (a sum of loss times steps since the record before), so that a falling loss "
        "is underestimated",
        source="Lyle et al., A Bayesian Perspective on Training Speed, NeurIPS 2020; Ru et al., "
        "Speedy Performance Estimation (training-speed estimator), NeurIPS 2021",
        compute=_sum_of_losses,
        needs=("loss_record",),
    ),
)
