"""Spectra of weights against float64 loops, closed forms and other packages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from genjax import data, models
from genjax.metrics import complexity
from genjax.metrics.complexity import spectral_laws

FIT = jax.jit(spectral_laws.fit_power_law)


def loop_fit(values):
    """Fit a power law as Clauset et al. write it: one cut-off after the other, float64."""
    x = np.sort(np.asarray(values, np.float64))
    found = []
    for start in np.unique(x)[:-1]:
        tail = x[x >= start]
        alpha = 1 + len(tail) / np.sum(np.log(tail / start))
        fitted = 1 - (tail / start) ** (1 - alpha)
        distance = np.max(np.abs(fitted - np.arange(len(tail)) / len(tail)))
        found.append((distance, alpha, start, len(tail)))
    return min(found)


def pareto(seed, size, alpha):
    return (np.random.default_rng(seed).pareto(alpha - 1, size) + 1).astype(np.float32)


@pytest.mark.parametrize(("size", "alpha"), [(30, 3.0), (300, 2.2), (300, 6.0)])
def test_the_fit_is_that_of_a_loop_over_all_cut_offs(size, alpha):
    values = pareto(size, size, alpha)
    law = FIT(jnp.asarray(values))
    distance, exponent, xmin, tail = loop_fit(values)
    assert float(law.alpha) == pytest.approx(exponent, rel=1e-4)
    assert float(law.distance) == pytest.approx(distance, abs=1e-5)
    assert float(law.xmin) == pytest.approx(xmin, rel=1e-6)
    assert int(law.tail) == tail


def test_equal_values_are_one_cut_off_and_zeros_are_left_out():
    values = np.repeat(pareto(1, 40, 2.5), 2)
    law = FIT(jnp.concatenate([jnp.asarray(values), jnp.zeros(20)]))
    assert float(law.alpha) == pytest.approx(loop_fit(values)[1], rel=1e-4)
    assert int(law.tail) == loop_fit(values)[3]
    assert np.isnan(float(FIT(jnp.ones(100)).alpha))
    assert np.isnan(float(FIT(jnp.zeros(100)).alpha))


def test_pareto_values_give_their_exponent_back():
    # The standard error of alpha is (alpha - 1) / sqrt(tail).
    for seed in range(3):
        law = FIT(jnp.asarray(pareto(seed, 3000, 2.5)))
        assert abs(float(law.alpha) - 2.5) < 4 * 1.5 / np.sqrt(int(law.tail))
        assert int(law.tail) > 500


@pytest.mark.peers
@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_that_of_the_powerlaw_package(seed):
    powerlaw = pytest.importorskip("powerlaw")
    values = pareto(seed, 200, 2.2).astype(np.float64)
    fit = powerlaw.Fit(values, verbose=0)
    law = FIT(jnp.asarray(values, jnp.float32))
    assert fit.alpha < 3  # the package looks at no exponent beyond 3
    assert float(law.xmin) == pytest.approx(fit.xmin, rel=1e-6)
    assert float(law.alpha) == pytest.approx(fit.alpha, rel=1e-4)
    assert float(law.distance) == pytest.approx(fit.D, abs=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
def test_the_median_of_the_bulk_halves_its_mass(ratio):
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2

    def density(x):
        return np.sqrt((high - x) * (x - low)) / (2 * np.pi * ratio * x)

    median = spectral_laws.marchenko_pastur_median(ratio)
    assert integrate.quad(density, low, median)[0] == pytest.approx(0.5, abs=1e-4)
    if ratio == 1.0:  # the optimal threshold in units of the median singular value
        assert 4 / np.sqrt(3) / np.sqrt(median) == pytest.approx(2.858, abs=1e-3)


def test_random_matrices_have_no_spikes_and_planted_ones_are_counted():
    rng = np.random.default_rng(0)
    bulk = jax.jit(lambda squares: spectral_laws.fit_marchenko_pastur(squares, 120))
    spikes, edges = [], []
    for _ in range(200):
        entries = 0.3 * rng.normal(size=(120, 60))
        squares = np.linalg.svd(entries, compute_uv=False) ** 2
        found = bulk(jnp.asarray(squares, jnp.float32))
        spikes.append(int(found.spikes))
        edges.append(float(found.edge))
    # 5% of random matrices reach beyond the 95th percentile: 10 +- 3 of 200.
    assert 1 <= np.sum(np.array(spikes) > 0) <= 25
    expected = 0.09 * (np.sqrt(120) + np.sqrt(60)) ** 2
    assert np.mean(edges) == pytest.approx(expected, rel=0.02)
    left, right = (np.linalg.qr(rng.normal(size=(n, 3)))[0] for n in (120, 60))
    planted = 0.3 * rng.normal(size=(120, 60)) + 20 * left @ right.T
    squares = np.linalg.svd(planted, compute_uv=False) ** 2
    found = bulk(jnp.asarray(squares, jnp.float32))
    assert int(found.spikes) == 3
    assert float(found.edge) == pytest.approx(expected, rel=0.1)
    assert float(found.softrank) == pytest.approx(float(found.edge) / squares.max(), rel=1e-4)


def measuring(net):
    """Return `params -> values and infos` of the whole family."""
    images = complexity.measure_data(data.load("digits").take(range(2)))

    def measure(params):
        trained = complexity.Trained(params, params, None, None, None, None, 0)
        return complexity.compute(["heavy_tails"], net, trained, images, jax.random.key(1))[0]

    return measure


@pytest.fixture(scope="module")
def toy():
    """A network of convolutions and a dense layer; two of its layers have enough eigenvalues."""
    net = models.create("cnn", image_shape=(8, 8, 1), num_classes=12, channels=(6, 16))
    start = jax.jit(lambda key: net.fold(*net.init(key)))
    return net, start, jax.jit(measuring(net))


def by_hand(params, slices=False):
    """Return the eigenvalues of the layers, float64."""
    found = []
    for name in ("conv1", "conv2", "output"):
        kernel = np.asarray(params[name]["kernel"], np.float64)
        if kernel.ndim == 2:
            spectrum = np.linalg.svd(kernel, compute_uv=False) ** 2
        elif slices:
            spectrum = np.linalg.svd(kernel.reshape(-1, *kernel.shape[2:]), compute_uv=False) ** 2
            spectrum = spectrum.reshape(-1) / 2
        else:
            spectrum = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False) ** 2
        if len(spectrum) >= 10:
            found.append(np.sort(spectrum))
    return found


def test_every_measure_is_the_mean_over_layers_computed_by_hand(toy):
    _, start, measure = toy
    params = start(jax.random.key(0))
    found = measure(params)
    values = {name: float(result[0]) for name, result in found.items()}
    spectra = by_hand(params)
    fits = [loop_fit(s) for s in spectra]
    alphas = np.array([fit[1] for fit in fits])
    largest = np.array([s[-1] for s in spectra])
    expected = {
        "alpha": alphas.mean(),
        "alpha_weighted": np.mean(alphas * np.log10(largest)),
        "log_alpha_norm": np.mean(
            [np.log10(np.sum(s**a)) for s, a in zip(spectra, alphas, strict=True)]
        ),
        "alpha_distance": np.mean([fit[0] for fit in fits]),
        "log_norm": np.mean([np.log10(s.sum()) for s in spectra]),
        "log_spectral_norm": np.mean(np.log10(largest)),
        "stable_rank": np.mean([s.sum() / s[-1] for s in spectra]),
        "alpha_pooled": loop_fit(np.concatenate([*spectra, _first_layer(params)]))[1],
    }
    for name, number in expected.items():
        assert values[name] == pytest.approx(number, rel=2e-4), name
    info = found["alpha"][1]
    assert int(info["layers_left_out"]) == 1
    assert np.isnan(float(info["layer1"]))
    assert float(info["layer3"]) == pytest.approx(alphas[1], rel=2e-4)


def _first_layer(params):
    kernel = np.asarray(params["conv1"]["kernel"], np.float64).reshape(9, 6)
    return np.linalg.svd(kernel, compute_uv=False) ** 2


def test_slices_of_convolutions_are_joined_and_halved(toy):
    _, start, measure = toy
    params = start(jax.random.key(0))
    names = ["alpha_slices", "alpha_weighted_slices", "log_alpha_norm_slices"]
    found = measure(params)
    spectra = by_hand(params, slices=True)
    alphas = [loop_fit(s)[1] for s in spectra]
    pairs = list(zip(spectra, alphas, strict=True))
    assert [len(s) for s in spectra] == [54, 12]
    assert float(found[names[0]][0]) == pytest.approx(np.mean(alphas), rel=2e-4)
    weighted = np.mean([a * np.log10(s[-1]) for s, a in pairs])
    assert float(found[names[1]][0]) == pytest.approx(weighted, rel=2e-4)
    norms = np.mean([np.log10(np.sum(s**a)) for s, a in pairs])
    assert float(found[names[2]][0]) == pytest.approx(norms, rel=2e-4)


def test_alpha_and_ranks_do_not_change_with_the_scale_of_a_layer_and_norms_do(toy):
    _, start, measure = toy
    params = start(jax.random.key(0))
    scaled = jax.tree.map(lambda w: w, params)
    scaled["conv2"]["kernel"] = 10 * params["conv2"]["kernel"]
    names = ["alpha", "stable_rank", "mp_softrank", "num_spikes", "log_norm", "log_spectral_norm"]
    first, second = measure(params), measure(scaled)
    for name in names[:4]:
        assert float(second[name][0]) == pytest.approx(float(first[name][0]), rel=1e-4), name
    for name in names[4:]:  # one of two layers is larger by 10^2
        assert float(second[name][0] - first[name][0]) == pytest.approx(1.0, abs=1e-5), name


def test_layers_of_low_rank_and_networks_of_none_are_left_out(toy):
    _, start, measure = toy
    params = start(jax.random.key(0))
    poor = jax.tree.map(lambda w: w, params)
    wide = poor["conv2"]["kernel"]
    poor["conv2"]["kernel"] = wide.at[..., 3:].set(wide[..., :1])  # rank 3
    assert int(measure(poor)["alpha"][1]["layers_left_out"]) == 2
    poor["output"]["kernel"] = jnp.zeros_like(poor["output"]["kernel"])
    for name, (amount, info) in measure(poor).items():
        if name.endswith("slices"):  # rank 3 at each of 9 places of the window
            assert np.isfinite(float(amount)), name
            continue
        assert np.isnan(float(amount)), name
        assert int(info["refusal"]) == complexity.Refusal.DEGENERATE


def test_without_jit_and_over_networks_the_numbers_are_the_same(toy):
    net, start, measure = toy
    params, other = start(jax.random.key(0)), start(jax.random.key(5))
    pair = jax.tree.map(lambda *w: jnp.stack(w), params, other)
    together = jax.jit(jax.vmap(measuring(net)))(pair)
    for name, (amount, _) in measure(params).items():
        np.testing.assert_allclose(together[name][0][0], amount, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(
            together[name][0][1], measure(other)[name][0], rtol=1e-4, err_msg=name
        )
    with jax.disable_jit():
        plain = spectral_laws.fit_power_law(jnp.asarray(pareto(0, 40, 2.5)))
    np.testing.assert_allclose(plain, FIT(jnp.asarray(pareto(0, 40, 2.5))), rtol=1e-5)
