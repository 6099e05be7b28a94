"""Certificates of stochastic networks: divergence, sampling, independence of the prior, truth."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from genjax import data, models
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import bounds, certificates, objectives, stochastic_training
from genjax.metrics.complexity.contract import Labelled
from genjax.metrics.complexity.stochastic_training import CertificateConfig, Gaussian

RULES = CertificateConfig(
    prior_epochs=30, epochs=10, deviation=0.03, learning_rate=3e-3, draws=200, examples_per_draw=50
)


def labelled(examples):
    return Labelled(jnp.asarray(examples.images), jnp.asarray(examples.labels))


@pytest.fixture(scope="module")
def network():
    return models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(16,))


@pytest.fixture(scope="module")
def parts():
    """1,200 digits to train and certify on, the 597 others to test."""
    digits = data.load("digits")
    order = np.random.default_rng(0).permutation(len(digits.labels))
    return labelled(digits.take(order[:1200])), labelled(digits.take(order[1200:]))


@pytest.fixture(scope="module")
def program(network):
    """Train, certify and test one network: key, examples, test -> everything."""

    def one(key, examples, test):
        keys = jax.random.split(key, 4)
        params = network.fold(*network.init(keys[0]))
        trained = stochastic_training.train(network, params, examples, keys[1], RULES)
        found = stochastic_training.certify(network, trained, examples, keys[2], RULES)
        error, _ = stochastic_training.stochastic_error(
            network, trained.posterior, test, keys[3], draws=64, examples_per_draw=128
        )
        return params, trained, found, error

    return jax.jit(one)


@pytest.fixture(scope="module")
def four(program, parts):
    """Four seeds, one after the other."""
    keys = jax.random.split(jax.random.key(0), 4)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(program(k, *parts) for k in keys))


def random_gaussian(seed):
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 2), "b": (4,)}
    return Gaussian(
        {k: rng.normal(0, 1, s).astype(np.float32) for k, s in shapes.items()},
        {k: rng.normal(-1, 0.5, s).astype(np.float32) for k, s in shapes.items()},
    )


def test_divergence_is_the_closed_form_and_what_sampling_gives():
    one, two = random_gaussian(0), random_gaussian(1)
    total, rng = 0.0, np.random.default_rng(2)
    draws = 0.0
    for name in ("a", "b"):
        (m, s), (m0, s0) = (
            (np.float64(g[0][name]), np.exp(np.float64(g[1][name]))) for g in (one, two)
        )
        total += np.sum(np.log(s0 / s) + (s**2 + (m - m0) ** 2) / (2 * s0**2) - 0.5)
        w = m + s * rng.normal(size=(200_000, *m.shape))
        ratio = stats.norm.logpdf(w, m, s) - stats.norm.logpdf(w, m0, s0)
        draws += ratio.reshape(len(w), -1).sum(1)
    found = float(stochastic_training.divergence(one, two))
    assert found == pytest.approx(total, rel=1e-6)
    error = np.std(draws) / math.sqrt(200_000)
    assert abs(found - np.mean(draws)) < 5 * error
    assert float(stochastic_training.divergence(one, one)) == 0


def test_draws_have_the_deviation_that_is_said():
    gaussian = random_gaussian(3)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.vmap(lambda key: stochastic_training.draw(gaussian, key))(keys)
    for name in ("a", "b"):
        deviation = np.exp(gaussian.log_deviation[name])
        off = (np.mean(drawn[name], axis=0) - gaussian.mean[name]) / deviation
        assert np.abs(off).max() < 5 / math.sqrt(20_000)
        np.testing.assert_allclose(np.std(drawn[name], axis=0), deviation, rtol=0.03)
    flat = np.concatenate([np.asarray(drawn[n]).reshape(20_000, -1) for n in drawn], axis=1)
    correlations = np.corrcoef(flat, rowvar=False) - np.eye(10)
    assert np.abs(correlations).max() < 5 / math.sqrt(20_000)


def test_the_error_is_the_average_over_all_draws(network, parts, four):
    """Every draw counts the same, and drawing examples changes the noise but not the mean."""
    _, test = parts
    posterior = jax.tree.map(lambda leaf: leaf[0], four[1].posterior)
    key, draws = jax.random.key(5), 7
    error, deviation = stochastic_training.stochastic_error(
        network, posterior, test, key, draws=draws
    )
    alone = []
    for one in jax.random.split(key, draws):
        params = stochastic_training.draw(posterior, jax.random.split(one)[0])
        wrong = np.argmax(network.apply(params, test.images), axis=1) != np.asarray(test.labels)
        alone.append(wrong.mean())
    assert float(error) == pytest.approx(np.mean(alone), abs=1e-6)
    assert float(deviation) == pytest.approx(np.std(alone) / math.sqrt(draws), abs=1e-6)
    many, spread = stochastic_training.stochastic_error(
        network, posterior, test, key, draws=2000, examples_per_draw=8
    )
    all_of_them, exact = stochastic_training.stochastic_error(
        network, posterior, test, key, draws=200
    )
    assert abs(float(many) - float(all_of_them)) < 4 * math.hypot(float(spread), float(exact))
    p = float(all_of_them)
    assert float(spread) == pytest.approx(math.sqrt(p * (1 - p) / 16_000), rel=0.2)


def test_the_certificate_is_its_formula(four):
    _, trained, found, _ = four
    for i in range(4):
        prior, posterior = (jax.tree.map(lambda a, i=i: a[i], g) for g in trained[:2])
        kl = float(stochastic_training.divergence(posterior, prior))
        assert float(found.kl_nats[i]) == pytest.approx(kl, rel=1e-3, abs=1e-5)
        error = float(found.sampled_error[i])
        on_examples = bounds.kl_inverse(error, math.log(2 / 0.01) / 200)
        assert float(found.train_error_bound[i]) == pytest.approx(on_examples, rel=1e-4)
        expected = bounds.kl_inverse(on_examples, (kl + math.log(2 * math.sqrt(600) / 0.025)) / 600)
        assert float(found.bound[i]) == pytest.approx(expected, rel=1e-4)
    assert np.all(np.asarray(found.num_examples) == 600)
    np.testing.assert_allclose(found.confidence, 0.965, rtol=1e-6)
    assert not np.any(found.vacuous)


def test_certificates_are_far_below_guessing_and_hold_for_every_seed(four):
    _, _, found, error = four
    assert np.all(found.bound < 0.35), "guessing errs on 9 of 10"
    assert np.all(error < found.bound)
    assert np.all(error > 0)


def test_the_prior_never_sees_what_certifies(network, parts, program, four):
    """Other images and labels among the certifying examples leave the prior as it is."""
    examples, test = parts
    _, trained, found, _ = four
    key = jax.random.split(jax.random.key(0), 4)[0]
    certifying = np.asarray(trained.certifying[0])
    assert len(set(certifying.tolist())) == 600
    images, labels = np.array(examples.images), np.array(examples.labels)
    images[certifying] = images[certifying][:, ::-1]
    labels[certifying] = (labels[certifying] + 1) % 10
    changed = Labelled(jnp.asarray(images), jnp.asarray(labels))
    _, other, worse, _ = program(key, changed, test)
    np.testing.assert_array_equal(other.certifying, certifying)
    for a, b in zip(jax.tree.leaves(other.prior), jax.tree.leaves(trained.prior), strict=True):
        np.testing.assert_allclose(a, b[0], rtol=0, atol=1e-6)
    assert float(worse.sampled_error) > float(found.sampled_error[0]) + 0.5
    # The others do change it.
    labels = np.array(examples.labels)
    rest = np.setdiff1d(np.arange(1200), certifying)
    labels[rest] = (labels[rest] + 1) % 10
    _, learnt, _, _ = program(key, examples._replace(labels=jnp.asarray(labels)), test)
    moved = jax.tree.map(lambda a, b: np.abs(a - b[0]).max(), learnt.prior.mean, trained.prior.mean)
    assert max(jax.tree.leaves(moved)) > 0.01


def test_an_initial_prior_is_the_initial_weights_and_all_examples_certify(network, parts):
    rules = dataclasses.replace(RULES, prior="initial", objective="bbb", epochs=1, draws=20)
    params = network.fold(*network.init(jax.random.key(0)))
    start = jax.tree.map(lambda w: w + 0.1, params)
    trained = jax.jit(
        lambda p, s: stochastic_training.train(
            network, p, parts[0], jax.random.key(1), rules, start=s
        )
    )(params, start)
    for a, b in zip(jax.tree.leaves(trained.prior.mean), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trained.certifying.tolist() == list(range(1200))
    step = jax.tree.map(lambda a, b: np.abs(a - b).mean(), trained.posterior.mean, start)
    assert 0 < max(jax.tree.leaves(step)) < 0.1, "the posterior starts where it is told to"


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("flambda", "fclassic", "bbb")]


@pytest.mark.parametrize("name", ["fquad", *SLOWLY])
def test_training_lowers_its_objective(network, parts, name):
    """From a bad start the objective comes down by its own measure."""
    examples, _ = parts
    params = network.fold(*network.init(jax.random.key(0)))
    rules = dataclasses.replace(RULES, prior="initial", objective=name, learning_rate=1e-2)
    start = jax.tree.map(lambda w: w + 0.2, params)

    @jax.jit
    def value(posterior, prior):
        def loss(key):
            logits = network.apply(stochastic_training.draw(posterior, key), examples.images)
            return stochastic_training.bounded_loss(logits, examples.labels, 1e-5)

        losses = jax.lax.map(loss, jax.random.split(jax.random.key(3), 20))
        kl = stochastic_training.divergence(posterior, prior)
        return objectives.OBJECTIVES[name](jnp.mean(losses), kl, 1200.0)

    trained = jax.jit(
        lambda p, s: stochastic_training.train(
            network, p, examples, jax.random.key(1), rules, start=s
        )
    )(params, start)
    begun = trained.prior._replace(mean=start)
    assert value(trained.posterior, trained.prior) < 0.8 * value(begun, trained.prior)


@pytest.mark.slow
def test_a_stack_gives_the_same_as_one_after_the_other(program, parts, four):
    together = jax.vmap(program, in_axes=(0, None, None))(
        jax.random.split(jax.random.key(0), 4), *parts
    )
    np.testing.assert_allclose(together[2].bound, four[2].bound, atol=5e-3)


def test_bounded_loss_is_in_the_unit_interval():
    logits = jnp.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    found = stochastic_training.bounded_loss(logits, jnp.zeros(3, int), 1e-2)
    expected = [math.log(2) / math.log(100), special.log1p(np.exp(-50.0)), 1.0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


BAD = {
    "objective: unknown name 'fqad'": {"objective": "fqad"},
    "prior: unknown name 'learned'": {"prior": "learned"},
    "epochs: found 0": {"epochs": 0},
    "delta: found 1.5": {"delta": 1.5},
    "deviation: found 0.0": {"deviation": 0.0},
}


@pytest.mark.parametrize("sentence", BAD)
def test_rules_out_of_range_are_refused(sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        CertificateConfig(**BAD[sentence])


def test_too_few_examples_are_refused(network, parts):
    params = network.fold(*network.init(jax.random.key(0)))
    few = jax.tree.map(lambda a: a[:10], parts[0])
    with pytest.raises(InvalidInputError, match="found 10, of which 5 certify; at least 8"):
        stochastic_training.train(network, params, few, jax.random.key(0), RULES)


def test_both_measures_of_trained_networks(groups, measure_data, digits):
    names = [m.name for m in certificates.MEASURES]
    found = complexity.measure_group(groups["mlp"], measure_data, names, key=jax.random.key(1))
    assert not found.refused
    initial, learnt = (found.values[name] for name in names)
    assert np.all((initial > 0) & (initial <= 1))
    assert np.all(learnt < 0.75)
    for name in names:
        info = found.info[name]
        assert np.all(found.values[name] > info["sampled_error"])
        np.testing.assert_array_equal(info["vacuous"], found.values[name] >= 1)
        np.testing.assert_allclose(info["confidence"], 0.965, rtol=1e-6)
    few = complexity.measure_data(digits[0].take(range(10)))
    refused = complexity.measure_group(groups["mlp"], few, names, key=jax.random.key(1)).refused
    assert {r.measure for r in refused} == set(names)
    group = groups["mlp"]._replace(init_params=None)
    refused = complexity.measure_group(group, measure_data, names, key=jax.random.key(1)).refused
    assert all("parameters at initialisation" in r.reason for r in refused)
    assert len(refused) == 2


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cnn", "resnet", "vit"])
def test_every_family_can_be_certified(groups, measure_data, family):
    names = ["certificates", "compression"]
    found = complexity.measure_group(groups[family], measure_data, names, key=jax.random.key(1))
    assert not found.refused
    assert all(np.all((v > 0) & (v <= 1.2)) for v in found.values.values())
