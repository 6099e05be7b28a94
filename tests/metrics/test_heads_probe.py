"""The probe for one network and one share, against float64 oracles."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from genjax.metrics import heads_probe
from genjax.metrics.heads_probe import Linear, ProbeSettings, Split, StopReason, fit_probe

CLASSES, WIDTH, EXAMPLES = 10, 12, 200
IN_PLAY = np.isin(np.arange(CLASSES), [0, 2, 3, 5, 8, 9])


@pytest.fixture(scope="module")
def train():
    """Twelve leading principal components of real digits: not linearly separable."""
    images, labels = load_digits(return_X_y=True)
    images = images[:EXAMPLES] - images[:EXAMPLES].mean(axis=0)
    axes = np.linalg.svd(images, full_matrices=False)[2][:WIDTH]
    features = (images @ axes.T / 10).astype(np.float32)
    return Split(jnp.asarray(features[:, ::2]), jnp.asarray(labels[:EXAMPLES], jnp.int32))


def settings(**changes):
    numbers = {
        "learning_rate": 0.05,
        "weight_decay": 0.0,
        "l2": 0.0,
        "standardise": False,
        "stop_error": 0.0,
        "epochs": 10,
        "patience": 100,
        "watched": False,
        "keep_last": True,
    }
    return ProbeSettings(**{name: jnp.asarray(v) for name, v in (numbers | changes).items()})


def start(width, seed=0):
    return heads_probe.initial_weights(
        jax.random.key(seed), width, CLASSES, jnp.asarray(width, jnp.float32)
    )


@functools.partial(jax.jit, static_argnames="batch_size")
def fit(train, stopping, in_play, begin, numbers, *, batch_size):
    return fit_probe(
        train, stopping, in_play, begin, jax.random.key(7), numbers, batch_size=batch_size
    )


def one_hot_gradient(kernel, bias, features, labels, in_play, l2):
    """Gradient of the mean cross-entropy over the examples in play, in float64."""
    member = in_play[labels]
    x, y = features[member], labels[member]
    scores = np.where(in_play[None, :], x @ kernel.T + bias, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p.T @ x / len(y) + l2 * kernel, p.mean(axis=0)


def test_full_batches_follow_adamw_in_float64(train):
    steps, rate, decay, l2 = 25, 0.05, 0.1, 0.02
    begin = start(train.features.shape[1])
    got = fit(
        train,
        train,
        jnp.asarray(IN_PLAY),
        begin,
        settings(learning_rate=rate, weight_decay=decay, l2=l2, epochs=steps),
        batch_size=EXAMPLES,
    )
    features, labels = np.asarray(train.features, float), np.asarray(train.labels)
    weights = [np.asarray(w, float) for w in begin]
    first, second = [0.0, 0.0], [0.0, 0.0]
    for t in range(1, steps + 1):
        gradients = one_hot_gradient(*weights, features, labels, IN_PLAY, l2)
        for i, g in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            move = (first[i] / (1 - 0.9**t)) / (np.sqrt(second[i] / (1 - 0.999**t)) + 1e-8)
            # torch.optim.AdamW: decay first, then Adam's step.
            weights[i] = weights[i] * (1 - rate * decay) - rate * move
    np.testing.assert_allclose(got.weights.kernel, weights[0], atol=2e-5)
    np.testing.assert_allclose(got.weights.bias, weights[1], atol=2e-5)
    assert (int(got.epochs), int(got.kept_epoch)) == (steps, steps)


def test_at_convergence_it_is_logistic_regression(train):
    l2 = 0.05
    weights = start(train.features.shape[1])
    for rate in (0.02, 1e-3, 5e-5):  # Adam's noise at convergence is proportional to the rate
        numbers = settings(learning_rate=rate, l2=l2, epochs=1000)
        got = fit(train, train, jnp.asarray(IN_PLAY), weights, numbers, batch_size=EXAMPLES)
        weights = got.weights
    features, labels = np.asarray(train.features, float), np.asarray(train.labels)
    member = IN_PLAY[labels]
    oracle = LogisticRegression(C=1 / (member.sum() * l2), tol=1e-10, max_iter=2000)
    oracle.fit(features[member], labels[member])
    np.testing.assert_allclose(
        np.asarray(got.weights.kernel)[oracle.classes_], oracle.coef_, atol=2e-4
    )
    scores = heads_probe.logits(got.weights, train.features, jnp.asarray(IN_PLAY))
    probabilities = np.asarray(jax.nn.softmax(scores))
    np.testing.assert_allclose(
        probabilities[:, oracle.classes_], oracle.predict_proba(features), atol=1e-4
    )
    assert (probabilities[:, ~IN_PLAY] == 0).all()
    np.testing.assert_allclose(
        got.train_error, 1 - oracle.score(features[member], labels[member]), atol=1e-6
    )


def test_standardising_equals_scaling_the_features_first(train):
    """Against scikit-learn's scaler, fitted on the classes in play; constant features stay."""
    in_play = jnp.asarray(IN_PLAY)
    constant = jnp.full((train.features.shape[0], 1), 3.0)
    train = train._replace(features=jnp.concatenate([5 * train.features + 2, constant], axis=1))
    member = IN_PLAY[np.asarray(train.labels)]
    scaler = StandardScaler().fit(np.asarray(train.features, float)[member])
    scale = heads_probe.scale_of(train, in_play, jnp.asarray(True))
    np.testing.assert_allclose(scale.mean, scaler.mean_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scale.deviation, scaler.scale_, rtol=1e-4)
    scaled = train._replace(
        features=jnp.asarray(scaler.transform(np.asarray(train.features, float)), jnp.float32)
    )
    begin = start(train.features.shape[1])
    raw = fit(train, train, in_play, begin, settings(standardise=True), batch_size=32)
    expected = fit(scaled, scaled, in_play, begin, settings(), batch_size=32)
    np.testing.assert_allclose(
        heads_probe.logits(raw.weights, train.features, in_play),
        heads_probe.logits(expected.weights, scaled.features, in_play),
        atol=2e-3,
    )
    np.testing.assert_allclose(raw.train_error, expected.train_error, atol=0.011)


