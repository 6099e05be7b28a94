"""Double descent: does the test error fall, rise and fall again with width, examples and time?

Question: random features against their closed form; networks and random features of images through
the interpolation threshold, with and without wrong labels.
"""

from typing import Any

import numpy as np
import pandas as pd

from experiments import commandline, descending, pools, study
from experiments.configs import double_descent as double_descent_config
from experiments.pools import Pool
from genjax import errors
from genjax import report as screen
from genjax.report import double_descent as report

TITLE = "Does the test error fall twice?"


def main() -> None:
    """Fit random features and train networks of every size, and look for a second descent."""
    study.run(TITLE, double_descent_config.get_config(), prepare, compute, pools.fingerprint)


def prepare(config: Any) -> Pool:
    """Load, after checking every field that needs no data."""
    for name in ("seeds", "simulated.trials"):
        pools.at_least(name, _field(config, name), 2)
    for name in (
        "simulated.dimension", "simulated.examples", "simulated.features",
        "simulated.test_examples", "features.examples", "features.counts", "features.fixed",
        "features.sizes", "network.examples", "network.widths", "network.fixed", "network.looks",
    ):  # fmt: skip
        pools.at_least(name, _field(config, name), 1)
    for name in ("simulated.features", "features.counts", "features.sizes", "network.widths"):
        values = tuple(_field(config, name))
        if len(values) < 3 or list(values) != sorted(set(values)):
            raise errors.InvalidInputError(
                f"{name}: found {values}; a second descent needs at least three that grow."
            )
    noises = tuple(config.label_noises)
    if not noises or len(set(noises)) < len(noises) or not all(0 <= n < 1 for n in noises):
        raise errors.InvalidInputError(
            f"label_noises: found {noises}; allowed are different shares from 0, below 1."
        )
    if config.simulated.noise < 0:
        raise errors.InvalidInputError(
            f"simulated.noise: found {config.simulated.noise}; allowed are variances from 0."
        )
    pools.rules(config)
    pools.hyper(config)
    if config.training.stop != "steps":
        raise errors.InvalidInputError(
            f"training.stop: found '{config.training.stop}'; allowed is 'steps', since errors "
            "during training are compared at equal steps."
        )
    pool = pools.load(config)
    pools.check_sizes("network.sizes", config.network.sizes, len(pool.train))
    for name in ("features.examples", "features.sizes", "network.examples"):
        value = _field(config, name)
        largest = value if isinstance(value, int) else max(value)
        if largest > len(pool.train):
            raise errors.SplitError(
                f"{name}: found {largest}; there are {len(pool.train)} examples."
            )
    return pool


def _field(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = config[part]
    return config


def compute(config: Any, ready: Pool, work: study.Work) -> study.Study:
    """Fit, train, look for a second descent, and put it in words."""
    risk = work.kept("simulated", lambda: descending.simulated(config))["risk"]
    fitted = work.kept("features", lambda: descending.features(config, ready))
    asked, parts = config.network, []
    parts.append(
        descending.long(config, "random features", config.features.counts, fitted["features"])
    )
    parts.append(
        descending.long(
            config, "examples of random features", config.features.sizes,
            fitted["feature_examples"],
        )
    )  # fmt: skip
    with screen.terminal.progress("networks", unit="steps") as advance:

        def of_width(name: str, width: int, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
            return work.kept(name, lambda: descending.trained(config, ready, width, sizes, advance))

        found = [of_width(f"width_{w}", w, (asked.examples,)) for w in asked.widths]
        by_size = of_width("sizes", asked.fixed, tuple(asked.sizes))
    test, train = (np.concatenate([f[name] for f in found], -1) for name in ("test", "train"))
    parts.append(descending.long(config, "width of networks", asked.widths, test, train))
    parts.append(
        descending.long(
            config, "examples of networks", asked.sizes, by_size["test"], by_size["train"]
        )
    )
    steps = found[-1]["steps"]
    looks = np.unique(np.geomspace(1, len(steps), asked.looks).round().astype(int)) - 1
    records = [
        np.moveaxis(found[-1][name][looks, ..., 0], 0, -1)
        for name in ("test_records", "train_records")
    ]
    parts.append(descending.long(config, "steps of training", steps[looks], *records))
    errors_found = pd.concat(parts, ignore_index=True)
    tables = {
        "closed_form": descending.closed_form(config, risk),
        **descending.tables(config, errors_found),
        "errors": errors_found,
    }
    return study.Study(
        report.conclusions(tables, config.simulated.examples),
        report.sections(work.output, tables, config.simulated.examples, _thresholds(config)),
        tables,
        report.headline(tables),
    )


def _thresholds(config: Any) -> dict[str, int]:
    return {
        "random features": config.features.examples,
        "examples of random features": config.features.fixed,
    }


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("double_descent", main)
