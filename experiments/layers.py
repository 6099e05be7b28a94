"""Which layer separates classes that a network was never trained on, and is it the last one?

Question: how well does every layer separate unseen classes, does accuracy on seen classes predict
it, how much does the readout decide, and can the best layer be known beforehand?
"""

import sys
import time
from typing import Any

import numpy as np
import sklearn.manifold
from absl import flags

from experiments import (
    commandline,
    configuration,
    embedded,
    fields,
    layering,
    study,
    subjects,
    unseen,
)
from experiments.configs import layers as layers_config
from genjax import errors, report
from genjax.metrics.layers import extract, select, truncations
from genjax.report import layers as answering
from genjax.report import layers_page

FLAGS = flags.FLAGS
TITLE = "Which layer generalizes?"
POINTS = 1500


def define_flags() -> None:
    """Define what is measured."""
    commandline.define_flags()
    embedded.define_flags()


def main() -> None:
    """Measure layers of a file or of a network made elsewhere, or train networks for it."""
    if subjects.asked_for():
        embedded.measure()
        return
    config, begun = FLAGS.config, study.begin()
    plain = configuration.as_plain(config)
    fields.check_names(config, layers_config.get_config())
    _check(config)
    drawn = unseen.prepare(config)
    fingerprint = " ".join(
        part.fingerprint for split in drawn for part in (split.train, split.seen, split.unseen)
    )
    card = {
        "data_fingerprint": fingerprint,
        "seeds": list(range(config.sweep.seeds)),
        "command": " ".join(sys.argv),
        "started": begun.started,
    }
    output = study.opened(plain, card)
    if output is None:
        return
    populations = unseen.train(config, drawn, output)
    mark = f"{report.provenance.config_hash(plain)} {fingerprint}"
    tables = layering.measured(config, drawn, populations, output, mark)
    found = answering.answers(tables, level=config.scores.level, seed=config.seed)
    costs = {g.network.name: truncations(g.network) for g in populations[0].groups}
    done = report.provenance.run_card(
        plain, **card, wall_times={"all": time.monotonic() - begun.clock}, status="complete"
    )
    written = layers_page.write(
        output, tables, found, costs, _planes(populations[0], drawn[0], found, config.seed),
        drawn[0].unseen.class_names, done, title=TITLE,
    )  # fmt: skip
    written["run card"] = output.write_run_card(done)
    tell(layers_page.conclusions(found), found, written)


def _check(config: Any) -> None:
    """Refuse scores that the page cannot be made of, before anything is trained."""
    layering.settings_of(config)
    chosen = {score.name for score in select(tuple(config.scores.names))}
    select(tuple(config.scores.selectors))
    missing = [name for name in answering.JUDGED if name not in chosen]
    if missing:
        raise errors.InvalidInputError(
            f"scores.names: {', '.join(missing)} not found among {', '.join(sorted(chosen))}; "
            f"layers are judged by {', '.join(answering.JUDGED)}."
        )
    if config.scores.halvings < 1 or config.scores.readouts < 0:
        raise errors.InvalidInputError(
            f"scores.halvings and scores.readouts: found {config.scores.halvings} and "
            f"{config.scores.readouts}; allowed are numbers from 1 and from 0."
        )
    several = [name for name, values in config.sweep.hyper.items() if len(values) > 1]
    if several:
        raise errors.InvalidInputError(
            f"sweep.hyper.{several[0]}: found {tuple(config.sweep.hyper[several[0]])}; one setting "
            "is needed, since networks of a model differ in seed and split alone."
        )


def tell(sentences, found: answering.Answers, written) -> None:
    """Print sentences, one row per model, and the paths."""
    for sentence in sentences:
        print(f"- {sentence}")
    own = answering.of(found.models, metric=layers_page.SHOWN)
    rows = [
        (r["model"], f"{r['accuracy']:.3f}", f"{r['score']:.3f}", f"{r['last']:.3f}",
         f"{r['best_place']:.2f}")
        for r in own.to_dict("records")
    ]  # fmt: skip
    name = layers_page.SHOWN
    report.terminal.summary_table(
        "Models", ("model", "seen accuracy", f"{name}, best layer", "last layer", "depth of best"),
        rows,
    )  # fmt: skip
    report.terminal.paths(written)


def _planes(population, split, found: answering.Answers, seed: int):
    """Return first, best and last layer of the model with the best score, in two dimensions."""
    own = answering.of(found.models, metric=layers_page.SHOWN)
    shown = own.loc[own["score"].idxmax()]
    name = shown["model"]
    group = next(g for g in population.groups if g.network.name == name)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split.unseen.labels))[:POINTS])
    images, labels = split.unseen.images[chosen], split.unseen.labels[chosen]
    layers = list(extract(group.network, group.network_params(0), images).items())
    best = round(shown["best_place"] * (len(layers) - 1))
    pictures = {}
    end = len(layers) - 1
    for place in dict.fromkeys((0, best, end)):
        (layer, _), points = layers[place]
        perplexity = min(30.0, (len(points) - 1) / 3)
        plane = sklearn.manifold.TSNE(init="pca", perplexity=perplexity, random_state=seed)
        said = {"first": place == 0, "best": place == best, "last": place == end}
        words = " and ".join(word for word, is_so in said.items() if is_so)
        pictures[f"{layer} ({words})"] = (plane.fit_transform(points), labels)
    return pictures


if __name__ == "__main__":
    define_flags()
    commandline.launch("layers", main)
