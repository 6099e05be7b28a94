"""Neural tangent kernels: when does the linear picture predict the test error?

Question: networks of every width and their linearisations at the start are trained by the same
gradient descent; how far apart are they, how far does the kernel drift, and are the errors equal?
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import commandline, linearising, pools, study
from experiments.configs import ntk as ntk_config
from experiments.pools import Pool
from genjax import errors
from genjax import report as screen
from genjax.metrics.complexity import empirical_ntk, linearised
from genjax.report import ntk as report
from genjax.training import execution

TITLE = "When does the linear picture of a network predict its test error?"


def main() -> None:
    """Train networks and linearisations of every width, and compare them."""
    study.run(TITLE, ntk_config.get_config(), prepare, compute, pools.fingerprint)


def prepare(config: Any) -> Pool:
    """Load, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 3)
    pools.at_least("widths", config.widths, 1)
    pools.at_least("depth", config.depth, 1)
    pools.at_least("steps", config.steps, 1)
    if list(config.widths) != sorted(set(config.widths)) or len(config.widths) < 2:
        raise errors.InvalidInputError(
            f"widths: found {tuple(config.widths)}; at least two are needed, and they must grow."
        )
    for name in ("rate", "ridge", "margin"):
        if not config[name] > 0:
            raise errors.InvalidInputError(f"{name}: found {config[name]}; it must be above 0.")
    linearised.network(1, 1, (1,), config.activation)
    return pools.load(config)


def compute(config: Any, ready: Pool, work: study.Work) -> study.Study:
    """Train, compare, and put it in words."""
    frames = []
    with screen.terminal.progress("widths", unit="networks") as advance:
        total = config.seeds * len(config.widths)
        for place, width in enumerate(config.widths):
            advance(place * config.seeds, total, f"{width} units")
            found = work.kept(f"width_{width}", lambda width=width: _width(config, ready, width))
            frames.append(pd.DataFrame({"width": width, "seed": range(config.seeds), **found}))
        advance(total, total, "done")
    tables = linearising.tables(config, pd.concat(frames, ignore_index=True))
    return study.Study(
        report.conclusions(tables, config.margin),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


def _width(config: Any, pool: Pool, width: int) -> dict[str, np.ndarray]:
    """Return what is measured of every network of a width, `[seeds]`."""
    targets = np.eye(pool.train.num_classes, dtype=np.float32)[pool.train.labels]
    targets -= 1 / pool.train.num_classes
    init, apply = linearised.network(
        int(np.prod(pool.train.image_shape)), pool.train.num_classes,
        (width,) * config.depth, config.activation,
    )  # fmt: skip
    count = len(pool.train)

    def one(train, test, wanted, key):
        start = init(key)
        found = linearised.descend(
            apply, start, train, wanted, test, rate=config.rate, steps=config.steps
        )
        both = empirical_ntk(apply, start, jnp.concatenate([train, test]))
        last = empirical_ntk(apply, found.params, train)
        return found._replace(params=None), apply(start, train), both[:, :count], last

    form = execution.choose(networks=config.seeds)
    keys = execution.filled(pools.keys(config.seed, range(config.seeds)), config.seeds, form)
    program = execution.spread(one, form, shared=3)
    found = program(pool.train.images, pool.test.images, targets, keys)
    return _measured(config, pool, targets, execution.cut(found, config.seeds))


def _measured(config: Any, pool: Pool, targets: np.ndarray, found: Any) -> dict[str, np.ndarray]:
    descent, start, kernels, last = found
    count = len(pool.train)
    # Factorisations are done here and not in the program: float64, and no LAPACK inside of it.
    regression = np.stack([
        np.full_like(descent.start[k], np.nan)
        if not np.isfinite(kernels[k]).all()
        else linearised.kernel_regression(
            kernels[k, :count], kernels[k, count:], targets, (start[k], descent.start[k]),
            ridge=config.ridge,
        )
        for k in range(config.seeds)
    ])  # fmt: skip
    first = kernels[:, :count]
    moved = np.linalg.norm(last - first, axis=(1, 2)) / np.linalg.norm(first, axis=(1, 2))
    apart = np.sqrt(((descent.network - descent.linear) ** 2).mean(axis=(1, 2)))
    learned = np.sqrt(((descent.linear - descent.start) ** 2).mean(axis=(1, 2)))
    finite = np.isfinite(apart) & np.isfinite(moved)

    def error(outputs, labels):
        return np.where(finite, (outputs.argmax(axis=-1) != labels).mean(axis=1), np.nan)

    same = descent.network.argmax(axis=-1) == descent.linear.argmax(axis=-1)
    return {
        "distance": np.where(finite, apart / learned, np.nan),
        "drift": np.where(finite, moved, np.nan),
        "agreement": np.where(finite, same.mean(axis=1), np.nan),
        "network_error": error(descent.network, pool.test.labels),
        "linear_error": error(descent.linear, pool.test.labels),
        "kernel_error": error(regression, pool.test.labels),
        "network_train_error": error(descent.network_train, pool.train.labels),
        "linear_train_error": error(descent.linear_train, pool.train.labels),
    }


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("ntk", main)
