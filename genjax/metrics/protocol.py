"""Protocols: every choice between frozen features and a cell of the practical metric.

The practical generalization metric of Huang, Yu and Zhang (Sci Rep 15:9747, 2025) reads a network
through a head on its frozen features. How that head is fitted decides the number: a `Protocol`
names every such choice, `PAPER` holds those of the paper's script with its leaks, `CLEAN` those
without, and `ladder` walks from one to the other one choice at a time.
"""

import dataclasses
import math

from genjax.errors import InvalidInputError, suggest

_ALLOWED = {
    "head": ("linear_probe", "nearest_class_mean", "nearest_neighbour"),
    "label_space": ("growing", "fixed"),
    "early_stopping": ("test", "validation", "none"),
    "keep": ("best", "last"),
    "novel_order": ("listed", "per_seed"),
    "preset": ("paper", "clean"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a head is fitted and read; hashable, so that it can be a static option.

    Attributes:
        name: short name, the label of a row in the table of differences.
        description: one line for the reader; does not take part in comparisons.
        head: `linear_probe`, `nearest_class_mean` or `nearest_neighbour`.
        shots: labelled training images per class, drawn by key; None takes all of them. The linear
            probe always takes all.
        label_space: `growing`: only classes in play can be predicted and only their images are
            fitted, so that chance level moves with the novel share; `fixed`: the head is fitted
            once on the classes in play at the largest share and all of them can be predicted at
            every share, which then only says whose test images count.
        early_stopping: split whose error stops the probe: `test` (the paper's leak), `validation`
            or `none`.
        keep: weights used after stopping: those of the epoch with the lowest stopping error
            (`best`, the earliest of equals) or those of the `last` epoch. The paper does not say
            which; with `early_stopping="none"` it is always the last.
        novel_augmentation: test images of novel classes are augmented, seen ones are not (the
            paper).
        novel_order: novel classes enter in the `listed` order, or turned by one class `per_seed`.
        preset: of the six statistics: `paper` (its mixture of ddof) or `clean`.
        learning_rate: of AdamW.
        weight_decay: decoupled, of AdamW, on weights and bias; .01 is PyTorch's default.
        l2: coefficient of the penalty `l2 / 2 * ||W||_F^2` added to the mean cross-entropy (bias
            free); scikit-learn's `C` is `1 / (N * l2)`.
        standardise: features are shifted and scaled to mean 0 and standard deviation 1 over the
            training images of the classes in play before the probe is fitted, so that one learning
            rate serves families whose features differ in scale; constant features stay.
        batch_size: examples per step; at least the number of examples gives full-batch steps.
        epochs: most passes over the training examples of the classes in play.
        patience: stop after so many epochs without a lower stopping error.
        stop_error: stop when the training error is below; 0 never does.
        neighbours: number of voting neighbours of `nearest_neighbour`.

    Raises:
        InvalidInputError: if a choice is unknown or a number is out of its range.

    Example:
        >>> import dataclasses
        >>> scaled = dataclasses.replace(PAPER, learning_rate=1e-2, epochs=20)
        >>> scaled.early_stopping, scaled.weight_decay
        ('test', 0.01)
    """

    name: str
    description: str = dataclasses.field(default="", compare=False)
    head: str = "linear_probe"
    shots: int | None = None
    label_space: str = "growing"
    early_stopping: str = "validation"
    keep: str = "best"
    novel_augmentation: bool = False
    novel_order: str = "per_seed"
    preset: str = "clean"
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    l2: float = 0.0
    standardise: bool = True
    batch_size: int = 32
    epochs: int = 40
    patience: int = 10
    stop_error: float = 0.0
    neighbours: int = 5

    def __post_init__(self):
        for field, allowed in _ALLOWED.items():
            if getattr(self, field) not in allowed:
                raise InvalidInputError(suggest(field, str(getattr(self, field)), allowed))
        for field in ("batch_size", "epochs", "patience", "neighbours"):
            _require_at_least(field, getattr(self, field), 1)
        for field in ("weight_decay", "l2", "stop_error"):
            _require_at_least(field, getattr(self, field), 0)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InvalidInputError(f"learning_rate: {self.learning_rate} must be positive.")
        if self.shots is not None:
            _require_at_least("shots", self.shots, 1)
        self._check_combinations()

    def _check_combinations(self):
        if self.head == "linear_probe":
            if self.shots is not None:
                raise InvalidInputError(
                    f"shots: {self.shots} given, but the linear probe takes all examples (None)."
                )
        elif self.early_stopping != "none":
            raise InvalidInputError(
                f"early_stopping: '{self.early_stopping}' given, but head '{self.head}' does not "
                "train; the only choice is 'none'."
            )


def _require_at_least(field: str, value: int | float, lowest: int) -> None:
    if not (math.isfinite(value) and value >= lowest):
        raise InvalidInputError(f"{field}: {value} found, must be finite and at least {lowest}.")


PAPER = Protocol(
    name="paper",
    description="the paper's script: probe stopped on the test split, novel test images augmented",
    early_stopping="test",
    novel_augmentation=True,
    novel_order="listed",
    preset="paper",
    learning_rate=1e-4,
    epochs=10,
    patience=5,
    stop_error=0.005,
    standardise=False,
)
"""The committed script: `Linear(D, seen + z)` on labelled training images of all classes in play,
AdamW (learning rate 1e-4, PyTorch's default decay .01), at most 10 epochs of batches of 32,
patience 5 on the test error or training error below .005. A thousand examples barely train so:
scale it with `dataclasses.replace`."""

CLEAN = Protocol(
    name="clean",
    description="standardised features, probe stopped on validation data, no augmentation",
)
"""The default: nothing of the test split enters the fit, all test images are treated alike."""

FIXED_LABELS = dataclasses.replace(
    CLEAN,
    name="fixed_labels",
    description="as clean, but every seen and novel class can be predicted at every share",
    label_space="fixed",
)
"""The chance level does not move with the novel share: what is left is the effect of novelty."""

NEAREST_MEAN = Protocol(
    name="nearest_mean",
    description="nearest class mean of 10 labelled images per class, nothing trained",
    head="nearest_class_mean",
    shots=10,
    early_stopping="none",
)

NEAREST_NEIGHBOUR = Protocol(
    name="nearest_neighbour",
    description="majority of the 5 nearest among 10 labelled images per class, nothing trained",
    head="nearest_neighbour",
    shots=10,
    neighbours=5,
    early_stopping="none",
)

_RUNGS = (
    (
        "stopping",
        ("early_stopping",),
        "early stopping on {0.early_stopping} data instead of {1.early_stopping} data",
    ),
    (
        "augmentation",
        ("novel_augmentation",),
        "novel test images {images}",
    ),
    (
        "class_order",
        ("novel_order",),
        "novel classes in the order '{0.novel_order}' instead of '{1.novel_order}'",
    ),
    (
        "label_space",
        ("label_space",),
        "label space '{0.label_space}' instead of '{1.label_space}'",
    ),
    (
        "probe_budget",
        (
            "learning_rate",
            "weight_decay",
            "l2",
            "standardise",
            "batch_size",
            "epochs",
            "patience",
            "stop_error",
            "keep",
        ),
        "{scaled} features, learning rate {0.learning_rate:g}, at most {0.epochs} epochs, patience "
        "{0.patience} instead of {1.learning_rate:g}, {1.epochs}, {1.patience}",
    ),
    (
        "statistics",
        ("preset",),
        "statistics of the preset '{0.preset}' instead of '{1.preset}'",
    ),
)


def ladder(start: Protocol = PAPER, end: Protocol = CLEAN) -> tuple[Protocol, ...]:
    """Return the protocols from `start` to `end` that differ from rung to rung in one choice.

    Choices in which the two agree give no rung. The numbers of the probe's optimizer are one
    choice, its budget. The first protocol is `start` and the last equals `end`; those between are
    named after what has just changed, and every description says it.

    Args:
        start: first protocol, a linear probe.
        end: last protocol, a linear probe.

    Returns:
        Two or more protocols.

    Raises:
        InvalidInputError: if the two do not use the same head or do not differ.

    Example:
        >>> [rung.name for rung in ladder()]
        ['paper', 'stopping', 'augmentation', 'class_order', 'probe_budget', 'clean']
        >>> ladder()[1].description
        'early stopping on validation data instead of test data'
    """
    kept = ("head", "shots", "neighbours")
    if any(getattr(start, field) != getattr(end, field) for field in kept):
        raise InvalidInputError(
            f"end: a ladder keeps {', '.join(kept)}; '{start.name}' and '{end.name}' do not."
        )
    rungs = [start]
    for name, fields, sentence in _RUNGS:
        changes = {field: getattr(end, field) for field in fields}
        reached = dataclasses.replace(rungs[-1], **changes)
        if reached != rungs[-1]:
            images = "augmented" if reached.novel_augmentation else "left as they are"
            scaled = "standardised" if reached.standardise else "raw"
            description = sentence.format(reached, rungs[-1], images=images, scaled=scaled)
            rungs.append(dataclasses.replace(reached, name=name, description=description))
    if len(rungs) == 1:
        raise InvalidInputError(
            f"end: '{start.name}' and '{end.name}' make the same choices, no rung lies between."
        )
    rungs[-1] = dataclasses.replace(rungs[-1], name=end.name)
    return tuple(rungs)
