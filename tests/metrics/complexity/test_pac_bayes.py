"""PAC-Bayes measures against float64 formulas, and against PyTorch's divergences."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from genjax.metrics import complexity

PLAIN = ("pacbayes_init", "pacbayes_orig")
MAGNITUDE = ("pacbayes_mag_init", "pacbayes_mag_orig", "pacbayes_mag_orig_kl")
FAMILIES = ("mlp", "cnn")


@pytest.fixture(scope="module")
def found(groups, measure_data):
    data = measure_data._replace(train_size=12345)
    return {
        family: complexity.measure_group(groups[family], data, ["pac_bayes"], key=jax.random.key(1))
        for family in FAMILIES
    }


def vectors(group, index):
    """Return w and w - w0 in float64."""
    trained, start = (
        np.asarray(ravel_pytree(jax.tree.map(lambda leaf: leaf[index], tree))[0], np.float64)
        for tree in (group.params, group.init_params)
    )
    return trained, trained - start


def expected(name, sigma, w, moved):
    """The formulas as printed, in float64."""
    last = np.log(12345 / sigma) + 10
    if name in PLAIN:
        above = moved if name == "pacbayes_init" else w
        return np.sum(above**2) / (4 * sigma**2) + last
    above = moved if name == "pacbayes_mag_init" else w
    below = w if name == "pacbayes_mag_orig_kl" else moved
    above = 1e-6 + (sigma**2 + 1) * np.sum(above**2) / len(w)
    return np.sum(np.log(above / (1e-6 + sigma**2 * below**2))) / 4 + last


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [*PLAIN, *MAGNITUDE])
def test_values_and_errors_are_those_of_the_formulas(found, groups, family, name):
    measured = found[family]
    assert not measured.refused
    for index in range(4):
        w, moved = vectors(groups[family], index)
        sigma = float(measured.info[name]["sigma"][index])
        value = expected(name, sigma, w, moved)
        np.testing.assert_allclose(measured.values[name][index], value, rtol=1e-5)
        step = 1e-5 * sigma
        slope = expected(name, sigma + step, w, moved) - expected(name, sigma - step, w, moved)
        ratio = measured.info[name]["standard_error"][index] / abs(slope / (2 * step))
        # The error of sigma itself, the same for all measures that read it.
        first = (PLAIN if name in PLAIN else MAGNITUDE)[0]
        one = expected(first, sigma + step, w, moved) - expected(first, sigma - step, w, moved)
        shared = measured.info[first]["standard_error"][index] / abs(one / (2 * step))
        np.testing.assert_allclose(ratio, shared, rtol=1e-3)


@pytest.mark.peers
def test_half_a_divergence_is_what_the_name_says(found, groups):
    """The best variance of a spherical Gaussian around zero is found numerically."""
    torch = pytest.importorskip("torch")
    w, _ = vectors(groups["mlp"], 0)
    sigma = float(found["mlp"].info["pacbayes_mag_orig_kl"]["sigma"][0])
    mean = torch.tensor(w)
    noise = torch.distributions.Normal(mean, (sigma**2 * mean**2 + 1e-6).sqrt())
    divergences = [
        torch.distributions.kl_divergence(
            noise, torch.distributions.Normal(torch.zeros_like(mean), float(scale))
        ).sum()
        for scale in np.geomspace(0.05, 1, 2001)
    ]
    last = np.log(12345 / sigma) + 10
    value = found["mlp"].values["pacbayes_mag_orig_kl"][0] - last
    np.testing.assert_allclose(value, float(min(divergences)) / 2, rtol=1e-5)


def test_without_initial_parameters_only_what_needs_them_is_refused(groups, measure_data):
    group = groups["mlp"]._replace(init_params=None)
    found = complexity.measure_group(group, measure_data, ["pac_bayes"], key=jax.random.key(1))
    assert {r.measure for r in found.refused} == {
        "pacbayes_init",
        "pacbayes_mag_init",
        "pacbayes_mag_orig",
    }
    assert all("initialisation" in r.reason for r in found.refused)


def test_sigma_is_searched_once_for_all(found):
    for names in (PLAIN, MAGNITUDE):
        for family in FAMILIES:
            sigmas = [found[family].info[name]["sigma"] for name in names]
            assert all(np.array_equal(sigmas[0], other) for other in sigmas)
