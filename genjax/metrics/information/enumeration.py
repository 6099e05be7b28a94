"""Exact gap, information and bounds of a learner over a finite alphabet, by enumeration.

All samples, all supersamples and all masks are summed over: an oracle for estimators and a place
where claims can be checked to rounding. All information in nats; host arithmetic in float64.
"""

import itertools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from genjax.errors import InvalidInputError
from genjax.metrics.information.finite_problems import Problem, Tables, tabulate
from genjax.metrics.layers.contingency import mutual_information as information_of_table

_LINKS = ("weights", "predictions", "losses", "differences")
_MOST_ENTRIES = 1 << 27
_CHUNK = 1 << 21


class Link(NamedTuple):
    """Information about the mask in one link of weights -> predictions -> losses -> differences.

    Attributes:
        information: `I(link; U | Z~)` of the whole mask: CMI, f-CMI, e-CMI or ld-CMI.
        individual: `E I(link of pair i; U_i)` for each i, `[n]`; of the weights `I(W; U_i)`.
        bound: `sqrt(2 information / n)` (Steinke and Zakynthinou, 2020), of the absolute gap.
        individual_bound: `1/n sum_i E sqrt(2 I(link of pair i; U_i))`, expectation over
            supersamples outside of the root (Harutyunyan et al., 2021).
        interpolation_bound: `1/n sum_i individual_i / log 2`, of the risk of a learner whose
            training loss is 0.
    """

    information: float
    individual: Float[np.ndarray, " n"]
    bound: float
    individual_bound: float
    interpolation_bound: float


class Supersampled(NamedTuple):
    """What masks of supersamples say.

    Attributes:
        gap: loss on held-out minus loss on chosen examples, in expectation.
        weights: link of CMI.
        predictions: of f-CMI, predictions on both examples of every pair.
        losses: of e-CMI, losses of both.
        differences: of ld-CMI, second minus first loss of every pair.
    """

    gap: float
    weights: Link
    predictions: Link
    losses: Link
    differences: Link


class Exact(NamedTuple):
    """Everything that is known of a finite problem.

    Attributes:
        risk: expected loss of a new example, E R(W).
        empirical_risk: expected loss of the sample, E R_S(W).
        gap: risk minus empirical risk.
        information: `I(S;W)`.
        individual_information: `I(W;Z_i)`, `[n]`.
        bound: `sqrt(I(S;W) / (2 n))` (Xu and Raginsky, 2017, sigma = 1/2), of the absolute gap.
        individual_bound: `1/n sum_i sqrt(I(W;Z_i) / 2)` (Bu, Zou and Veeravalli, 2020).
        supersampled: CMI, f-CMI, e-CMI and ld-CMI with their bounds.
    """

    risk: float
    empirical_risk: float
    gap: float
    information: float
    individual_information: Float[np.ndarray, " n"]
    bound: float
    individual_bound: float
    supersampled: Supersampled


def enumerate_exactly(problem: Problem) -> Exact:
    """Return gap, information and bounds of a finite problem, each to rounding.

    Args:
        problem: its alphabet, learner and loss. `A^(2n) 2^n H` table entries are visited, for A
            letters and H hypotheses; 2^27 at most.

    Raises:
        InvalidInputError: probabilities that are none, a loss outside [0, 1], or a problem that is
            too large.

    Example:
        >>> from genjax.metrics.information.finite_problems import majority
        >>> found = enumerate_exactly(majority(3))
        >>> found.gap, round(found.bound, 6), round(found.supersampled.weights.information, 6)
        (0.25, 0.339889, 0.427484)
    """
    tables = tabulate(problem)
    n, letters = problem.num_examples, tables.letters
    size = float(len(letters)) ** (2 * n) * 2.0**n * tables.learner.shape[1]
    if size > _MOST_ENTRIES:
        raise InvalidInputError(
            f"problem: found {size:.2g} entries over supersamples, masks and hypotheses; at most "
            f"{_MOST_ENTRIES} can be enumerated."
        )
    chances = letters[tables.samples].prod(1)
    joint = chances[:, None] * tables.learner
    risk = float(joint.sum(0) @ tables.losses @ letters)
    trained = tables.losses[:, tables.samples].mean(-1).T
    empirical = float(np.sum(joint * trained))
    information = float(information_of_table(joint))
    single = np.array([float(information_of_table(_by_letter(tables, joint, i))) for i in range(n)])
    pairs = np.array(list(itertools.product(range(len(letters)), repeat=2 * n)))
    pairs = pairs[letters[pairs].prod(1) > 0]
    return Exact(
        risk=risk,
        empirical_risk=empirical,
        gap=risk - empirical,
        information=information,
        individual_information=single,
        bound=float(np.sqrt(information / (2 * n))),
        individual_bound=float(np.sqrt(single / 2).mean()),
        supersampled=_supersampled(tables, pairs.reshape(-1, n, 2), letters[pairs].prod(1)),
    )


