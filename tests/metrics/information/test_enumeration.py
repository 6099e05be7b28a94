"""Enumeration against plain loops over dictionaries, printed digits and inequalities."""

import itertools
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.information import channels, theorems
from genjax.metrics.information.enumeration import (
    enumerate_exactly,
    given_supersample,
    layer_information,
    replace_one_stability,
)
from genjax.metrics.information.finite_problems import Problem, majority

LOG2 = math.log(2)
_LINKS = ("weights", "predictions", "losses", "differences")


def _random_problem(seed, letters, n, hypotheses=3, levels=3):
    """A learner with random answers, some of them certain, and coarse losses that collide."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(hypotheses, 0.3), letters**n)
    predictions = rng.integers(0, 3, (hypotheses, letters))
    losses = rng.integers(0, levels, (3, letters)) / (levels - 1)
    powers = letters ** np.arange(n - 1, -1, -1)
    return Problem(
        probabilities=rng.dirichlet(np.ones(letters)),
        num_examples=n,
        learn=lambda sample: dict(enumerate(rows[int(np.dot(powers, sample))].tolist())),
        predict=lambda w, z: int(predictions[w, z]),
        loss=lambda p, z: float(losses[p, z]),
    )


def _information(joint):
    """I of pairs (a, b) from a dictionary of their probabilities."""
    first, second = defaultdict(float), defaultdict(float)
    for (a, b), p in joint.items():
        first[a] += p
        second[b] += p
    return sum(p * math.log(p / (first[a] * second[b])) for (a, b), p in joint.items() if p > 0)


def _by_loops(problem: Problem) -> dict[str, Any]:
    n, chances = problem.num_examples, list(problem.probabilities)
    letters = range(len(chances))

    def loss(w, z):
        return problem.loss(problem.predict(w, z), z)

    sample_joint, single, gap = defaultdict(float), [defaultdict(float) for _ in range(n)], 0.0
    for sample in itertools.product(letters, repeat=n):
        for w, p in problem.learn(sample).items():
            p = p * math.prod(chances[z] for z in sample)
            sample_joint[sample, w] += p
            for i, z in enumerate(sample):
                single[i][z, w] += p
            risk = sum(chances[z] * loss(w, z) for z in letters)
            gap += p * (risk - sum(loss(w, z) for z in sample) / n)
    looks = {
        "weights": lambda w, pair: w,
        "predictions": lambda w, pair: tuple(problem.predict(w, z) for z in pair),
        "losses": lambda w, pair: tuple(loss(w, z) for z in pair),
        "differences": lambda w, pair: round(loss(w, pair[1]) - loss(w, pair[0]), 9),
    }
    found = {name: [0.0, np.zeros(n), 0.0] for name in looks}
    for flat in itertools.product(letters, repeat=2 * n):
        pairs = [flat[2 * i : 2 * i + 2] for i in range(n)]
        chance = math.prod(chances[z] for z in flat)
        for name, look in looks.items():
            whole, each = defaultdict(float), [defaultdict(float) for _ in range(n)]
            for mask in itertools.product((0, 1), repeat=n):
                sample = tuple(pair[u] for pair, u in zip(pairs, mask, strict=True))
                for w, p in problem.learn(sample).items():
                    whole[tuple(look(w, pair) for pair in pairs), mask] += p / 2**n
                    for i in range(n):
                        each[i][look(w, pairs[i]), mask[i]] += p / 2**n
            information = np.array([_information(joint) for joint in each])
            found[name][0] += chance * _information(whole)
            found[name][1] += chance * information
            found[name][2] += chance * np.mean(np.sqrt(2 * np.maximum(information, 0)))
    return {
        "gap": gap,
        "information": _information(sample_joint),
        "individual": [_information(joint) for joint in single],
        **found,
    }


@pytest.mark.parametrize(("seed", "letters", "n"), [(0, 2, 2), (1, 3, 2), (2, 2, 3), (3, 3, 1)])
def test_everything_is_what_plain_loops_give(seed, letters, n):
    problem = _random_problem(seed, letters, n)
    found, expected = enumerate_exactly(problem), _by_loops(problem)
    assert found.gap == pytest.approx(expected["gap"], abs=1e-13)
    assert found.supersampled.gap == pytest.approx(expected["gap"], abs=1e-13)
    assert found.information == pytest.approx(expected["information"], abs=1e-13)
    assert found.individual_information == pytest.approx(expected["individual"], abs=1e-13)
    for name in _LINKS:
        link = getattr(found.supersampled, name)
        whole, individual, bound = expected[name]
        assert link.information == pytest.approx(whole, abs=1e-12)
        assert link.individual == pytest.approx(individual, abs=1e-12)
        assert link.individual_bound == pytest.approx(bound, abs=1e-7)
        assert link.bound == pytest.approx(math.sqrt(2 * whole / n), abs=1e-7)


def _check_inequalities(problem):
    """T21."""
    found, slack = enumerate_exactly(problem), 1e-12
    links = [getattr(found.supersampled, name) for name in _LINKS]
    n = problem.num_examples
    for above, below in itertools.pairwise(links):
        assert below.information <= above.information + slack
        assert (below.individual <= above.individual + slack).all()
        assert below.individual_bound <= above.individual_bound + slack
    for link in links:
        # Masks of different pairs are independent.
        assert link.individual.sum() <= link.information + slack
        assert link.information <= n * LOG2 + slack
        assert link.individual_bound >= abs(found.gap) - slack
        assert link.bound >= abs(found.gap) - slack
    assert found.supersampled.weights.information <= found.information + slack
    assert found.individual_information.sum() <= found.information + slack
    assert found.individual_bound <= found.bound + slack
    assert found.individual_bound >= abs(found.gap) - slack
    assert replace_one_stability(problem) == pytest.approx(found.gap, abs=1e-13)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_chain_of_links_and_bounds_above_the_gap(seed):
    letters, n = [(2, 1), (2, 4), (3, 3), (4, 2)][seed % 4]
    _check_inequalities(_random_problem(seed, letters, n, hypotheses=2 + seed % 4))


@pytest.mark.parametrize("seed", [0, 1])
def test_chain_of_links_for_five_examples(seed):
    _check_inequalities(_random_problem(seed, 2, 5, hypotheses=4))


def test_chain_is_strict_where_links_forget():
    """Several weights per prediction, predictions of equal loss, losses of equal difference."""
    problem = _random_problem(7, 3, 2, hypotheses=6, levels=2)
    found = _check_inequalities(problem).supersampled
    values = [getattr(found, name).information for name in _LINKS]
    assert all(a > b + 1e-3 for a, b in itertools.pairwise(values))


@pytest.mark.parametrize(
    ("n", "gap", "bound", "individual", "cmi", "cmi_bound", "difference_bound"),
    [
        (3, 0.25, 0.339889, 0.255746, 0.427484, 0.533844, 0.301751),
        (5, 0.1875, 0.263277, 0.189817, 0.458292, 0.428155, 0.228072),
    ],
)
def test_majority_has_the_printed_numbers(
    n, gap, bound, individual, cmi, cmi_bound, difference_bound
):
    """T5 and T20."""
    found = _check_inequalities(majority(n))
    assert found.gap == pytest.approx(gap, abs=1e-13)
    assert gap == math.comb(n - 1, (n - 1) // 2) / 2**n
    assert found.information == pytest.approx(LOG2, abs=1e-12)
    expected = LOG2 - channels.binary_entropy(0.5 + gap)
    assert found.individual_information == pytest.approx(np.full(n, expected), abs=1e-12)
    assert found.bound == pytest.approx(bound, abs=5.1e-7)
    assert found.bound == pytest.approx(theorems.expected_gap_bound(LOG2, n), rel=1e-12)
    assert found.individual_bound == pytest.approx(individual, abs=5.1e-7)
    assert found.supersampled.weights.information == pytest.approx(cmi, abs=5.1e-7)
    assert found.supersampled.weights.bound == pytest.approx(cmi_bound, abs=5.1e-7)
    difference = found.supersampled.differences
    assert difference.individual_bound == pytest.approx(difference_bound, abs=5.1e-7)


def _distinct(n, learn, predict, loss):
    """A problem on 2n letters and the supersample that has each once: continuous examples."""
    problem = Problem(np.full(2 * n, 0.5 / n), n, learn, predict, loss)
    return given_supersample(problem, np.arange(2 * n).reshape(n, 2))


@pytest.mark.parametrize("n", [1, 3, 4])
def test_memoriser_of_continuous_examples(n):
    """T12."""
    found = _distinct(
        n, lambda s: {frozenset(s): 1.0}, lambda w, z: z in w, lambda seen, z: float(not seen)
    )
    assert found.gap == pytest.approx(1.0, abs=1e-12)
    for name in _LINKS:
        link = getattr(found, name)
        assert link.information == pytest.approx(n * LOG2, abs=1e-12)
        assert link.interpolation_bound == pytest.approx(1.0, abs=1e-12)
        assert link.bound == pytest.approx(1.17741, abs=5e-6)
        assert link.individual_bound == pytest.approx(1.17741, abs=5e-6)


@pytest.mark.parametrize(("n", "k"), [(3, 1), (3, 2), (4, 1), (4, 3)])
def test_learner_that_reveals_some_examples(n, k):
    """T12."""
    found = _distinct(
        n, lambda s: {s[:k]: 1.0}, lambda w, z: z in w, lambda seen, z: float(not seen)
    )
    assert found.weights.information == pytest.approx(k * LOG2, abs=1e-12)
    assert found.gap == pytest.approx(k / n, abs=1e-12)
    first = _distinct(n, lambda s: {s[0]: 1.0}, lambda w, z: w, lambda w, z: float(w != z))
    assert first.gap == pytest.approx(1 / n, abs=1e-12)


def test_thresholds_obey_the_growth_function():
    """F9: predictions of 2n examples take at most Pi(2n) values."""
    problem = Problem(
        probabilities=np.full(4, 0.25),
        num_examples=3,
        learn=lambda s: {min(s): 1.0},
        predict=lambda w, z: z >= w,
        loss=lambda p, z: float(p != (z in (1, 3))),
    )
    found = _check_inequalities(problem)
    assert found.supersampled.predictions.information <= theorems.log_growth(6, 1)
    assert theorems.supersample_vc_bound(3, 1) >= found.supersampled.predictions.bound


def _two_layers(learn, trunk):
    """Letters 0 ... 3 are (x, y); the head answers by a table of what the trunk gives."""
    return Problem(
        probabilities=np.array([0.4, 0.1, 0.2, 0.3]),
        num_examples=3,
        learn=learn,
        predict=lambda wh, z: wh[1][trunk(wh[0], z)],
        loss=lambda p, z: float(p != z % 2),
    )


def test_frozen_trunk_contracts_nothing():
    """T17 and F5: a head that reads the sample through the trunk, however much that merges."""

    def trunk(w, z):
        return (z // 2) * w

    def features(w, z):
        return trunk(w, z), z % 2

    def learn(sample):
        found = {}
        for w in (0, 1):  # chosen by a coin, not by the sample
            votes = [0, 0]
            for z in sample:
                votes[trunk(w, z)] += 2 * (z % 2) - 1
            found[w, tuple(int(v > 0) for v in votes)] = 0.5
        return found

    found = layer_information(_two_layers(learn, trunk), features)
    assert found.trunk == pytest.approx(0, abs=1e-12)
    assert found.head > 0.1
    assert found.last_layer == pytest.approx(found.head, abs=1e-12)


def test_frozen_head_has_the_gap_without_information_in_it():
    """F3: hidden layers learn the majority, the head is fixed."""
    plain = majority(3)
    problem = plain._replace(
        learn=lambda s: {(int(sum(s) > 1), "fixed"): 1.0}, predict=lambda wh, z: wh[0]
    )
    found = layer_information(problem, lambda w, z: (w, z))
    assert found.last_layer == found.head == 0
    assert found.total == found.trunk == pytest.approx(LOG2)
    assert enumerate_exactly(problem).gap == 0.25


def test_layer_information_is_that_of_loops():
    """A trained trunk: chain rule, and less left after merging."""
    rng = np.random.default_rng(4)
    answers = rng.dirichlet(np.full(4, 0.5), 4**3)
    pairs = [(w, h) for w in (0, 1) for h in ((0, 0), (0, 1))]
    problem = _two_layers(
        lambda s: dict(zip(pairs, answers[int(np.dot((16, 4, 1), s))].tolist(), strict=True)),
        lambda w, z: (z // 2) * w,
    )
    found = layer_information(problem, lambda w, z: ((z // 2) * w, z % 2))
    expected = {"total": 0.0, "trunk": 0.0, "head": 0.0, "last": 0.0}
    joints: Any = [defaultdict(float), defaultdict(float)]
    parts: Any = [[defaultdict(float), defaultdict(float)] for _ in range(2)]
    for s in itertools.product(range(4), repeat=3):
        chance = math.prod((0.4, 0.1, 0.2, 0.3)[z] for z in s)
        for (w, h), p in problem.learn(s).items():
            joints[0][s, (w, h)] += chance * p
            joints[1][s, w] += chance * p
            parts[w][0][s, h] += chance * p
            seen = tuple(((z // 2) * w, z % 2) for z in s)
            parts[w][1][seen, h] += chance * p
    expected["total"], expected["trunk"] = (_information(joint) for joint in joints)
    for w in (0, 1):
        weight = sum(parts[w][0].values())
        for name, joint in zip(("head", "last"), parts[w], strict=True):
            normal = {key: p / weight for key, p in joint.items()}
            expected[name] += weight * _information(normal)
    assert tuple(found) == pytest.approx(tuple(expected.values()), abs=1e-12)
    assert found.total == pytest.approx(found.trunk + found.head, abs=1e-12)
    assert found.last_layer < found.head - 1e-3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"probabilities": np.array([0.5, 0.6])}, "probabilities"),
        ({"num_examples": 0}, "num_examples"),
        ({"num_examples": 30}, "num_examples"),
        ({"num_examples": 13}, "problem"),
        ({"learn": lambda s: {0: 0.5}}, "learn"),
        ({"learn": lambda s: {0: 1.5, 1: -0.5}}, "learn"),
        ({"loss": lambda p, z: 2.0}, "loss"),
        ({"loss": lambda p, z: math.nan}, "loss"),
    ],
)
def test_bad_input_is_named(change, named):
    with pytest.raises(InvalidInputError, match=named):
        enumerate_exactly(majority(3)._replace(**change))


def test_bad_supersamples_are_named():
    with pytest.raises(InvalidInputError, match="supersample"):
        given_supersample(majority(3), [[0, 1]])
    with pytest.raises(InvalidInputError, match="supersample"):
        given_supersample(majority(1), [[0, 2]])
    with pytest.raises(InvalidInputError, match="num_examples"):
        majority(4)
