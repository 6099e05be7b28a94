"""Name -> measure, with what it needs and what it costs."""

import functools
import importlib
from collections.abc import Iterable, Mapping, Sequence

from genjax.errors import InvalidInputError, suggest
from genjax.metrics.complexity.contract import Intermediate, Measure

FAMILIES = {
    "capacity": "Capacity: counts, VC, Rademacher",
    "rademacher": "Capacity: fit to random signs",
    "norm_bounds": "Norm bounds",
    "norms": "Norms of weights",
    "path_norms": "Path norms",
    "fisher": "Fisher-Rao norm and Fisher trace",
    "output_margins": "Margins of the output",
    "layer_margins": "Margins at every layer",
    "mixup": "Mixup and augmentation",
    "clusters": "Clusters of representations",
    "neighbourhood": "Label variation among neighbours",
    "flatness": "Flatness: largest tolerated noise",
    "pac_bayes": "PAC-Bayes measures",
    "sharpness": "Worst-case sharpness: largest tolerated box",
    "adaptive_sharpness": "Sharpness: growth of the loss in a neighbourhood",
    "curvature": "Curvature: traces, eigenvalues, gradient noise",
    "sharpness_bounds": "Bounds from sharpness, and their terms",
    "certificates": "PAC-Bayes certificates",
    "compression": "Compression bounds",
    "heavy_tails": "Spectra of weights",
    "optimisation": "Optimisation speed",
    "gradient_noise": "Gradient noise",
    "kernel": "Neural tangent kernel",
    "learning_coefficient": "Local learning coefficient",
    "jacobian": "Input Jacobian",
    "unlabeled": "Without labels",
}
"""Files of this package that hold measures, in the order of the catalogue."""


@functools.cache
def catalogue() -> Mapping[str, Measure]:
    """Return every measure by name, family by family.

    Example:
        >>> catalogue()["parameters"].larger_is_worse
        True
    """
    return _by_name("MEASURES")


@functools.cache
def intermediates() -> Mapping[str, Intermediate]:
    """Return everything that measures share, by name."""
    return _by_name("INTERMEDIATES")


def _by_name(attribute: str):
    found = {}
    for family in ("workspace", *FAMILIES):
        module = importlib.import_module(f"genjax.metrics.complexity.{family}")
        for one in getattr(module, attribute, ()):
            if one.name in found:
                raise InvalidInputError(f"{attribute}: '{one.name}' is defined twice.")
            if one.name in FAMILIES:  # asking for the measure would ask for all of the family
                raise InvalidInputError(f"{attribute}: '{one.name}' is the name of a family.")
            found[one.name] = one
    return found


def select(names: Sequence[str]) -> tuple[Measure, ...]:
    """Return measures by name; `fast` and `all` stand for the fast subset and for everything.

    A family's name stands for all its measures.

    Raises:
        InvalidInputError: a name is unknown.

    Example:
        >>> [measure.name for measure in select(["parameters"])]
        ['parameters']
    """
    known = catalogue()
    chosen: dict[str, Measure] = {}
    for name in names:
        group = [
            m
            for m in known.values()
            if name in ("all", m.name, m.family) or (name == "fast" and m.fast)
        ]
        if not group:
            allowed = [*known, *FAMILIES, "all", "fast"]
            raise InvalidInputError(suggest("measures", name, allowed))
        chosen.update((m.name, m) for m in group)
    return tuple(chosen.values())


def closure(names: Iterable[str]) -> tuple[str, ...]:
    """Return the intermediates named and all that they need, each once.

    Example:
        >>> closure(["margin"])
        ('logits', 'margins', 'margin')
    """
    known = intermediates()
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for below in known[name].needs:
            visit(below)
        found.setdefault(name)

    for name in names:
        visit(name)
    return tuple(found)


def requirements(measure: Measure) -> tuple[str, ...]:
    """Return all that a measure requires, also through the intermediates it reads.

    Example:
        >>> requirements(catalogue()["parameters"])
        ()
    """
    known = intermediates()
    below = [r for name in closure(measure.needs) for r in known[name].requires]
    return tuple(dict.fromkeys([*measure.requires, *below]))


def passes(measures: Iterable[Measure]) -> float:
    """Return the cost of measures together, in forward-backward passes over the examples.

    What they share counts once.

    Example:
        >>> round(passes(select(["parameters"])), 2)
        0.0
    """
    chosen = list(measures)
    shared = closure(name for m in chosen for name in m.needs)
    known = intermediates()
    return float(sum(m.passes for m in chosen) + sum(known[name].passes for name in shared))
