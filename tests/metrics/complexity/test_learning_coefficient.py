"""Learning coefficients against closed forms and against integrals over the same density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models, training
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import langevin

N = 1000
WARMTH = N / np.log(N)


def inputs(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def product(powers):
    """Return the squared loss of x -> x prod w_i^k_i where the truth is 0."""

    def loss(w, x):
        return jnp.mean((x * jnp.prod(w ** jnp.array(powers))) ** 2)

    return loss


def integral(powers, localisation):
    """Return n beta E[L_n] under exp(-n beta L_n - gamma |w|^2 / 2) on a grid, float64."""
    side = np.linspace(-6, 6, 2401)
    w = np.stack(np.meshgrid(side, side, indexing="ij"))
    loss = np.prod([v ** (2 * k) for v, k in zip(w, powers, strict=True)], 0)
    logs = -WARMTH * loss - localisation / 2 * np.sum(w**2, 0)
    weights = np.exp(logs - logs.max())
    return WARMTH * np.sum(loss * weights) / np.sum(weights)


def sampled(powers, localisation):
    # The step adds at most epsilon (curvature 290) / 4 = 3.6%.
    how = langevin.Langevin(5e-4, localisation, chains=256, burn_in=2000, draws=5000, batch=None)
    run = jax.jit(
        lambda key: langevin.local_learning_coefficient(
            product(powers), jnp.zeros(2), jnp.ones(1), key, size=N, how=how
        )
    )
    return run(jax.random.key(0)), integral(powers, localisation)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_power_has_the_closed_form_and_the_integral_of_its_density(power):
    found, exact = sampled((0, power), 1.0)
    assert abs(float(found.value) - exact) < 4 * float(found.standard_error) + 0.036 * exact
    assert float(found.standard_error) < 0.05 * exact
    # At n = 1,000 and gamma = 1 the integral itself is 0.4% to 6% below the limit.
    assert float(found.value) == pytest.approx(1 / (2 * power), rel=0.12)


def test_crossing_valleys_have_the_integral_of_their_density():
    found, exact = sampled((1, 2), 5.0)
    assert abs(float(found.value) - exact) < 4 * float(found.standard_error) + 0.036 * exact
    assert float(found.standard_error) < 0.05 * exact


def test_the_closed_form_of_reduced_rank_regression():
    known = {(5, 3, 5): 6.5, (5, 4, 5): 8, (4, 3, 8): 6, (8, 3, 4): 6, (3, 8, 4): 6}
    for sizes, expected in known.items():
        assert langevin.reduced_rank_learning_coefficient(*sizes) == expected
    # A true map of full rank is regular up to the group acting on the hidden units.
    for m, h, n in ((4, 2, 3), (3, 3, 3), (5, 1, 1)):
        free = h * (m + n) - h * h
        assert langevin.reduced_rank_learning_coefficient(m, h, n, h) == free / 2
    with pytest.raises(InvalidInputError, match="found rank 4"):
        langevin.reduced_rank_learning_coefficient(5, 3, 5, 4)


@pytest.mark.parametrize(
    "sizes",
    [
        (5, 3, 5),
        pytest.param((4, 3, 8), marks=pytest.mark.slow),
        pytest.param((3, 8, 4), marks=pytest.mark.slow),
    ],
)
def test_the_sampler_finds_the_coefficient_of_reduced_rank_regression(sizes):
    m, h, n = sizes
    x = inputs(1, N, m)

    def loss(w, x):
        return 0.5 * jnp.mean(jnp.sum((x @ w[0] @ w[1]) ** 2, axis=1))

    how = langevin.Langevin(3e-4, localisation=1.0, burn_in=2000, draws=3000, batch=200)
    start = (jnp.zeros((m, h)), jnp.zeros((h, n)))
    run = jax.jit(
        lambda key: langevin.local_learning_coefficient(loss, start, x, key, size=N, how=how)
    )
    expected = langevin.reduced_rank_learning_coefficient(*sizes)
    assert float(run(jax.random.key(0)).value) == pytest.approx(expected, rel=0.25)


def test_a_quadratic_has_the_value_of_its_density():
    # L = (1/2) sum h_i w_i^2 sampled exactly: n beta E[L] = (1/2) sum n beta h_i / (n beta h_i +
    # gamma); a step epsilon adds a factor 1 / (1 - epsilon (n beta h_i + gamma) / 4).
    curvature = jnp.array([10.0, 1.0, 0.1, 0.0])
    how = langevin.Langevin(step=1e-4, localisation=100.0, chains=32, burn_in=1000, draws=4000)

    def loss(w, scale):
        return 0.5 * jnp.sum(jnp.mean(scale) * curvature * w**2)

    found = jax.jit(
        lambda key: langevin.local_learning_coefficient(
            loss, jnp.zeros(4), jnp.ones(N), key, size=N, how=how
        )
    )(jax.random.key(0))
    pull = WARMTH * np.asarray(curvature, np.float64)
    expected = 0.5 * np.sum(pull / (pull + 100) / (1 - 1e-4 * (pull + 100) / 4))
    assert abs(float(found.value) - expected) < 4 * float(found.standard_error)
    assert float(found.standard_error) < 0.02 * expected


def test_chains_together_or_one_after_the_other_are_the_same():
    x = inputs(2, N)
    found = []
    for together in (True, False):
        how = langevin.Langevin(burn_in=5, draws=20, chains=3, batch=10, together=together)
        found.append(
            langevin.local_learning_coefficient(
                product((1, 1)), jnp.ones(2), x, jax.random.key(0), size=N, how=how
            )
        )
    np.testing.assert_allclose(found[0].chains, found[1].chains, rtol=1e-4)
    with pytest.raises(InvalidInputError, match="found 1 chains"):
        langevin.local_learning_coefficient(
            product((1, 1)),
            jnp.ones(2),
            x,
            jax.random.key(0),
            size=N,
            how=langevin.Langevin(chains=1),
        )


@pytest.fixture(scope="module")
def measured():
    digits = data.load("digits").take(range(300))
    rules = training.TrainingConfig(
        max_steps=300, record_every=50, threshold=0.02, batch_size=50, optimizer="adam"
    )
    model = training.ModelConfig("mlp", {"widths": (16, 16)})
    config = training.SweepConfig([model], [rules], {"learning_rate": (0.01,)}, seeds=2)
    group = training.sweep(config, digits, jax.random.key(0)).groups[0]
    names = ["learning_coefficient", "parameters"]
    examples = complexity.measure_data(digits)
    return complexity.measure_group(group, examples, names, key=jax.random.key(1))


def test_a_trained_network_has_a_coefficient_far_below_half_its_parameters(measured):
    values = measured.values["local_learning_coefficient"]
    assert not measured.refused
    assert (values > 0).all()
    assert (values < 0.25 * measured.values["parameters"]).all()
    info = measured.info["local_learning_coefficient"]
    assert (info["standard_error"] < 0.3 * values).all()
    # What was sampled is put together as the definition says, from the loss of all examples.
    warmth = 300 / np.log(300)
    np.testing.assert_allclose(values, warmth * (info["mean_loss"] - info["loss"]), rtol=1e-3)
    np.testing.assert_allclose(measured.values["wbic"], 300 * info["mean_loss"], rtol=1e-5)


def test_the_temperature_of_a_batch_is_its_own_variant(measured):
    name = "local_learning_coefficient_batch_temperature"
    info = measured.info[name]
    warmth = 128 / np.log(128)
    np.testing.assert_allclose(
        measured.values[name], warmth * (info["mean_loss"] - info["loss"]), rtol=1e-3
    )
    assert (measured.values[name] != measured.values["local_learning_coefficient"]).all()


def test_chains_that_diverge_refuse_the_network():
    net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
    params = jax.tree.map(lambda w: 1e18 * jnp.ones_like(w), net.fold(*net.init(jax.random.key(0))))
    trained = complexity.Trained(params, params, None, None, None, None, 0)
    examples = complexity.measure_data(data.load("digits").take(range(20)))
    found = jax.jit(lambda key: complexity.compute(["wbic"], net, trained, examples, key)[0])(
        jax.random.key(0)
    )
    assert np.isnan(float(found["wbic"][0]))
    assert int(found["wbic"][1]["refusal"]) == complexity.Refusal.DEGENERATE