def given_supersample(problem: Problem, supersample: Any) -> Supersampled:
    """Return what the masks of one supersample say.

    Of continuous examples, which are all different, an alphabet of 2n letters is one supersample:
    what does not depend on their values is found from it.

    Args:
        problem: as for `enumerate_exactly`; its probabilities are not read.
        supersample: letters `[n, 2]`.

    Raises:
        InvalidInputError: as for `enumerate_exactly`, or letters that are none.

    Example:
        >>> from genjax.metrics.information.finite_problems import majority
        >>> found = given_supersample(majority(3), [[0, 1], [0, 1], [0, 1]])
        >>> round(found.weights.information, 6)
        0.693147
    """
    tables = tabulate(problem)
    letters = np.asarray(supersample)
    if (
        letters.shape != (problem.num_examples, 2)
        or not np.isin(letters, np.arange(len(tables.letters))).all()
    ):
        raise InvalidInputError(
            f"supersample: letters 0 ... {len(tables.letters) - 1} in shape "
            f"[{problem.num_examples}, 2] are needed."
        )
    return _supersampled(tables, letters[None], np.ones(1))


def replace_one_stability(problem: Problem) -> float:
    """Return `1/n sum_i E[l(W, Z'_i) - l(W^i, Z'_i)]`, W^i learned with Z'_i in place of Z_i.

    Equal to the gap, exactly (Shalev-Shwartz et al., 2010).

    Args:
        problem: as for `enumerate_exactly`.

    Example:
        >>> from genjax.metrics.information.finite_problems import majority
        >>> replace_one_stability(majority(3))
        0.25
    """
    tables = tabulate(problem)
    letters, n = tables.letters, problem.num_examples
    chances = letters[tables.samples].prod(1)
    powers = len(letters) ** np.arange(n - 1, -1, -1)
    expected = tables.learner @ tables.losses
    total = 0.0
    for i in range(n):
        for new, chance in enumerate(letters):
            replaced = tables.samples.copy()
            replaced[:, i] = new
            before, after = expected[:, new], expected[replaced @ powers, new]
            total += chance * float(chances @ (before - after))
    return float(total / n)


class LayerInformation(NamedTuple):
    """Information about the sample in hidden layers w and in an output layer h.

    Attributes:
        total: `I(S;W) = I(S;w) + I(S;h|w)`.
        trunk: `I(S;w)`, of the hidden layers.
        head: `I(S;h|w)`.
        last_layer: `I(T_L;h|w)`, T_L the last hidden layer's values on the sample; what the bound
            of Zhang, Liu and Tao (Lemma 2) starts from.
    """

    total: float
    trunk: float
    head: float
    last_layer: float


