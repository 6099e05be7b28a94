"""Populations: same numbers in every form, stopping rules, divergence, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import errors
from genjax.data import Examples
from genjax.training import ModelConfig, SweepConfig, TrainingConfig, TrainingData, execution, sweep
from genjax.training import segment as seg

KEY = jax.random.key(5)


def params_of(population, index=0):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(population.groups[index].params)]


def assert_same(a, b, tolerance):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig("mlp", {"widths": (8,)}),
        pytest.param(ModelConfig("cnn", {"channels": (2, 3)}), marks=pytest.mark.slow),
    ],
    ids=["mlp", "cnn"],
)
def test_same_numbers_in_every_form(model, few_digits, small_sweep):
    assert len(jax.devices()) == 2
    config = small_sweep(model=model, max_steps=12, record_every=6, hyper={"dropout_rate": (0.1,)})
    one, two = jax.devices()[:1], jax.devices()[:2]
    forms = [
        execution.choose(one),  # mapped on one device
        execution.choose(one)._replace(batch=None),  # vmapped
        execution.choose(two),  # two devices, padded from 3 to 4 networks
    ]
    if model.name == "mlp":
        forms.append(execution.choose(one)._replace(batch=2))  # vmapped two by two
    results = [params_of(sweep(config, few_digits, KEY, form=form)) for form in forms]
    for other in results[1:]:
        assert_same(results[0], other, 2e-5)
    alone = params_of(sweep(dataclasses.replace(config, seeds=1), few_digits, KEY))
    assert_same([leaf[:1] for leaf in results[0]], alone, 2e-5)


def test_segment_equals_a_plain_loop_of_steps(few_digits, small_sweep):
    config = small_sweep(seeds=1)
    group = sweep(config, few_digits, KEY).groups[0]
    from genjax.training import HyperParameters
    from genjax.training.step import make_step

    init, step = make_step(group.network, config.training[0])
    hyper, key = HyperParameters(), jax.random.fold_in(KEY, 0)
    learner, step = init(jax.random.fold_in(key, 2), hyper), jax.jit(step)
    for t in range(30):
        epoch, within = divmod(t, len(few_digits) // 32)
        order = seg.epoch_order(key, epoch, len(few_digits))[within * 32 : within * 32 + 32]
        batch = (jnp.asarray(few_digits.images)[order], jnp.asarray(few_digits.labels)[order])
        learner, _ = step(learner, batch, seg.step_key(key, t), hyper)
    expected = [np.asarray(v) for v in jax.tree.leaves(learner.parameters)]
    assert_same([leaf[0] for leaf in params_of(sweep(config, few_digits, KEY))], expected, 2e-5)


def test_an_epoch_sees_every_example_once():
    order = np.asarray(seg.epoch_order(KEY, 3, 100))
    assert sorted(order) == list(range(100))
    assert not np.array_equal(order, np.asarray(seg.epoch_order(KEY, 4, 100)))


def test_records_equal_a_direct_evaluation(few_digits, small_sweep):
    group = sweep(small_sweep(), few_digits, KEY).groups[0]
    for i in range(3):
        logits = np.asarray(
            group.network.apply(group.network_params(i), few_digits.images), np.float64
        )
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        loss = -log_p[np.arange(len(few_digits)), few_digits.labels].mean()
        np.testing.assert_allclose(group.history.loss[-1, i], loss, rtol=1e-5)
        accuracy = np.mean(logits.argmax(1) == few_digits.labels)
        np.testing.assert_allclose(group.history.accuracy[-1, i], accuracy, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 511, 512, 513, 1100])
def test_chunked_evaluation_counts_every_example_once(count, getkey):
    from genjax import models

    network = models.create("mlp", image_shape=(2, 2, 1), num_classes=3, widths=(4,))
    params = network.fold(*network.init(getkey()))
    images = jax.random.normal(getkey(), (count, 2, 2, 1))
    labels = jax.random.randint(getkey(), (count,), 0, 3)
    loss, accuracy = jax.jit(lambda *a: seg.evaluate(network, *a))(params, images, labels)
    log_p = np.asarray(jax.nn.log_softmax(network.apply(params, images)))
    np.testing.assert_allclose(loss, -log_p[np.arange(count), labels].mean(), rtol=1e-5)
    np.testing.assert_allclose(accuracy, np.mean(log_p.argmax(1) == labels), rtol=1e-6)


def test_threshold_rule_stops_each_network_by_itself(few_digits, small_sweep):
    config = small_sweep(
        stop="cross_entropy", threshold=0.05, max_steps=400, hyper={"learning_rate": (0.02, 0.3)}
    )
    group = sweep(config, few_digits, KEY).groups[0]
    assert np.all(group.status == seg.REACHED)
    assert np.all(group.last("loss") < 0.05)
    slow, fast = group.stop_step[:3], group.stop_step[3:]
    assert fast.max() < slow.min()
    before = group.history.loss[slow[0] // 10 - 2, 0]
    assert before >= 0.05  # it did not run on after the record that stopped it
    assert np.isnan(group.history.loss[-1, 3:]).all()


def test_early_stopping_returns_the_best_parameters(few_digits, small_sweep):
    halves = few_digits.take(np.arange(0, 200, 2)), few_digits.take(np.arange(1, 200, 2))
    config = small_sweep(
        stop="early_stopping", patience=3, max_steps=600, hyper={"learning_rate": (0.3,)}
    )
    group = sweep(config, TrainingData(*halves), KEY).groups[0]
    assert np.all(group.status == seg.STOPPED_EARLY)
    for i in range(3):
        curve = group.history.validation_accuracy[:, i]
        best = np.nanmax(curve)
        first = np.nanargmax(curve)
        assert group.stop_step[i] == 10 * (first + 1 + 3)
        logits = group.network.apply(group.network_params(i), halves[1].images)
        accuracy = np.mean(np.asarray(logits).argmax(1) == halves[1].labels)
        np.testing.assert_allclose(accuracy, best, atol=1e-6)
        for field in ("validation_accuracy", "loss", "gradient_norm"):  # of what was kept
            assert group.last(field)[i] == getattr(group.history, field)[first, i]


def test_a_diverging_network_leaves_its_neighbours_alone(few_digits, small_sweep):
    rates = (0.1, 1e38)
    together = sweep(small_sweep(hyper={"learning_rate": rates}), few_digits, KEY)
    group = together.groups[0]
    assert group.status.tolist() == [seg.EXHAUSTED] * 3 + [seg.DIVERGED] * 3
    assert all(np.isfinite(leaf).all() for leaf in params_of(together))
    alone = sweep(small_sweep(hyper={"learning_rate": (0.1,)}), few_digits, KEY)
    assert_same([leaf[:3] for leaf in params_of(together)], params_of(alone), 1e-6)
    table = together.table()
    assert (table["metric.status"] == "diverged").sum() == 3
    assert together.alive() == 3


def test_all_diverged_is_an_error(few_digits, small_sweep):
    with pytest.raises(errors.DivergenceError, match="all 3 networks diverged"):
        sweep(small_sweep(hyper={"learning_rate": (1e38,)}), few_digits, KEY)


def test_table_has_one_row_per_network_and_its_settings(few_digits, small_sweep):
    config = small_sweep(hyper={"learning_rate": (0.1, 0.2), "weight_decay": (0.0, 0.01)}, seeds=2)
    table = sweep(config, few_digits, KEY).table()
    assert len(table) == 8
    assert table["network"].is_unique
    settings = table.groupby(["hp.learning_rate", "hp.weight_decay"])["seed"].apply(sorted)
    assert settings.tolist() == [[0, 1]] * 4


def test_init_parameters_are_kept(few_digits, small_sweep):
    group = sweep(small_sweep(), few_digits, KEY).groups[0]
    kernel = np.asarray(group.init_params["output"]["kernel"])
    assert kernel.shape == np.asarray(group.params["output"]["kernel"]).shape
    assert not np.allclose(kernel, group.params["output"]["kernel"])
    assert not np.allclose(kernel[0], kernel[1])


@pytest.mark.slow
def test_normalised_and_attention_models_train_in_a_sweep(few_digits):
    models = [
        ModelConfig("resnet", {"depth": 8, "width": 0.25}),
        ModelConfig("vit", {"patch": 4, "width": 8, "depth": 1, "heads": 2}),
    ]
    rules = TrainingConfig(optimizer="adam", max_steps=20, record_every=10, stop="steps")
    config = SweepConfig(models, [rules], {"learning_rate": (0.01,)}, 2)
    population = sweep(config, few_digits, KEY)
    for group in population.groups:
        assert np.all(np.diff(group.history.loss, axis=0) < 0)


def test_augmentation_runs_in_a_sweep(few_digits, small_sweep):
    plain = params_of(sweep(small_sweep(), few_digits, KEY))
    moved = params_of(sweep(small_sweep(augmentation=("crop", "rotation")), few_digits, KEY))
    assert not np.allclose(plain[0], moved[0])
    assert all(np.isfinite(leaf).all() for leaf in moved)


def test_progress_reaches_the_total(few_digits, small_sweep):
    seen = []
    sweep(small_sweep(), few_digits, KEY, on_progress=lambda *a: seen.append(a))
    assert [s[0] for s in seen] == [0, 30, 60, 90]
    assert {s[1] for s in seen} == {90}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": "momentun"}, "did you mean 'momentum'"),
        ({"schedule": "linear"}, "training.schedule"),
        ({"stop": "never"}, "training.stop"),
        ({"batch_size": 0}, "training.batch_size"),
        ({"max_steps": -3}, "training.max_steps"),
        ({"threshold": 0.0}, "training.threshold"),
        ({"warmup": 1.0}, "training.warmup"),
    ],
)
def test_bad_rules_are_named(change, words):
    with pytest.raises(errors.InvalidInputError, match=words):
        TrainingConfig(**change)


@pytest.mark.parametrize(
    ("hyper", "words"),
    [
        ({"lr": (0.1,)}, "sweep.hyper: unknown name 'lr'"),
        ({"learning_rate": (-0.1,)}, "learning_rate: found -0.1"),
        ({"dropout_rate": (1.0,)}, r"dropout_rate: found 1.0; allowed is \[0, 1\)"),
        ({"learning_rate": (float("nan"),)}, "learning_rate: found nan"),
        ({"learning_rate": ()}, "found no value"),
    ],
)
def test_bad_hyper_parameters_are_named(hyper, words):
    with pytest.raises(errors.InvalidInputError, match=words):
        SweepConfig([ModelConfig("mlp")], hyper=hyper)


def test_early_stopping_needs_validation(few_digits, small_sweep):
    with pytest.raises(errors.InvalidInputError, match="without validation examples"):
        sweep(small_sweep(stop="early_stopping"), few_digits, KEY)


def test_empty_sweep_is_refused():
    with pytest.raises(errors.InvalidInputError, match="at least one of each"):
        SweepConfig([])
    with pytest.raises(errors.InvalidInputError, match=r"sweep\.seeds"):
        SweepConfig([ModelConfig("mlp")], seeds=0)


def test_examples_fewer_than_a_batch_still_train(few_digits, small_sweep):
    few = few_digits.take(np.arange(10))
    assert isinstance(few, Examples)
    population = sweep(small_sweep(batch_size=64), few, KEY)
    assert population.alive() == 3
