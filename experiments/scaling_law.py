"""Scaling laws: how does the error fall with examples, with width, and with noise in the labels?

Question: is error = a N^-alpha (+ c) on small sets too, with which alpha, and does a law fitted to
small sizes predict the error at larger ones?
"""

from typing import Any, NamedTuple

import numpy as np

from experiments import commandline, fields, pools, scaling, study
from experiments.configs import scaling_law as scaling_law_config
from genjax import errors
from genjax import report as screen
from genjax.data import splits
from genjax.report import scaling_law as report
from genjax.training.resamples import Own, train_resamples

TITLE = "How does the error scale with examples, width and label noise?"


class Ready(NamedTuple):
    """Examples, and the training sets.

    Attributes:
        parts: train, validation and test.
        drawn: positions, `[noise rates * sizes * seeds, largest size]`.
        labels: the same, with noise.
    """

    parts: study.Parts
    drawn: np.ndarray
    labels: np.ndarray


def main() -> None:
    """Train on nested subsets, at several widths and noise rates, and fit the laws."""
    study.run(
        TITLE, scaling_law_config.get_config(), prepare, compute,
        lambda ready: " ".join(part.fingerprint for part in ready.parts),
    )  # fmt: skip


def prepare(config: Any) -> Ready:
    """Load and draw the training sets, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 3)
    pools.at_least("widths", config.widths, 1)
    pools.at_least("beyond", config.beyond, 1)
    for name in ("sizes", "widths"):
        values = tuple(config[name])
        if list(values) != sorted(set(values)) or len(values) - config.beyond < 3:
            raise errors.InvalidInputError(
                f"{name}: found {values}; they must grow, and beside the {config.beyond} largest, "
                "which laws are tested on (beyond), at least three are needed to fit."
            )
    rates = fields.numbers("label_noise", config.label_noise)
    if not rates or rates[0] != 0 or list(rates) != sorted(set(rates)) or rates[-1] >= 1:
        raise errors.InvalidInputError(
            f"label_noise: found {rates}; allowed are growing shares from 0, below 1."
        )
    pools.rules(config)
    pools.hyper(config)
    parts = study.load(config)
    pools.check_sizes("sizes", config.sizes, len(parts.train))
    for width in (*config.widths, config.width):
        _network(config, parts, width)
    return Ready(parts, *training_sets(config, parts))


def training_sets(config: Any, parts: study.Parts) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and labels of all training sets, by noise rate, size and seed.

    The set of a seed and size is part of that of the next size; its labels are wrong where those
    of the next size are.
    """
    drawn, labels = [], []
    largest = max(config.sizes)
    subsets = [
        splits.nested_subsets(parts.train, list(config.sizes), seed=config.seed * 1000 + seed)
        for seed in range(config.seeds)
    ]
    for rate in config.label_noise:
        noisy = [
            splits.label_noise(
                parts.train.labels, rate, parts.train.num_classes, seed=config.seed * 1000 + seed
            ).labels
            for seed in range(config.seeds)
        ]
        for size in range(len(config.sizes)):
            for seed in range(config.seeds):
                own = pools.repeated(subsets[seed][size][None], largest)[0]
                drawn.append(own)
                labels.append(noisy[seed][own])
    return np.stack(drawn), np.stack(labels)


def _network(config: Any, parts: study.Parts, width: int) -> Any:
    return pools.network_of(parts.train, "mlp", {"widths": (width,) * config.depth})


def compute(config: Any, ready: Ready, work: study.Work) -> study.Study:
    """Train over sizes and noise as one program, over widths one program each; fit and say."""
    test, found = ready.parts.test, {}
    known, judges = scaling.judged(config.label_noise, ready.parts, config.seed)
    whole = [len(config.sizes) - 1]  # of the sizes, for widths, with labels as they are
    with screen.terminal.progress("scaling", unit="steps") as advance:

        def one(width, rates, sizes):
            shape = (len(config.label_noise), len(config.sizes), config.seeds)
            chosen = np.arange(np.prod(shape)).reshape(shape)[np.ix_(rates, sizes)].ravel()
            own = Own(
                ready.drawn[chosen], ready.labels[chosen], pools.hyper(config),
                held_out=judges[chosen // (len(config.sizes) * config.seeds)],
            )  # fmt: skip
            group = train_resamples(
                _network(config, ready.parts, width),
                pools.rules(config),
                known,
                own,
                pools.keys(config.seed, chosen % config.seeds),
                on_progress=advance,
            )
            return scaling.scores(group, test, (len(rates), len(sizes), config.seeds))

        every = (range(len(config.label_noise)), range(len(config.sizes)))
        found["examples"] = work.kept("examples", lambda: one(config.width, *every))
        each = [
            {name: v[:1, whole] for name, v in found["examples"].items()}  # trained already
            if width == config.width
            else work.kept(f"width_{width}", lambda width=width: one(width, [0], whole))
            for width in config.widths
        ]
    found["width"] = {name: np.concatenate([w[name] for w in each], axis=1) for name in each[0]}
    tables = scaling.tables(config, found)
    return study.Study(
        report.conclusions(tables),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("scaling_law", main)
