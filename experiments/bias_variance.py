"""Bias and variance: which part of the error falls with width, and which with examples?

Question: networks of every width are trained on many samples of every size; the expected loss is
noise + bias + variance, exactly, for the squared loss, the 0-1 loss and the cross-entropy.
"""

from typing import Any

import numpy as np

from experiments import commandline, pools, resampling, study
from experiments.configs import bias_variance as bias_variance_config
from experiments.pools import Pool
from genjax import errors
from genjax import report as screen
from genjax.data import splits
from genjax.metrics import outputs
from genjax.report import bias_variance as report
from genjax.training.resamples import Own, train_resamples
from genjax.training.segment import DIVERGED

TITLE = "Which part of the error is bias, and which is variance?"


def main() -> None:
    """Train on samples of every size at every width, and take the error apart."""
    study.run(
        TITLE, bias_variance_config.get_config(), prepare, compute, pools.fingerprint
    )  # fmt: skip


def prepare(config: Any) -> Pool:
    """Load, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 3)  # the jackknife leaves one out, and two must remain
    pools.at_least("widths", config.widths, 1)
    if not 0 <= config.label_noise < 1:
        raise errors.InvalidInputError(
            f"label_noise: found {config.label_noise}; allowed are shares from 0, below 1."
        )
    if list(config.widths) != sorted(set(config.widths)) or len(config.widths) < 2:
        raise errors.InvalidInputError(
            f"widths: found {tuple(config.widths)}; at least two are needed, and they must grow."
        )
    pools.rules(config)
    pools.hyper(config)
    pool = pools.load(config)
    pools.check_sizes("sizes", config.sizes, len(pool.train))
    for width in config.widths:
        _network(config, pool, width)
    return pool


def _network(config: Any, pool: Pool, width: int) -> Any:
    return pools.network_of(pool.train, "mlp", {"widths": (width,) * config.depth})


def compute(config: Any, ready: Pool, work: study.Work) -> study.Study:
    """Train, decompose, and put it in words."""
    drawn, labels = samples(config, ready)
    logits, alive = [], []
    with screen.terminal.progress("samples", unit="steps") as advance:
        for width in config.widths:

            def one(width=width):
                group = train_resamples(
                    _network(config, ready, width), pools.rules(config), ready.train,
                    Own(drawn, labels, pools.hyper(config)),
                    # A sample has its start and order of batches, whatever its size.
                    pools.keys(config.seed, np.arange(len(drawn)) % config.seeds),
                    on_progress=advance,
                )  # fmt: skip
                return {
                    "logits": outputs.group_logits(group, ready.test.images),
                    "alive": group.status != DIVERGED,
                }

            found = work.kept(f"width_{width}", one)
            shape = (len(config.sizes), config.seeds)
            logits.append(found["logits"].reshape(*shape, *found["logits"].shape[1:]))
            alive.append(found["alive"].reshape(shape))
    tables = resampling.tables(config, ready.test, np.stack(logits), np.stack(alive))
    return study.Study(
        report.conclusions(tables),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


def samples(config: Any, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and labels of every training set, `[sizes * seeds, largest size]`.

    Sample s of a size is part of sample s of the next one; its noise is drawn anew for every s.
    """
    largest = max(config.sizes)
    rng = np.random.default_rng(config.seed)
    orders, noisy = [], []
    for sample in range(config.seeds):
        order = rng.permutation(len(pool.train))[:largest]
        orders.append(order)
        noise = splits.label_noise(
            pool.train.labels[order], config.label_noise, pool.train.num_classes,
            seed=config.seed * 1000 + sample,
        )  # fmt: skip
        noisy.append(noise.labels)
    return tuple(
        np.concatenate(
            [pools.repeated(np.stack(whole)[:, :size], largest) for size in config.sizes]
        )
        for whole in (orders, noisy)
    )  # type: ignore[return-value]


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("bias_variance", main)
