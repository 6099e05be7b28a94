"""What a sweep trains: models, hyper-parameters and rules, checked before any work."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from genjax import errors

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "sam")
SCHEDULES = ("constant", "cosine", "warmup_cosine", "exponential")
STOPPING_RULES = ("steps", "cross_entropy", "early_stopping")


class HyperParameters(NamedTuple):
    """Numbers that training takes as arguments, so that a grid of them is one more vmap.

    Attributes:
        learning_rate: peak step size.
        momentum: decay of the velocity (sgd with momentum, nesterov, sam) or of Adam's first
            moment.
        weight_decay: coupled L2, `gradient + weight_decay * parameter`, as in PyTorch's optimisers;
            decoupled in adamw.
        label_smoothing: share of the target spread evenly over all classes.
        dropout_rate: probability of dropping a unit.
        mixup_alpha: both parameters of the Beta distribution of mixup; 0 mixes nothing.
        sam_radius: radius rho of sharpness-aware minimisation.
        noise_scale: standard deviation of Gaussian noise added to every gradient entry.
    """

    learning_rate: Any = 0.1
    momentum: Any = 0.9
    weight_decay: Any = 0.0
    label_smoothing: Any = 0.0
    dropout_rate: Any = 0.0
    mixup_alpha: Any = 0.0
    sam_radius: Any = 0.05
    noise_scale: Any = 0.0


_RANGES = {
    "learning_rate": (0.0, math.inf),
    "momentum": (0.0, 1.0),
    "weight_decay": (0.0, math.inf),
    "label_smoothing": (0.0, 1.0),
    "dropout_rate": (0.0, 1.0),
    "mixup_alpha": (0.0, math.inf),
    "sam_radius": (0.0, math.inf),
    "noise_scale": (0.0, math.inf),
}


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Rules of training that change shapes or code; a different value makes a new group.

    Attributes:
        optimizer: one of `OPTIMIZERS`.
        schedule: shape of the learning rate over `max_steps`, one of `SCHEDULES`.
        warmup: share of `max_steps` that `warmup_cosine` warms up over.
        batch_size: examples per step; the rest of an epoch that fills no batch is left to the next.
        max_steps: training ends here whatever the rule.
        stop: `steps`; `cross_entropy` (stop when the mean cross-entropy over the whole training
            set, in nats, is below `threshold`); `early_stopping` (stop when the validation error
            has not improved for `patience` records, and return the best parameters).
        threshold: for `cross_entropy`; the literature uses 0.01.
        patience: for `early_stopping`, in records.
        record_every: steps between records of the history; stopping rules act at records.
        augmentation: names of `genjax.data.augmentation`.
    """

    optimizer: str = "momentum"
    schedule: str = "constant"
    warmup: float = 0.05
    batch_size: int = 64
    max_steps: int = 2000
    stop: str = "cross_entropy"
    threshold: float = 0.01
    patience: int = 10
    record_every: int = 50
    augmentation: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse what cannot be trained, by name."""
        for field, allowed in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("stop", STOPPING_RULES),
        ):
            if getattr(self, field) not in allowed:
                raise errors.InvalidInputError(
                    errors.suggest(f"training.{field}", str(getattr(self, field)), allowed)
                )
        for field in ("batch_size", "max_steps", "patience", "record_every"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise errors.InvalidInputError(
                    f"training.{field}: found {value!r}; allowed are whole numbers from 1."
                )
        if not self.threshold > 0:
            raise errors.InvalidInputError(
                f"training.threshold: found {self.threshold}; it must be above 0."
            )
        if not 0 <= self.warmup < 1:
            raise errors.InvalidInputError(
                f"training.warmup: found {self.warmup}; allowed is a share in [0, 1)."
            )
        if self.record_every > self.max_steps:
            object.__setattr__(self, "record_every", self.max_steps)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One architecture of a sweep.

    Attributes:
        name: registered model name.
        options: its options, e.g. `{"widths": (64, 64)}`.
    """

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """A population: every model with every training rule, hyper-parameter setting and seed.

    Attributes:
        models: the architectures.
        training: one or more sets of rules.
        hyper: values per hyper-parameter; the grid is their product.
        seeds: number of seeds per setting.
    """

    models: Sequence[ModelConfig]
    training: Sequence[TrainingConfig] = (TrainingConfig(),)
    hyper: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    seeds: int = 8

    def __post_init__(self):
        """Refuse an empty sweep and hyper-parameters that do not exist or are out of range."""
        if not self.models or not self.training:
            raise errors.InvalidInputError(
                f"sweep.models and sweep.training: found {len(self.models)} models and "
                f"{len(self.training)} training rules; at least one of each is needed."
            )
        if not isinstance(self.seeds, int) or self.seeds < 1:
            raise errors.InvalidInputError(
                f"sweep.seeds: found {self.seeds!r}; allowed are whole numbers from 1."
            )
        for name, values in self.hyper.items():
            if name not in HyperParameters._fields:
                raise errors.InvalidInputError(
                    errors.suggest("sweep.hyper", name, HyperParameters._fields)
                )
            low, high = _RANGES[name]
            for value in values:
                if not (low <= value <= high and math.isfinite(value)) or value == high:
                    raise errors.InvalidInputError(
                        f"sweep.hyper.{name}: found {value}; allowed is [{low:g}, {high:g})."
                    )
            if not len(values):
                raise errors.InvalidInputError(f"sweep.hyper.{name}: found no value.")

    def settings(self) -> list[dict[str, float]]:
        """Return the grid of hyper-parameters, one dictionary per setting.

        Example:
            >>> config = SweepConfig([ModelConfig("mlp")], hyper={"learning_rate": (0.1, 0.2)})
            >>> [s["learning_rate"] for s in config.settings()]
            [0.1, 0.2]
        """
        defaults = HyperParameters()._asdict()
        names = list(self.hyper)
        product = itertools.product(*(self.hyper[name] for name in names))
        return [{**defaults, **dict(zip(names, values, strict=True))} for values in product]
