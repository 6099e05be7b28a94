"""Verdicts on populations whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from genjax.statistics import networks, verdict
from genjax.statistics.verdict import verdicts

COUNT, DRAWS = 240, 200


def judge(measures, target, levels, p_adjusted=None):
    """Verdicts with tau and its draws computed by plain loops over scipy."""
    width, hypers = measures.shape[1], levels.shape[1]
    generator = np.random.default_rng(0)
    samples = [np.arange(COUNT), *generator.integers(0, COUNT, (DRAWS, COUNT))]

    def tau(rows, column):
        return stats.kendalltau(measures[rows, column], target[rows]).statistic

    def within(rows, column, hyper):
        """Tau over pairs of the same level: concordant minus discordant over untied pairs."""
        parts = []
        for level in np.unique(levels[:, hyper]):
            same = rows[levels[rows, hyper] == level]
            x, y = (np.sign(v[same][:, None] - v[same]) for v in (measures[:, column], target))
            parts.append([(x * y).sum(), (x != 0).sum(), (y != 0).sum()])
        agree, untied_x, untied_y = np.sum(parts, axis=0)
        return agree / np.sqrt(untied_x * untied_y) if untied_x * untied_y else 0.0

    overall = np.array([[tau(rows, m) for m in range(width)] for rows in samples])
    inside = np.array(
        [[[within(r, m, h) for h in range(hypers)] for m in range(width)] for r in samples]
    )
    p = np.zeros(width) if p_adjusted is None else p_adjusted
    names = [f"hp{h}" for h in range(hypers)]
    return verdicts(overall[0], p, inside[0], overall[1:], inside[1:], names, units=COUNT)


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 4, (COUNT, 2))
    target = levels @ np.array([1.0, 0.5]) + rng.normal(size=COUNT)
    return rng, levels, target


def test_verdicts_of_known_measures(population):
    rng, levels, target = population
    noise = rng.normal(size=(COUNT, 3))
    measures = np.column_stack(
        [
            target + noise[:, 0],  # follows the target itself
            -target + noise[:, 1],
            levels[:, 0] + 0.5 * noise[:, 2],  # follows one hyper-parameter
            -levels[:, 0],  # is one, and constant at each of its values
        ]
    ).astype(np.float64)
    assert judge(measures, target, levels) == [
        "predicts",
        "anti-predicts",
        "only through hp0",
        "only through hp0",
    ]


def test_without_evidence_the_verdict_is_chance(population):
    _, levels, target = population
    measures = np.column_stack([target, target])
    p = np.array([0.051, np.nan])
    assert judge(measures, target, levels, p) == [verdict.CHANCE, verdict.CHANCE]


def test_without_hyper_parameters_there_is_nothing_to_go_through(population):
    _, _, target = population
    nothing = np.zeros((COUNT, 0), np.int64)
    assert judge(target[:, None], target, nothing) == [verdict.PREDICTS]


def test_a_loss_that_may_be_chance_is_not_called_one():
    """Few networks: tau within the strata includes 0, but so does the difference."""
    overall = np.array([[0.2], [0.5], [0.8]])
    inside = np.array([[[-0.3]], [[0.4]], [[0.9]]])
    found = verdicts(
        np.array([0.5]), np.array([0.01]), np.array([[0.4]]), overall, inside, ["width"]
    )
    assert found == [verdict.PREDICTS]


def test_a_hyper_parameter_without_two_configurations_at_a_value_is_not_judged():
    draws, nothing = np.full((3, 1), 0.5), np.full((3, 1, 1), np.nan)
    found = verdicts(
        np.array([0.5]), np.array([0.01]), np.array([[np.nan]]), draws, nothing, ["width"]
    )
    assert found == [verdict.PREDICTS]


def test_configuration_draws_keep_seeds_together():
    drawn = networks.configuration_draws(np.array([0, 0, 1, 2, 2, 2]), 50, seed=0)
    assert drawn.shape == (50, 6)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 3:] == drawn[:, 3:4]).all()
    assert ((drawn[:, 0] + drawn[:, 2] + drawn[:, 3]) == 3).all()
