"""Typed exceptions: every refusal of genjax is one of these and carries one clear sentence."""

from typing import Any


class GenjaxError(Exception):
    """Base of all refusals; the command line prints it and exits with code 2."""


class InvalidInputError(GenjaxError, ValueError):
    """An argument, a configuration field or a table is outside what is allowed."""


class DataError(InvalidInputError):
    """A data set cannot be read or has the wrong shapes, types or labels."""


class SplitError(DataError):
    """A split would leave a class empty or asks for classes that do not exist."""


class ShiftError(DataError):
    """A shift is unknown or cannot reach the asked-for level."""


class CheckpointError(GenjaxError):
    """A checkpoint is corrupt, incomplete or belongs to another run."""


class DivergenceError(GenjaxError):
    """No network of a population is left with finite parameters.

    Attributes:
        population: the `genjax.training.Population` that diverged, for its histories; or None.
    """

    def __init__(self, sentence: str, population: object = None):
        super().__init__(sentence)
        self.population: Any = population


class OutputError(GenjaxError, OSError):
    """The output folder cannot be written."""


def suggest(argument: str, found: str, allowed: "list[str] | tuple[str, ...]") -> str:
    """Return a sentence that names the argument, what was found, and the nearest allowed name.

    >>> suggest("model", "resnt", ["mlp", "resnet"])
    "model: unknown name 'resnt'; did you mean 'resnet'? Allowed: mlp, resnet."
    """
    import difflib

    close = difflib.get_close_matches(found, allowed, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"{argument}: unknown name '{found}'{hint} Allowed: {', '.join(sorted(allowed))}."
