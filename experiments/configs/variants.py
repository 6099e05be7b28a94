"""What configuration files of short experiments share: variants of one set of fields."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict


def data(**parts: Any) -> dict[str, Any]:
    """Return the fields that say what is trained and tested on.

    Args:
        parts: `test_share` of a set without test examples of its own, or `fractions` of training,
            validation and test; `train_examples` and `test_examples`: at most so many, 0 takes all.
    """
    return {"source": "digits", "folder": "", "train_examples": 0, "test_examples": 0, **parts}


def chosen(
    name: str,
    variant: str,
    config: ConfigDict,
    changes: Mapping[str, Callable[[ConfigDict], None] | None],
) -> ConfigDict:
    """Return a variant of a configuration, locked; the first of `changes` is the default.

    Args:
        name: of the experiment; other variants than the default add theirs.
        variant: one of the keys of `changes`.
        config: the fields.
        changes: variant -> what it changes; None: nothing.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in changes:
        raise ValueError(f"variant: unknown name '{variant}'. Allowed: {', '.join(changes)}.")
    change = changes[variant]
    if change is not None:
        change(config)
    default = next(iter(changes))
    config.name = name if variant == default else f"{name}_{variant}"
    return config.lock()
