"""Adversarial: how far must an image be moved to fool a network, and what does training on it buy?

Question: error against the size of the attack, for three attacks; what adversarial training changes
without an attack, under attack, and under shifts that nobody chose to harm.
"""

import math
from typing import Any

from experiments import commandline, hardening, pools, study
from experiments.configs import adversarial as adversarial_config
from experiments.pools import Pool
from genjax import errors
from genjax import report as screen
from genjax.data import shifts
from genjax.metrics import robustness
from genjax.report import adversarial as report

TITLE = "How far must an image be moved to fool a network?"


def main() -> None:
    """Train networks on attacked images, attack and shift their test images."""
    study.run(TITLE, adversarial_config.get_config(), prepare, compute, pools.fingerprint)


def prepare(config: Any) -> Pool:
    """Load, after checking every field that needs no data."""
    pools.at_least("seeds", config.seeds, 2)
    pools.at_least("attack_steps", config.attack_steps, 1)
    pools.at_least("training_attack_steps", config.training_attack_steps, 1)
    _growing("radii", config.radii, 2)
    _growing("epsilons", config.epsilons, 2)
    if config.compared_at not in config.epsilons[1:]:
        raise errors.InvalidInputError(
            f"compared_at: found {config.compared_at}; allowed are the epsilons above 0, "
            f"{tuple(config.epsilons[1:])}."
        )
    for field, values, allowed in (
        ("attacks", config.attacks, tuple(robustness.ATTACKS)),
        ("shifts", config.shifts, shifts.names()),
    ):
        for name in values:
            if name not in allowed:
                raise errors.InvalidInputError(errors.suggest(field, name, allowed))
        if len(set(values)) < len(values):
            raise errors.InvalidInputError(f"{field}: found {tuple(values)}; one stands twice.")
    if len(config.attacks) < 2:
        raise errors.InvalidInputError(
            f"attacks: found {tuple(config.attacks)}; at least two are needed to compare."
        )
    if "autoencoder" in config.shifts:
        raise errors.InvalidInputError(
            "shifts: found 'autoencoder'; it has to be trained first, and is not offered here."
        )
    levels = list(config.levels)
    if not levels or levels != sorted(set(levels), reverse=True) or not 0 < levels[-1] <= 1:
        raise errors.InvalidInputError(
            f"levels: found {tuple(levels)}; allowed are falling SSIM values up to 1, above 0."
        )
    if pools.rules(config).stop == "early_stopping":
        raise errors.InvalidInputError(
            "training.stop: found 'early_stopping'; there are no validation examples here; allowed "
            "are 'steps' and 'cross_entropy'."
        )
    if config.training.get("augmentation") or pools.hyper(config).mixup_alpha:
        raise errors.InvalidInputError(
            "training.augmentation and hyper.mixup_alpha: found one of them; both would change the "
            "labels that images carry here, and are not allowed."
        )
    pool = pools.load(config)
    hardening.network_of(config, pool)
    if "auto_pgd_ratio" in config.attacks and pool.train.num_classes < 3:
        raise errors.InvalidInputError(
            "attacks: found 'auto_pgd_ratio' and two classes; it needs a third logit."
        )
    return pool


def _growing(name: str, values: Any, least: int) -> None:
    """Refuse what is not 0 followed by growing numbers."""
    values = tuple(values)
    if (
        len(values) < least
        or list(values) != sorted(set(values))
        or values[0] != 0
        or not all(math.isfinite(v) and v <= 1 for v in values)
    ):
        raise errors.InvalidInputError(
            f"{name}: found {values}; allowed are 0 and growing numbers up to 1."
        )


def compute(config: Any, ready: Pool, work: study.Work) -> study.Study:
    """Train, attack, shift, and put it in words."""
    with screen.terminal.progress("networks", unit="steps") as advance:
        found = work.kept("networks", lambda: hardening.measured(config, ready, advance))
    tables = hardening.tables(config, found)
    return study.Study(
        report.conclusions(tables, config.compared_at),
        report.sections(work.output, tables),
        tables,
        report.headline(tables),
    )


if __name__ == "__main__":
    commandline.define_flags()
    commandline.launch("adversarial", main)
