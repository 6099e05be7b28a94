"""What configuration files of short experiments share: variants of one set of fields."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict


def chosen(
    name: str,
    variant: str,
    config: ConfigDict,
    changes: Mapping[str, Callable[[ConfigDict], None]],
) -> ConfigDict:
    """Return a variant of a configuration, locked; the first of `changes` is the default.

    Args:
        name: of the experiment; other variants than the default add theirs.
        variant: one of the keys of `changes`.
        config: the fields.
        changes: variant -> what it changes.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in changes:
        raise ValueError(f"variant: unknown name '{variant}'. Allowed: {', '.join(changes)}.")
    changes[variant](config)
    default = next(iter(changes))
    config.name = name if variant == default else f"{name}_{variant}"
    return config.lock()
