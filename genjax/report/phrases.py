"""Pieces of sentences: numbers with their intervals, lists of names, counts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

MINUS = "\u2212"

Number = Any  # of Python or NumPy, also an array of no axes
Write = Callable[[Any], str]


def signed(value: Number, digits: int = 3) -> str:
    """Write a number with a true minus sign; what rounds to zero has none.

    Example:
        >>> signed(0.25), signed(-0.0001, 2)
        ('0.250', '0.00')
    """
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS if text.strip("-0.") else "", 1)


def bracket(value: Number, low: Number, high: Number) -> str:
    """Write a number with its interval, or alone if it has none.

    There are three decimals, or as many as show that an end of the interval is not zero.

    Example:
        >>> bracket(0.25, 0.2, 0.3), bracket(0.25, float("nan"), float("nan"))
        ('0.250 [0.200, 0.300]', '0.250')
        >>> bracket(0.01, 0.0002, 0.02)
        '0.0100 [0.0002, 0.0200]'
    """
    return bracketed(value, low, high, resolving(low, high))


def bracketed(value: Any, low: Any, high: Any, write: Write) -> str:
    """Write a number with its interval in a form of its own, or alone if it has none.

    Example:
        >>> bracketed(0.25, 0.2, 0.3, lambda share: f"{share:.0%}")
        '25% [20%, 30%]'
    """
    if math.isnan(low) or math.isnan(high):
        return write(value)
    return f"{write(value)} [{write(low)}, {write(high)}]"


def resolving(low: Number, high: Number) -> Write:
    """Return how to write with three decimals, or as many as show that an end is not zero.

    Example:
        >>> resolving(-0.0002, 0.3)(0.25)
        '0.2500'
    """
    digits = 3
    while digits < 6 and any(0 < abs(end) < 0.5 * 10**-digits for end in (low, high)):
        digits += 1
    return lambda value: signed(value, digits)


def significant(value: Number) -> str:
    """Write a number in any unit with three significant digits.

    Example:
        >>> significant(0.01234), significant(1234.5), significant(-2e-7)
        ('0.0123', '1,230', '−2e-07')
    """
    rounded = float(f"{value:.3g}")
    text = f"{rounded:,.0f}" if 1000 <= abs(rounded) < 1e6 else f"{rounded:.3g}"
    return f"{MINUS}{text[1:]}" if text.startswith("-") else text


def join(parts: Sequence[str], most: int | None = None) -> str:
    """Join with commas and a final "and"; what is beyond `most` is only counted.

    Example:
        >>> join(["a", "b", "c"]), join(["a", "b", "c", "d"], most=2)
        ('a, b and c', 'a, b and 2 more')
    """
    parts = list(parts)
    if most is not None and len(parts) > most:
        parts = [*parts[:most], f"{len(parts) - most} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def count(number: int, noun: str) -> str:
    """Count things: the noun gets an s unless there is one of them.

    Example:
        >>> count(1, "measure"), count(9242, "environment"), count(0, "network")
        ('1 measure', '9,242 environments', '0 networks')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
