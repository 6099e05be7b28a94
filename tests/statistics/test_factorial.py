"""Effects of a factorial experiment against least squares."""

import itertools

import numpy as np
import pytest
import scipy.stats

from genjax.errors import InvalidInputError
from genjax.statistics.factorial import effects

NAMES = ("a", "b", "c")
SETTINGS = np.array(list(itertools.product((False, True), repeat=3)))


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    a, b, c = SETTINGS.T.astype(float)
    return 1 + 0.5 * a - 0.2 * b + 0.4 * a * c + rng.normal(0, 0.1, (6, 8))


def test_effects_are_twice_the_coefficients_of_least_squares(values):
    found = effects(values, SETTINGS, NAMES, order=3).set_index("factors")
    assert list(found.index) == ["a", "b", "c", "a x b", "a x c", "b x c", "a x b x c"]
    signs = np.where(SETTINGS, 1.0, -1.0)
    columns = [np.ones(8)]
    for size in (1, 2, 3):
        columns += [
            signs[:, list(chosen)].prod(axis=1) for chosen in itertools.combinations(range(3), size)
        ]
    design = np.tile(np.stack(columns, axis=1), (6, 1))
    fit = np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
    np.testing.assert_allclose(found["value"], 2 * fit[1:], rtol=1e-10)


def test_main_effects_and_interactions_mean_what_they_say(values):
    found = effects(values, SETTINGS, NAMES).set_index("factors")
    on = SETTINGS[:, 0]
    difference = values[:, on].mean(axis=1) - values[:, ~on].mean(axis=1)
    test = scipy.stats.ttest_1samp(difference, 0)
    row = found.loc["a"]
    assert row["value"] == pytest.approx(difference.mean())
    assert row["p"] == pytest.approx(test.pvalue)
    np.testing.assert_allclose([row["low"], row["high"]], test.confidence_interval(0.95))
    c = SETTINGS[:, 2]
    with_c = values[:, on & c].mean() - values[:, ~on & c].mean()
    without = values[:, on & ~c].mean() - values[:, ~on & ~c].mean()
    assert found.loc["a x c", "value"] == pytest.approx((with_c - without) / 2)
    assert (found["p_adjusted"] >= found["p"]).all()
    assert found["p"].min() * 6 == pytest.approx(found["p_adjusted"].min())


def test_blocks_with_a_network_that_diverged_are_left_out(values):
    broken = values.copy()
    broken[2, 5] = np.nan
    found = effects(broken, SETTINGS, NAMES)
    expected = effects(np.delete(values, 2, axis=0), SETTINGS, NAMES)
    assert (found["blocks"] == 5).all()
    np.testing.assert_allclose(found["value"], expected["value"])


def test_what_is_no_factorial_experiment_is_refused(values):
    with pytest.raises(InvalidInputError, match="settings: found 7 cells of 3 factors"):
        effects(values[:, :7], SETTINGS[:7], NAMES)
    with pytest.raises(InvalidInputError, match="names: found"):
        effects(values, SETTINGS, ("a", "b", "b"))
    with pytest.raises(InvalidInputError, match="order: found 4"):
        effects(values, SETTINGS, NAMES, order=4)