@pytest.mark.parametrize("batch_size", [1, 32, 200])
def test_an_epoch_takes_every_example_in_play_once(train, batch_size):
    """With an optimizer that only adds up gradients, an epoch gives those of the whole set."""
    in_play = jnp.asarray(IN_PLAY)
    begin = start(train.features.shape[1])
    total = optax.GradientTransformation(
        lambda weights: (jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights)),
        lambda g, state, _: (
            jax.tree.map(jnp.zeros_like, g),
            (state[0] + 1, jax.tree.map(jnp.add, g, state[1])),
        ),
    )

    @jax.jit
    def epoch(key):
        carry = (begin, total.init(begin))
        return heads_probe._epoch(carry, train, in_play, key, total, jnp.zeros(()), batch_size)

    _, (steps, gradient) = epoch(jax.random.key(1))
    count = int(IN_PLAY[np.asarray(train.labels)].sum())
    assert 0 < count < EXAMPLES
    assert int(steps) == -(-count // batch_size), "steps without examples do not count"
    features, labels = np.asarray(train.features, float), np.asarray(train.labels)
    kernel, bias = (np.asarray(w, float) for w in begin)
    expected = one_hot_gradient(kernel, bias, features, labels, IN_PLAY, 0.0)
    if batch_size == 32:  # full batches of 32 and one of the rest: undo their means
        other = epoch(jax.random.key(2))[1][1]
        assert not np.allclose(other.kernel, gradient.kernel, atol=1e-4), "orders differ"
        return
    scale = count if batch_size == 1 else 1
    np.testing.assert_allclose(gradient.kernel / scale, expected[0], atol=1e-5)
    np.testing.assert_allclose(gradient.bias / scale, expected[1], atol=1e-5)


def test_examples_that_are_not_in_play_have_no_influence(train):
    in_play = jnp.asarray(IN_PLAY)
    begin = start(train.features.shape[1])
    outside = ~in_play[train.labels]
    moved = Split(jnp.where(outside[:, None], 1e3, train.features), train.labels)
    numbers = settings(epochs=4, watched=True, keep_last=False)
    a = fit(train, train, in_play, begin, numbers, batch_size=32)
    b = fit(moved, moved, in_play, begin, numbers, batch_size=32)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_initial_weights_are_those_of_a_torch_linear_layer():
    weights = start(4000)
    bound = 4000**-0.5
    draw = np.concatenate([np.ravel(weights.kernel), np.ravel(weights.bias)]) / bound
    assert np.abs(draw).max() <= 1
    assert abs(draw.mean()) < 0.01  # standard error .0029
    assert abs(draw.var() - 1 / 3) < 0.01
    padded = heads_probe.initial_weights(jax.random.key(0), 4100, CLASSES, jnp.float32(4000))
    np.testing.assert_array_equal(padded.kernel[:, :4000], weights.kernel)
    np.testing.assert_array_equal(padded.bias, weights.bias)


def test_error_in_play_counts_only_classes_in_play():
    kernel, bias = jnp.eye(3), jnp.zeros(3)
    split = Split(jnp.eye(3)[jnp.asarray([0, 1, 1, 2, 2])], jnp.asarray([0, 1, 0, 2, 1]))
    in_play = jnp.asarray([True, True, False])
    # In play: rows 0, 1, 2, 4; row 2 is wrong, row 4 has equal logits 0, 0 and goes to class 0.
    error = heads_probe.error_in_play(Linear(kernel, bias), split, in_play)
    assert float(error) == 0.5


class TestStopping:
    """Against a Python simulation of the rule from fits of 1, 2, 3, ... epochs."""

    EPOCHS = 14

    @pytest.fixture(scope="class")
    def path(self, train):
        """Errors of a noisy run after each epoch, on training and stopping data."""
        stopping = Split(
            train.features[:60], jnp.where(jnp.arange(60) % 3 == 0, 5, train.labels[:60])
        )
        begin = start(train.features.shape[1])
        fits = [self.run(train, stopping, begin, epochs=e) for e in range(1, self.EPOCHS + 1)]
        return stopping, begin, fits

    @staticmethod
    def run(train, stopping, begin, **changes):
        numbers = settings(**({"learning_rate": 0.3} | changes))
        return fit(train, stopping, jnp.asarray(IN_PLAY), begin, numbers, batch_size=32)

    @pytest.mark.parametrize("keep_last", [False, True])
    @pytest.mark.parametrize(
        ("patience", "stop_error"), [(1, 0.0), (3, 0.0), (100, 0.0), (100, 0.06), (2, 0.06)]
    )
    def test_rule(self, train, path, patience, stop_error, keep_last):
        stopping, begin, fits = path
        best, waited, kept, reason = np.inf, 0, 0, StopReason.EPOCHS
        for epoch, after in enumerate(fits, start=1):
            if after.stopping_error < best:
                best, waited, kept = after.stopping_error, 0, epoch
            else:
                waited += 1
            if after.train_error < stop_error:
                reason = StopReason.TRAIN_ERROR
            elif waited >= patience:
                reason = StopReason.PATIENCE
            if reason != StopReason.EPOCHS:
                break
        kept = epoch if keep_last else kept
        got = self.run(
            train,
            stopping,
            begin,
            epochs=self.EPOCHS,
            patience=patience,
            stop_error=stop_error,
            watched=True,
            keep_last=keep_last,
        )
        assert (int(got.epochs), int(got.kept_epoch), int(got.reason)) == (epoch, kept, reason)
        np.testing.assert_array_equal(got.weights.kernel, fits[kept - 1].weights.kernel)
        np.testing.assert_array_equal(got.train_error, fits[kept - 1].train_error)
        np.testing.assert_array_equal(got.stopping_error, fits[kept - 1].stopping_error)

    def test_the_cases_reach_every_reason(self, path):
        fits = path[2]
        errors = [float(f.stopping_error) for f in fits]
        assert any(b >= a for a, b in itertools.pairwise(errors))
        assert any(float(f.train_error) < 0.06 for f in fits)
