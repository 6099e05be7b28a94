"""One step against closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from genjax import models
from genjax.training import HyperParameters, TrainingConfig
from genjax.training.config import OPTIMIZERS, SCHEDULES
from genjax.training.optimizer import learning_rate_shape
from genjax.training.step import make_step, soft_cross_entropy


def linear_case(getkey):
    """Softmax regression, whose gradient is x' (softmax(xw + b) - target) / N."""
    network = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=())
    images = jax.random.normal(getkey(), (6, 2, 2, 1))
    labels = jnp.array([0, 1, 2, 2, 1, 0])
    return network, (images, labels)


def closed_form(parameters, batch, targets):
    x = np.asarray(batch[0], np.float64).reshape(6, 4)
    logits = x @ parameters["kernel"] + parameters["bias"]
    excess = (softmax(logits, axis=1) - targets) / 6
    return -np.sum(targets * log_softmax(logits, axis=1)) / 6, x.T @ excess, excess.sum(0)


def to_float64(learner):
    return {k: np.asarray(v, np.float64) for k, v in learner.parameters["output"].items()}


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adamw"])
def test_two_steps_equal_the_formulas(optimizer, getkey):
    network, batch = linear_case(getkey)
    hyper = HyperParameters(learning_rate=0.1, momentum=0.8, weight_decay=0.01, label_smoothing=0.3)
    used = frozenset({"weight_decay", "label_smoothing"})
    init, step = make_step(network, TrainingConfig(optimizer=optimizer), used)
    learner = init(getkey(), hyper)
    w = to_float64(learner)
    targets = 0.7 * np.eye(3)[np.asarray(batch[1])] + 0.1
    velocity = {k: np.zeros_like(v) for k, v in w.items()}
    second = {k: np.zeros_like(v) for k, v in w.items()}
    for t in (1, 2):
        loss, *gradients = closed_form(w, batch, targets)
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
        learner, info = jax.jit(step)(learner, batch, getkey(), hyper)
        np.testing.assert_allclose(info.loss, loss, rtol=1e-5)
        np.testing.assert_allclose(info.gradient_norm, norm, rtol=1e-5)
        for name, gradient in zip(("kernel", "bias"), gradients, strict=True):
            if optimizer == "adamw":  # Loshchilov and Hutter 2019, algorithm 2
                velocity[name] = 0.8 * velocity[name] + 0.2 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                m, v = velocity[name] / (1 - 0.8**t), second[name] / (1 - 0.999**t)
                w[name] = w[name] - 0.1 * (m / (np.sqrt(v) + 1e-8) + 0.01 * w[name])
                continue
            gradient = gradient + 0.01 * w[name]
            decay = 0.0 if optimizer == "sgd" else 0.8
            velocity[name] = decay * velocity[name] + gradient
            ahead = gradient + decay * velocity[name]
            w[name] = w[name] - 0.1 * (ahead if optimizer == "nesterov" else velocity[name])
        for name, expected in w.items():
            np.testing.assert_allclose(learner.parameters["output"][name], expected, atol=2e-6)


def test_sam_takes_the_gradient_at_the_ascended_point(getkey):
    network, batch = linear_case(getkey)
    hyper = HyperParameters(learning_rate=0.1, momentum=0.0, sam_radius=0.5)
    init, step = make_step(network, TrainingConfig(optimizer="sam"))
    learner = init(getkey(), hyper)
    w = to_float64(learner)
    targets = np.eye(3)[np.asarray(batch[1])]
    _, *gradients = closed_form(w, batch, targets)
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    up = {k: w[k] + 0.5 * g / norm for k, g in zip(("kernel", "bias"), gradients, strict=True)}
    _, *ascended = closed_form(up, batch, targets)
    learner, _ = jax.jit(step)(learner, batch, getkey(), hyper)
    for name, gradient in zip(("kernel", "bias"), ascended, strict=True):
        expected = w[name] - 0.1 * gradient
        np.testing.assert_allclose(learner.parameters["output"][name], expected, atol=2e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(optimizer, getkey):
    network, batch = linear_case(getkey)
    hyper = HyperParameters(learning_rate=0.05)
    init, step = make_step(network, TrainingConfig(optimizer=optimizer))
    learner, step, losses = init(getkey(), hyper), jax.jit(step), []
    for _ in range(30):
        learner, info = step(learner, batch, getkey(), hyper)
        losses.append(float(info.loss))
    assert losses[-1] < 0.8 * losses[0]


def test_noise_has_the_asked_for_scale(getkey):
    network, batch = linear_case(getkey)
    hyper = HyperParameters(learning_rate=1.0, momentum=0.0, noise_scale=3.0)
    quiet_init, quiet = make_step(network, TrainingConfig(optimizer="sgd"))
    _, noisy = make_step(network, TrainingConfig(optimizer="sgd"), frozenset({"noise_scale"}))
    learner = quiet_init(getkey(), hyper)
    exact = quiet(learner, batch, getkey(), hyper)[0].parameters["output"]["kernel"]
    keys = jax.random.split(getkey(), 400)
    moved = jax.vmap(lambda k: noisy(learner, batch, k, hyper)[0].parameters)(keys)
    noise = np.asarray(moved["output"]["kernel"]) - np.asarray(exact)[None]
    count = noise.size
    assert abs(noise.std() - 3) < 5 * 3 / np.sqrt(2 * count)
    assert abs(noise.mean()) < 5 * 3 / np.sqrt(count)


def test_mixup_mixes_images_and_targets_alike(getkey):
    # With one-hot images the model's input and target must stay equal under mixing.
    network = models.create("mlp", image_shape=(1, 3, 1), num_classes=3, widths=())
    images = jnp.eye(3).reshape(3, 1, 3, 1)
    init, step = make_step(network, TrainingConfig(optimizer="sgd"), frozenset({"mixup_alpha"}))
    _, plain = make_step(network, TrainingConfig(optimizer="sgd"))
    hyper = HyperParameters(learning_rate=0.1, mixup_alpha=0.0)
    learner, batch = init(getkey(), hyper), (images, jnp.arange(3))
    same, _ = step(learner, batch, getkey(), hyper)
    expected, _ = plain(learner, batch, getkey(), hyper)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    mixed = [
        float(step(learner, batch, getkey(), hyper._replace(mixup_alpha=1.0))[1].loss)
        for _ in range(5)
    ]
    assert len({round(v, 6) for v in mixed}) > 1


def test_soft_cross_entropy_is_in_nats():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    assert np.isclose(soft_cross_entropy(logits, jnp.array([[0.0, 1.0, 0.0]])), np.log(4))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_factors_that_end_low(schedule):
    shape = learning_rate_shape(TrainingConfig(schedule=schedule, max_steps=100, warmup=0.1))
    values = np.array([float(shape(t)) for t in range(101)])
    assert np.isclose(values.max(), 1.0)
    assert np.all(values >= 0)
    if schedule == "constant":
        assert np.all(values == 1)
    else:
        assert values[-1] <= 0.011
    if schedule == "warmup_cosine":
        assert values[0] == 0
        assert np.argmax(values) == 10
