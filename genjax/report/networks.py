"""The networks of a population: how their training went, or that it is not known."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.metrics.testbed import Testbed
from genjax.report import figures_training
from genjax.report.page import Section, Table
from genjax.report.phrases import count
from genjax.report.storage import Figure, OutputFolder
from genjax.training import Population, TrainedGroup, segment

ELSEWHERE = (
    "{} trained elsewhere: parameters are all that is known of them, so there are no learning "
    "curves, no seeds and no measures of the training."
)


def training_sentences(population: Population) -> list[str]:
    """Say it when networks ended without reaching the threshold that was to stop them."""
    asked = [g for g, rules in _trained(population.groups) if rules.stop == "cross_entropy"]
    missed = [(g, g.status != segment.REACHED) for g in asked]
    missing, total = sum(int(m.sum()) for _, m in missed), sum(len(g.seeds) for g in asked)
    if not missing:
        return []
    lowest = min(float(np.min(g.last("accuracy")[m])) for g, m in missed if m.any())
    return [
        f"{missing} of {total} networks did not reach the training loss that was asked for (lowest "
        f"training accuracy {lowest:.3f}): what follows compares networks not trained alike."
    ]


def section(output: OutputFolder, population: Population) -> Section:
    """Return the section about the networks; nothing is drawn of training that nobody recorded.

    Args:
        output: where the figure goes.
        population: trained here, elsewhere, or both.
    """
    groups = population.groups
    elsewhere = sum(len(g.seeds) for g in groups if g.training is None)
    figures = _curves(output, [g for g, _ in _trained(groups)])
    verb = "was" if elsewhere == 1 else "were"
    said = [ELSEWHERE.format(f"{count(elsewhere, 'network')} {verb}")] if elsewhere else []
    title = "Training" if figures else "The networks"
    return Section(title, paragraphs=said, figures=figures, tables=[_table(groups)])


def testbed_sentences(bed: Testbed, population: Population) -> list[str]:
    """Say what the classes and the images are, and what networks trained elsewhere know of them."""
    names = bed.test.class_names
    seen = ", ".join(names[c] for c in bed.classes.seen)
    novel = ", ".join(names[c] for c in bed.classes.novel)
    sentences = [
        f"Networks were trained on the classes {seen}; novel classes are {novel}.",
        f"{len(bed.train.labels)} training, {len(bed.validation.labels)} validation and "
        f"{len(bed.test.labels)} test images of {bed.train.name}.",
    ]
    foreign = [g for g in population.groups if g.training is None]
    if not foreign:
        return sentences
    sentences.append(
        "Training and validation images are those of the heads. Networks trained elsewhere may "
        "have seen all of these images of their own classes, so that heads find them easier than "
        "test images; test images are held to be new to them."
    )
    left_out = max(g.network.num_classes for g in foreign) - len(bed.classes.seen)
    if left_out > 0:
        classes = "1 class" if left_out == 1 else f"{left_out} classes"
        sentences.append(
            f"The networks were trained on {classes} more, left out here: to these networks they "
            "are not novel, so they are neither asked for nor offered as an answer."
        )
    return sentences


def _trained(groups: Sequence[TrainedGroup]) -> list[tuple[TrainedGroup, Any]]:
    """Groups that were trained here, with their rules."""
    return [(g, g.training) for g in groups if g.training is not None]


def _curves(output: OutputFolder, groups: Sequence[TrainedGroup]) -> list[Figure]:
    if not groups:
        return []
    curves = {
        f"{g.network.family}, {g.cost.parameters:,}": (
            g.history_steps,
            np.asarray(g.history.loss).T,
            np.asarray(g.history.accuracy).T,
        )
        for g in groups
    }
    rules = [rules for _, rules in _trained(groups)]
    thresholds = {rule.threshold for rule in rules if rule.stop == "cross_entropy"}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    wide, narrow = (
        figures_training.training_curves(curves, threshold, narrow=narrow)
        for narrow in (False, True)
    )
    caption = (
        "Training of every group: median over the networks still running, band from the smallest "
        "to the largest; mean cross-entropy over the training set in nats, and accuracy."
    )
    return [output.write_figure("figures/training", wide, caption, narrow=narrow)]


def _table(groups: Sequence[TrainedGroup]) -> Table:
    columns = ("model", "parameters", "FLOPs per image", "networks", "diverged")
    columns += ("lowest train accuracy", "mean validation accuracy", "median steps")
    rows = [
        [
            g.network.name,
            g.cost.parameters,
            g.cost.flops,
            len(g.seeds),
            int(np.sum(g.status == segment.DIVERGED)) if g.training is not None else None,
            float(np.min(g.last("accuracy"))),
            float(np.mean(g.last("validation_accuracy"))),
            float(np.median(g.stop_step)),
        ]
        for g in groups
    ]
    known = [
        k
        for k in range(len(columns))
        if any(row[k] is not None and row[k] == row[k] for row in rows)
    ]
    return Table("Groups", [columns[k] for k in known], [[row[k] for k in known] for row in rows])