def layer_information(
    problem: Problem, features: Callable[[Any, int], Hashable]
) -> LayerInformation:
    """Return how the information about the sample is shared by hidden and output layers.

    Args:
        problem: whose hypotheses are pairs (w, h).
        features: (w, letter) -> what the last hidden layer gives for that letter; with the label
            where the output layer sees it.

    Raises:
        InvalidInputError: as for `enumerate_exactly`.
    """
    tables = tabulate(problem)
    joint = tables.letters[tables.samples].prod(1)[:, None] * tables.learner
    by_trunk: dict[Any, list[int]] = {}
    for column, (w, _) in enumerate(tables.hypotheses):
        by_trunk.setdefault(w, []).append(column)
    trunk = np.stack([joint[:, columns].sum(1) for columns in by_trunk.values()], axis=1)
    head = last_layer = 0.0
    for w, columns in by_trunk.items():
        part = joint[:, columns]
        codes: dict[Any, int] = {}
        rows = [
            codes.setdefault(tuple(features(w, int(z)) for z in sample), len(codes))
            for sample in tables.samples
        ]
        merged = np.zeros((len(codes), len(columns)))
        np.add.at(merged, rows, part)
        weight = part.sum()
        head += weight * float(information_of_table(part))
        last_layer += weight * float(information_of_table(merged))
    return LayerInformation(
        float(information_of_table(joint)),
        float(information_of_table(trunk)),
        float(head),
        float(last_layer),
    )


def _by_letter(tables: Tables, joint: Float[np.ndarray, "S H"], i: int) -> Any:
    """Return the joint distribution of letter i of the sample and the hypothesis."""
    rows = np.zeros((len(tables.letters), joint.shape[1]))
    np.add.at(rows, tables.samples[:, i], joint)
    return rows


def _merged(joint: Float[np.ndarray, "B U H"], same: Any) -> Any:
    """Add up the columns of hypotheses that look the same."""
    first = np.argmax(same, axis=-1)
    groups = first[..., None] == np.arange(same.shape[-1])
    return joint @ groups.astype(np.float64)


def _supersampled(
    tables: Tables, pairs: Int[np.ndarray, "B n 2"], weights: Float[np.ndarray, " B"]
) -> Supersampled:
    n, count = pairs.shape[1], tables.learner.shape[1]
    masks = np.array(list(itertools.product((0, 1), repeat=n)))
    per_chunk = max(1, _CHUNK // max(len(masks) * count, n * count * count))
    chunks = [pairs[at : at + per_chunk] for at in range(0, len(pairs), per_chunk)]
    found = [_of_chunk(tables, chunk, masks) for chunk in chunks]
    gaps, whole, single = (np.concatenate(part) for part in zip(*found, strict=True))
    links = {}
    for k, name in enumerate(_LINKS):
        information, individual = float(weights @ whole[:, k]), weights @ single[:, k]
        links[name] = Link(
            information=information,
            individual=individual,
            bound=float(np.sqrt(2 * information / n)),
            individual_bound=float(weights @ np.sqrt(2 * single[:, k]).mean(-1)),
            interpolation_bound=float(individual.mean() / np.log(2)),
        )
    return Supersampled(gap=float(weights @ gaps), **links)


def _of_chunk(tables: Tables, pairs: Int[np.ndarray, "B n 2"], masks: Any) -> Any:
    """Return gaps [B], information of whole masks [B, links] and of single ones [B, links, n]."""
    n, size = pairs.shape[1], len(tables.letters)
    powers = size ** np.arange(n - 1, -1, -1)
    chosen = np.where(masks[None] == 1, pairs[:, None, :, 1], pairs[:, None, :, 0])
    left = np.where(masks[None] == 1, pairs[:, None, :, 0], pairs[:, None, :, 1])
    given = tables.learner[chosen @ powers] / len(masks)
    expected = given @ tables.losses
    held_out = np.take_along_axis(expected, left, axis=2).sum((1, 2))
    gaps = (held_out - np.take_along_axis(expected, chosen, axis=2).sum((1, 2))) / n
    whole, single = [], []
    for name in _LINKS:
        alike = tables.same[name][pairs[..., 0], pairs[..., 1]]
        whole.append(information_of_table(_merged(given, alike.all(1))))
        of_pairs = []
        for i in range(n):
            two = np.stack([given[:, masks[:, i] == u].sum(1) for u in (0, 1)], axis=1)
            of_pairs.append(information_of_table(_merged(two, alike[:, i])))
        single.append(np.stack(of_pairs, axis=-1))
    return gaps, np.stack(whole, axis=-1), np.stack(single, axis=1)
