"""Schedules of rate and noise: conversions, published numbers, refusals."""

import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.information import noise_schedules


def test_helpers_convert_noise_and_temperature_both_ways():
    rate, beta = np.array([0.1, 0.3]), np.array([50.0, 7.0])
    noise = noise_schedules.noise_of(rate, beta)
    np.testing.assert_allclose(noise**2, 2 * rate / beta, rtol=1e-15)
    np.testing.assert_allclose(
        noise_schedules.inverse_temperature_of(rate, noise), beta, rtol=1e-14
    )
    assert noise_schedules.noise_of(0.1, np.inf) == 0.0


def test_the_staircase_is_the_published_one():
    made = noise_schedules.staircase(900)
    for t in (0, 49, 50, 449, 899):
        stair = t // 50
        assert made.rate[t] == pytest.approx(0.06 * 0.95**stair, rel=1e-14)
        variance = 1e-8 + (3e-6 - 1e-8) * np.exp(-0.5 * stair)
        assert made.noise[t] ** 2 == pytest.approx(variance, rel=1e-12)


def test_theorem_5_has_noise_of_the_root_of_its_rate():
    made = noise_schedules.inverse_square(9, 0.7)
    t = np.arange(1, 10)
    np.testing.assert_allclose(made.rate, 0.7 / t**2, rtol=1e-14)
    np.testing.assert_allclose(made.noise, np.sqrt(0.7) / t, rtol=1e-14)
    # Langevin at the inverse temperature 2 at every step.
    beta = noise_schedules.inverse_temperature_of(made.rate, made.noise)
    np.testing.assert_allclose(beta, 2.0, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("noise", lambda: noise_schedules.constant(3, 0.1, noise=0.1, inverse_temperature=2.0)),
        ("noise", lambda: noise_schedules.constant(3, 0.1, noise=-1.0)),
        ("steps", lambda: noise_schedules.inverse_square(0, 1.0)),
        ("every", lambda: noise_schedules.staircase(5, every=0)),
        ("scale", lambda: noise_schedules.inverse_square(5, np.inf)),
        ("inverse_temperature", lambda: noise_schedules.noise_of(0.1, 0.0)),
        ("rate", lambda: noise_schedules.inverse_temperature_of(-0.1, 1.0)),
    ],
)
def test_bad_numbers_are_refused_by_name(name, call):
    with pytest.raises(InvalidInputError, match=f"^{name}: found"):
        call()
