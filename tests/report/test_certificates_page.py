"""Sentences and figure of certificates."""

import numpy as np
import pandas as pd
import pytest

from genjax.errors import InvalidInputError
from genjax.report import certificates, figures_certificates
from genjax.report.certificates import Certified


def row(method="a", seed=0, bound=0.3, test_error=0.1, **other):
    """A row; guessing errs on 0.9."""
    found = {
        "method": method,
        "seed": seed,
        "bound": bound,
        "test_error": test_error,
        "holds": test_error <= bound,
        "vacuous": bound >= 1,
        "below_guessing": bound < 0.9,
        "train_error": 0.08,
        "kl_nats": 20.0,
        "num_examples": 500,
        "test_examples": 100,
        "confidence": 0.95,
        "learnt_prior": False,
    }
    return Certified(**(found | other))


def test_bounds_that_hold_are_counted_with_their_smallest_margin():
    rows = [row(seed=0), row(seed=1, bound=0.25, test_error=0.19)]
    said = certificates.conclusions(rows, 0.9)
    # .06 above .19, whose standard error is sqrt(.19 x .81 / 100) = .0392: 1.5 of them
    assert said[0] == (
        "All 2 bounds hold (1 method, 2 seeds): every test error is below its bound, the closest "
        "by 1.5 of its standard errors on 100 test examples."
    )
    assert "0.275 (0.250 to 0.300) for a test error of 0.145 (0.100 to 0.190)" in said[1]
    assert "it is below the 0.900 of guessing" in said[1]
    assert len(said) == 3, "nothing to say of priors or of posteriors that stay"


def test_a_bound_that_fails_is_named():
    rows = [row(seed=0), row(seed=1, bound=0.1, test_error=0.2), row("b", bound=0.95)]
    said = certificates.conclusions(rows, 0.9)
    assert said[0] == "1 of 3 bounds lie below the test error on 100 test examples: a (seed 1)."


def test_priors_that_saw_examples_are_told_apart_and_posteriors_that_stay_are_named():
    rows = [
        row("free", 0, 0.95),
        row("free", 1, 0.5),
        row("learnt", 0, 0.2, learnt_prior=True, kl_nats=0.02, confidence=0.965),
        row("learnt", 1, 0.2, learnt_prior=True, kl_nats=0.03, confidence=0.965),
    ]
    said = certificates.conclusions(rows, 0.9)
    assert "the bounds are 0.725 (0.500 to 0.950) by free; 1 of 2 are below the 0.900" in said[2]
    assert said[3].startswith(
        "The posterior of learnt stays at its prior (KL at most 0.03 nats): these bounds say what "
        "500 examples"
    )
    assert "probability 0.95 and 0.965 at least" in said[4]


def test_a_best_bound_above_guessing_says_so():
    said = certificates.conclusions([row(bound=1.2), row(seed=1, bound=0.8)], 0.9)
    assert "it is not always below the 0.900 of guessing" in said[1]


def test_the_figure_shows_every_network_once_and_the_whole_of_every_bound():
    rows = [row(m, s, 0.2 + 0.1 * s, 0.1) for m in ("one", "two") for s in range(3)]
    rows.append(row("two", 3, 1.4, 0.2))
    for narrow in (False, True):
        figure = figures_certificates.bounds_and_errors(pd.DataFrame(rows), 0.9, narrow=narrow)
        (panel,) = figure.axes
        points = {line.get_marker(): line for line in panel.lines if line.get_marker() != "None"}
        bounds, errors = (np.asarray(points[m].get_xdata(), float) for m in ("s", "o"))
        np.testing.assert_allclose(bounds, [r.bound for r in rows])
        np.testing.assert_allclose(errors, [r.test_error for r in rows])
        heights = np.asarray(points["s"].get_ydata(), float)
        assert len(set(heights.tolist())) == 7, "no two networks share a line"
        assert [t.get_text() for t in panel.get_yticklabels()] == ["one", "two"]
        assert np.all(np.round(heights) == [0, 0, 0, 1, 1, 1, 1])
        assert panel.get_xlim()[1] > 1.4
    with pytest.raises(InvalidInputError, match="found no row"):
        figures_certificates.bounds_and_errors(pd.DataFrame(), 0.9)
