"""Noisy gradient descent: the noise convention, exact laws, and records against brute force."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics.information import noise_schedules
from genjax.metrics.information.noisy_records import QUANTITIES, NoisyTraining, RunData
from genjax.metrics.information.noisy_training import make
from genjax.models import Network
from genjax.training import execution

SHAPE, CLASSES = (3, 3, 1), 4


def free(size):
    """Return a network whose logits are its parameters, whatever the image."""

    def apply(params, images):
        return jnp.zeros((len(images), 1)) + params["w"][None]

    return Network(
        name="free",
        family="free",
        options={},
        image_shape=(1, 1, 1),
        num_classes=size,
        init=lambda key: ({"w": jnp.zeros(size)}, {}),
        train_apply=lambda params, statistics, images, key, rate: (apply(params, images), {}),
        fold=lambda parameters, statistics: parameters,
        apply=apply,
        taps=lambda params, images: {},
    )


def half_square(logits, labels):
    return 0.5 * jnp.sum((logits - labels) ** 2, axis=1)


def of_label(logits, labels):
    return jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]


def located(targets, others=None):
    """Return data of the location problem: labels are the points."""
    others = targets[:1] if others is None else others
    blank = lambda rows: jnp.zeros((len(rows), 1, 1, 1))  # noqa: E731
    return RunData(blank(targets), targets, blank(others), others)


@pytest.fixture(scope="module")
def digits():
    """A small perceptron with data: 12 examples to train on, 7 others."""
    rng = np.random.default_rng(3)
    images, labels = rng.normal(size=(19, *SHAPE)), rng.integers(0, CLASSES, 19)
    network = models.create("mlp", image_shape=SHAPE, num_classes=CLASSES, widths=(6,))
    data = RunData(
        *(jnp.asarray(a, t) for a, t in ((images[:12], jnp.float32), (labels[:12], jnp.int32))),
        *(jnp.asarray(a, t) for a, t in ((images[12:], jnp.float32), (labels[12:], jnp.int32))),
    )
    return network, data, network.init(jax.random.key(5))[0]


def close(found, expected, tolerance=2e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        found,
        expected,
    )


def mean_loss(network):
    def loss(params, images, labels):
        logs = jax.nn.log_softmax(network.apply(params, images))
        return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], 1))

    return loss


# The convention.


def test_noise_is_the_standard_deviation_of_what_is_added_to_a_parameter():
    size, key = 40_000, jax.random.key(0)
    run = make(free(size), NoisyTraining(), half_square)
    targets = jnp.zeros((2, size))
    params = {"w": jnp.zeros(size)}
    # Rate 0: only noise is left, and four steps add up as variances.
    schedule = noise_schedules.Schedule(np.zeros(4), np.full(4, 0.3), np.zeros(4))
    ended, _ = jax.jit(run)(params, located(targets), key, schedule)
    added = np.asarray(ended["w"], float)
    assert np.std(added) == pytest.approx(0.6, rel=4 / np.sqrt(2 * size))
    assert abs(np.mean(added)) < 4 * 0.6 / np.sqrt(size)
    # What is added does not depend on the rate, and is proportional to sigma.
    steps = [
        run(params, located(targets + 1), key, noise_schedules.constant(1, rate, noise=noise))[0]
        for rate, noise in ((0.5, 0.0), (0.5, 0.2), (0.25, 0.4))
    ]
    plain, first, second = (np.asarray(s["w"]) for s in steps)
    np.testing.assert_allclose(plain, 0.5, atol=1e-6)
    np.testing.assert_allclose(2 * (first - 0.5), second - 0.25, atol=1e-6)


def test_without_noise_it_is_gradient_descent(digits):
    network, data, params = digits
    schedule = noise_schedules.constant(7, 0.3)
    found, record = jax.jit(make(network, NoisyTraining()))(
        params, data, jax.random.key(1), schedule
    )
    loss, expected, losses = mean_loss(network), params, []
    for _ in range(7):
        value, slope = jax.value_and_grad(loss)(expected, data.images, data.labels)
        expected = jax.tree.map(lambda w, g: w - 0.3 * g, expected, slope)
        losses.append(value)
    close(found, expected)
    close(record.loss, jnp.stack(losses))
    assert record.step.tolist() == list(range(1, 8))


def test_descent_on_a_quadratic_has_the_exact_law_of_the_last_iterate():
    # W_T given S is N(a zbar, V I), V = v (1 - (1-e)^2T) / (1 - (1-e)^2), v = 2 e / beta.
    rate, beta, steps, size = 0.1, 20.0, 30, 20_000
    points = jnp.stack([jnp.full(size, 1.0), jnp.full(size, 3.0)])
    run = jax.jit(make(free(size), NoisyTraining(), half_square))
    schedule = noise_schedules.constant(steps, rate, inverse_temperature=beta)
    ended, _ = run({"w": jnp.zeros(size)}, located(points), jax.random.key(4), schedule)
    w = np.asarray(ended["w"], float)
    keep = 1 - rate
    variance = 2 * rate / beta * (1 - keep ** (2 * steps)) / (1 - keep**2)
    assert np.mean(w) == pytest.approx(2 * (1 - keep**steps), abs=4 * np.sqrt(variance / size))
    assert np.var(w) == pytest.approx(variance, rel=4 * np.sqrt(2 / size))


# Batches.


@functools.cache
def visiting(sampling, batch, count):
    config = NoisyTraining(sampling, batch, quantities=("incoherence",))
    return jax.jit(make(free(count), config, of_label))


def visits(sampling, steps, batch, count=6, key=0):
    """Return how often each example was in a batch, and the record."""
    data = RunData(*2 * (jnp.zeros((count, 1, 1, 1)), jnp.arange(count)))
    schedule = noise_schedules.constant(steps, 1.0)
    run = visiting(sampling, batch, count)
    ended, record = run({"w": jnp.zeros(count)}, data, jax.random.key(key), schedule)
    return np.round(-np.asarray(ended["w"]) * (batch or count), 4), record


def test_an_epoch_visits_every_example_once_and_orders_differ():
    counts, record = visits("epochs", 3, 2)
    np.testing.assert_allclose(counts, 1)
    assert sorted(np.asarray(record.share).tolist()) == [0, 0, 0.5]
    firsts = np.stack([visits("epochs", 1, 2, key=k)[0] for k in range(12)])
    assert len(np.unique(firsts, axis=0)) > 3
    firsts = visits("epochs", 4, 2)[0] - counts
    assert sorted(firsts.tolist()) == [0, 0, 0, 0, 1, 1]


def test_fixed_batches_come_back():
    assert visits("fixed", 1, 2)[0].tolist() == [1, 1, 0, 0, 0, 0]
    assert visits("fixed", 4, 2)[0].tolist() == [2, 2, 1, 1, 1, 1]
    # What does not fill a batch is left out.
    assert visits("fixed", 2, 4)[0].tolist() == [2, 2, 2, 2, 0, 0]


def test_batches_with_replacement_repeat_examples():
    counts, record = visits("with_replacement", 40, 5)
    assert counts.sum() == 200
    assert counts.max() > counts.min()
    own = counts[int(record.held_out)]
    assert float(jnp.sum(record.share)) * 5 == pytest.approx(own, abs=1e-4)
    assert float(jnp.max(record.share)) > 0.2  # more than once in a batch


# What is trained and noisy.


def test_a_frozen_trunk_stays_and_counts_for_nothing(digits):
    network, data, params = digits
    config = NoisyTraining(trained="output", quantities=("variance", "supersample"), examples=12)
    schedule = noise_schedules.constant(3, 0.2, noise=0.1)
    ended, record = make(network, config)(params, data, jax.random.key(0), schedule)
    close(ended["dense1"], params["dense1"], 0)
    assert np.abs(ended["output"]["kernel"] - params["output"]["kernel"]).max() > 0.01
    for rows in (record.rate, record.noise, record.squared_norm, record.variance, record.inner):
        assert np.all(np.asarray(rows)[:, 0] == 0)
        assert np.all(np.asarray(rows)[:, 1] != 0)


def test_noise_on_the_output_layer_leaves_the_first_step_of_the_trunk_alone(digits):
    network, data, params = digits
    schedule = noise_schedules.constant(1, 0.2, noise=0.1)
    key = jax.random.key(0)
    noisy, record = make(network, NoisyTraining(noisy="output"))(params, data, key, schedule)
    plain, _ = make(network, NoisyTraining())(params, data, key, schedule._replace(noise=[0.0]))
    close(noisy["dense1"], plain["dense1"], 1e-7)
    assert np.abs(noisy["output"]["kernel"] - plain["output"]["kernel"]).max() > 0.01
    np.testing.assert_allclose(record.noise, [[0.0, 0.1]], rtol=1e-6)


# The record.


def layer_squares(tree):
    return np.array(
        [sum(float(np.sum(np.square(x))) for x in jax.tree.leaves(tree[k])) for k in sorted(tree)]
    )


def test_the_record_is_what_a_loop_in_float64_gives(digits):
    network, data, params = digits
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(  # noqa: E731
            lambda x: np.asarray(x, float) if x.dtype.kind == "f" else np.asarray(x), tree
        )
        data, params = wide(data), wide(jax.tree.map(np.asarray, params))
        config = NoisyTraining("epochs", 4, quantities=QUANTITIES, examples=5, errors_every=2)
        schedule = noise_schedules.constant(2, 0.2, noise=0.05, virtual=0.1)
        loss, key = mean_loss(network), jax.random.key(8)
        _, record = jax.jit(make(network, config))(params, data, key, schedule)
        run = jax.jit(make(network, NoisyTraining("epochs", 4)))  # the same path, cheaper
        ends = [params]
        for steps in (1, 2):
            part = jax.tree.map(lambda x, s=steps: x[:s], schedule)
            ended, _ = run(params, data, key, part)
            ends.append(wide(jax.tree.map(np.asarray, ended)))
        place = int(record.held_out)
        slope = jax.jit(jax.grad(loss))
        minus = lambda a, b: jax.tree.map(lambda x, y: np.asarray(x - y), a, b)  # noqa: E731
        for t in range(2):
            w = ends[t]
            each = [slope(w, data.images[i : i + 1], data.labels[i : i + 1]) for i in range(12)]
            mean = jax.tree.map(lambda *g: sum(g) / 5, *each[:5])
            away = sum(layer_squares(minus(g, mean)) for g in each[:5])
            np.testing.assert_allclose(record.variance[t], away / 4, rtol=1e-9)
            second = sum(layer_squares(g) for g in each[:5]) / 5
            np.testing.assert_allclose(record.mean_squared_norm[t], second, rtol=1e-9)
            others = [g for i, g in enumerate(each) if i != place]
            rest = jax.tree.map(lambda *g: sum(g) / 11, *others)
            zeta = record.share[t] ** 2 * layer_squares(minus(rest, each[place]))
            np.testing.assert_allclose(record.incoherence[t], zeta, rtol=1e-8, atol=1e-14)
            other = slope(w, data.population_images[:1], data.population_labels[:1])
            difference = minus(other, each[place])
            np.testing.assert_allclose(record.difference[t], layer_squares(difference), rtol=1e-9)
            # The noise and the batch's gradient, from what the step did to the parameters.
            whole = slope(w, data.population_images, data.population_labels)
            moved = minus(ends[t + 1], w)
            batch = _batch_gradient(slope, w, data, record, t, moved, difference)
            np.testing.assert_allclose(
                record.population_deviation[t], layer_squares(minus(batch, whole)), rtol=1e-8
            )
            np.testing.assert_allclose(record.squared_norm[t], layer_squares(batch), rtol=1e-8)
        evaluated = np.isfinite(np.asarray(record.train_error))
        assert evaluated.tolist() == [False, True]
        guesses = np.argmax(network.apply(ends[2], data.images), 1)
        assert float(record.train_error[1]) == pytest.approx(np.mean(guesses != data.labels))
        guesses = np.argmax(network.apply(ends[2], data.population_images), 1)
        wrong = np.mean(guesses != data.population_labels)
        assert float(record.population_error[1]) == pytest.approx(wrong)


def _batch_gradient(slope, w, data, record, t, moved, difference):
    """Find the batch by its loss among all of them, and check the noise of the step with it."""
    for chosen in itertools.combinations(range(12), 4):
        rows = list(chosen)
        if abs(float(_loss(w, data, rows)) - float(record.loss[t])) < 1e-12:
            batch = slope(w, data.images[rows], data.labels[rows])
            xi = jax.tree.map(lambda d, g: np.asarray(d + 0.2 * g) / 0.05, moved, batch)
            inner = [
                sum(
                    float(np.sum(a * b))
                    for a, b in zip(
                        jax.tree.leaves(difference[k]), jax.tree.leaves(xi[k]), strict=True
                    )
                )
                for k in sorted(xi)
            ]
            np.testing.assert_allclose(record.inner[t], inner, rtol=1e-8)
            entries = np.concatenate([np.ravel(x) for x in jax.tree.leaves(xi)])
            assert 0.7 < np.std(entries) < 1.3
            return batch
    raise AssertionError("no batch of 4 examples has the recorded loss")


def _loss(w, data, rows):
    x = np.asarray(data.images[rows]).reshape(len(rows), -1)
    hidden = np.maximum(x @ w["dense1"]["kernel"] + w["dense1"]["bias"], 0)
    logits = hidden @ w["output"]["kernel"] + w["output"]["bias"]
    logs = logits - np.log(np.sum(np.exp(logits), 1, keepdims=True))
    return -np.mean(logs[np.arange(len(rows)), np.asarray(data.labels[rows])])


def test_sketches_keep_lengths_and_differences_of_gradients(digits):
    network, data, params = digits
    size = 4096
    config = NoisyTraining(sampling="epochs", batch_size=3, quantities=("sketch",))
    config = NoisyTraining(**{**config.__dict__, "sketch_size": size})
    run = jax.jit(make(network, config))
    schedule = noise_schedules.constant(2, 0.1)
    first, second = (run(params, data, jax.random.key(k), schedule)[1] for k in (0, 1))
    squared = np.asarray(first.squared_norm).sum(1)
    found = np.sum(np.asarray(first.sketch) ** 2, 1)
    np.testing.assert_allclose(found, squared, rtol=4 * np.sqrt(2 / size))
    # Runs are projected alike: gradients that differ have sketches that differ by as much.
    assert not np.allclose(first.sketch[0], second.sketch[0])
    same = run(params, data, jax.random.key(0), schedule)[1]
    np.testing.assert_array_equal(first.sketch, same.sketch)


def test_recording_less_often_trains_the_same(digits):
    network, data, params = digits
    schedule = noise_schedules.constant(6, 0.2, noise=0.05)
    often, seldom = (
        make(network, NoisyTraining("epochs", 5, quantities=("variance",), record_every=k,
                                    examples=12))(params, data, jax.random.key(3), schedule)
        for k in (1, 3)
    )  # fmt: skip
    close(often[0], seldom[0], 1e-6)
    assert seldom[1].step.tolist() == [1, 4]
    close(often[1].variance[::3], seldom[1].variance, 1e-5)


def test_jit_vmap_and_spread_change_nothing(digits):
    network, data, params = digits
    chosen = ("variance", "population", "incoherence", "supersample")
    run = make(network, NoisyTraining("epochs", 4, quantities=chosen, examples=12))
    schedule = noise_schedules.constant(3, 0.2, noise=0.05)
    keys = jax.random.split(jax.random.key(0), 2)
    compiled = jax.jit(run)
    each = [compiled(params, data, key, schedule) for key in keys]
    close(run(params, data, keys[0], schedule), each[0])
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    together = jax.jit(jax.vmap(run, (None, None, 0, None)))(params, data, keys, schedule)
    close(together, stack(each))
    swapped = lambda schedule, params, data, key: run(params, data, key, schedule)  # noqa: E731
    program = execution.spread(swapped, execution.choose(networks=2), shared=1, stacked=3)
    close(program(schedule, stack([params] * 2), stack([data] * 2), keys), stack(each))


@pytest.mark.slow
def test_convolutions_give_the_gradients_of_plain_ones():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(6, 8, 8, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 6), jnp.int32)
    network = models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(4, 4))
    plain = models.create(
        "cnn", image_shape=(8, 8, 1), num_classes=3, channels=(4, 4), form="plain"
    )
    params = network.init(jax.random.key(0))[0]
    config = NoisyTraining(quantities=("variance",), examples=6)
    _, record = jax.jit(make(network, config))(
        params, RunData(images, labels, images, labels), jax.random.key(0),
        noise_schedules.constant(2, 0.1),
    )  # fmt: skip
    slope = jax.grad(mean_loss(plain))
    whole = slope(params, images, labels)
    np.testing.assert_allclose(record.squared_norm[0], layer_squares(whole), rtol=1e-4)
    each = [slope(params, images[i : i + 1], labels[i : i + 1]) for i in range(6)]
    second = sum(layer_squares(g) for g in each) / 6
    np.testing.assert_allclose(record.mean_squared_norm[0], second, rtol=1e-4)


# Refusals.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sampling", {"sampling": "epoch"}),
        ("batch_size", {"sampling": "epochs"}),
        ("batch_size", {"batch_size": 3}),
        ("quantities", {"quantities": ("varianc",)}),
        ("examples", {"examples": 1}),
        ("record_every", {"record_every": 2, "quantities": ("supersample",)}),
        ("errors_every", {"record_every": 2, "errors_every": 3}),
        ("trained", {"trained": "trunk"}),
    ],
)
def test_settings_are_refused_by_name(name, options):
    with pytest.raises(InvalidInputError, match=f"^{name}:"):
        NoisyTraining(**options)


def test_what_does_not_fit_is_refused_before_training(digits):
    network, data, params = digits
    schedule, key = noise_schedules.constant(3, 0.1), jax.random.key(0)
    with pytest.raises(InvalidInputError, match=r"^record_every: found 2 for 3 steps"):
        make(network, NoisyTraining(record_every=2))(params, data, key, schedule)
    with pytest.raises(InvalidInputError, match=r"^batch_size: found 13"):
        make(network, NoisyTraining("epochs", 13))(params, data, key, schedule)
    with pytest.raises(InvalidInputError, match=r"^examples: found 64"):
        make(network, NoisyTraining(quantities=("variance",)))(params, data, key, schedule)
    normal = models.create("resnet", image_shape=(8, 8, 1), num_classes=3)
    with pytest.raises(InvalidInputError, match=r"^network: .* couples"):
        make(normal, NoisyTraining())(None, data, key, schedule)
