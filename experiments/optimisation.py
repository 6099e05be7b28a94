"""Optimisation: does SGD with momentum generalize better than Adam, when all are tuned?

Question: every optimizer on its grid of learning rates and batch sizes, chosen by validation
examples, compared on test examples with intervals over seeds; sharpness beside it.
"""

from typing import Any

from experiments import commandline, pools, study, tuning
from experiments.configs import optimisation as optimisation_config
from experiments.study import Parts
from genjax import errors
from genjax import report as screen
from genjax.report import optimisation as report
from genjax.training.config import ModelConfig, SweepConfig

TITLE = "Does SGD with momentum generalize better than Adam?"


def main() -> None:
    """Tune every optimizer, and compare them at their best."""
    study.run(TITLE, optimisation_config.get_config(), prepare, compute, _fingerprint)


def _fingerprint(parts: Parts) -> str:
    return " ".join(part.fingerprint for part in parts)


def prepare(config: Any) -> Parts:
    """Load, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 2)
    for name in ("examples", "epochs", "batch_sizes"):
        pools.at_least(name, config[name], 1)
    names = tuple(name for name in config.rates if config.rates[name])
    if config.base not in names:
        raise errors.InvalidInputError(errors.suggest("base", config.base, names))
    if len(names) < 2:
        raise errors.InvalidInputError(
            f"rates: found those of {names}; at least two optimizers are needed to compare."
        )
    hyper: dict[str, tuple[float, ...]] = {
        "weight_decay": (config.weight_decay, config.decoupled_decay),
        "sam_radius": (config.sam_radius,),
    }
    for name in names:
        for batch in config.batch_sizes:
            tuning.rules(config, name, batch)
        rates = tuple(config.rates[name])
        if list(rates) != sorted(set(rates)) or rates[0] <= 0:
            raise errors.InvalidInputError(
                f"rates.{name}: found {rates}; allowed are growing numbers above 0."
            )
        SweepConfig([ModelConfig("mlp")], hyper={**hyper, "learning_rate": rates})
    if len(set(config.batch_sizes)) < len(config.batch_sizes):
        raise errors.InvalidInputError(
            f"batch_sizes: found {tuple(config.batch_sizes)}; one stands twice."
        )
    if max(config.batch_sizes) > config.examples:
        raise errors.InvalidInputError(
            f"batch_sizes: found {max(config.batch_sizes)}; there are {config.examples} examples."
        )
    if not config.sharpness_radius > 0:
        raise errors.InvalidInputError(
            f"sharpness_radius: found {config.sharpness_radius}; allowed are numbers above 0."
        )
    parts = study.load(config)
    if config.examples > len(parts.train):
        raise errors.SplitError(
            f"examples: found {config.examples}; there are {len(parts.train)} to draw from."
        )
    tuning.network_of(config, parts)
    return parts


def compute(config: Any, ready: Parts, work: study.Work) -> study.Study:
    """Train the grid, choose, compare, and put it in words."""
    found, network = {}, tuning.network_of(config, ready)
    with screen.terminal.progress("grid", unit="steps") as advance:
        for name in tuning.optimizers(config):
            for batch in config.batch_sizes:

                def one(name=name, batch=batch):
                    return tuning.trained(config, ready, network, name, batch, advance)

                found[name, batch] = work.kept(f"{name}_{batch}", one)
    tables = tuning.tables(config, found)
    return study.Study(
        report.conclusions(tables, config.base),
        report.sections(work.output, tables, config.base),
        tables,
        report.headline(tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("optimisation", main)
