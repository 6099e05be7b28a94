"""Networks trained on supersamples and on samples with one example replaced."""

import jax
import numpy as np
import pytest

from genjax import data, errors, models
from genjax.metrics.information import stability, supersample
from genjax.training import TrainingConfig

KEY = jax.random.key(0)
RULES = TrainingConfig(batch_size=8, max_steps=30, record_every=30, stop="steps")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def mlp():
    return models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))


def test_masks_choose_one_of_every_pair():
    drawn = supersample.draw(50, num_pairs=6, num_supersamples=2, num_masks=4, seed=1)
    own = drawn.trained_on()
    assert own.shape == (8, 6)
    assert np.all(drawn.masks.mean(axis=1) == 0.5)
    for run, chosen in enumerate(own):
        pairs, mask = drawn.pairs[run // 4], drawn.masks[run // 4, run % 4]
        assert chosen.tolist() == [int(pairs[i, mask[i]]) for i in range(6)]
    assert all(len(set(pairs.ravel().tolist())) == 12 for pairs in drawn.pairs)


def test_outcomes_are_those_of_the_networks(digits, mlp):
    drawn = supersample.draw(len(digits), num_pairs=40, num_supersamples=2, num_masks=2, seed=0)
    group = supersample.train(mlp, RULES, digits, drawn, KEY)
    found = supersample.outcomes(group, digits, drawn)
    run = 0
    for k in range(2):
        for m in range(2):
            params = group.network_params(run)
            for half in (0, 1):
                chosen = drawn.pairs[k, :, half]
                predicted = np.argmax(mlp.apply(params, digits.images[chosen]), axis=-1)
                np.testing.assert_array_equal(found.predictions[k, m, :, half], predicted)
                wrong = predicted != digits.labels[chosen]
                np.testing.assert_array_equal(found.errors[k, m, :, half], wrong)
            run += 1
    trained = np.argmax(mlp.apply(group.network_params(3), digits.images[drawn.trained_on()[3]]), 1)
    error = np.mean(trained != digits.labels[drawn.trained_on()[3]])
    assert found.train_error()[1, 1] == pytest.approx(float(error))
    assert found.gap().shape == (2, 2)
    np.testing.assert_allclose(group.last("accuracy"), 1 - found.train_error().ravel(), atol=1e-6)


def test_one_start_for_all_masks_where_the_algorithm_is_deterministic(digits, mlp):
    drawn = supersample.draw(len(digits), num_pairs=40, num_supersamples=1, num_masks=4, seed=0)
    same = supersample.train(mlp, RULES, digits, drawn, KEY, random_seeds=False)
    own = supersample.train(mlp, RULES, digits, drawn, KEY)
    start, others = (g.init_params["dense1"]["kernel"] for g in (same, own))
    assert np.all(start == start[:1])
    assert np.any(others[1] != others[0])


def test_masks_that_leave_a_class_without_examples_are_refused(digits, mlp):
    drawn = supersample.draw(len(digits), num_pairs=10, num_supersamples=1, num_masks=6, seed=0)
    with pytest.raises(errors.InvalidInputError, match=r"masks: mask .* leaves nothing of class"):
        supersample.train(mlp, RULES, digits, drawn, KEY)


def test_stability_is_that_of_a_plain_loop(digits, mlp):
    drawn = stability.replace_one(1000, sample_size=30, replacements=3, seed=0)
    group = stability.retrain(mlp, RULES, digits, drawn.samples, KEY)
    test = digits.take(np.arange(1000, 1400))
    found = stability.measure(group, digits, drawn, test)

    def wrong(network, chosen):
        predicted = np.argmax(mlp.apply(group.network_params(network), digits.images[chosen]), 1)
        return (predicted != digits.labels[chosen]).astype(float)

    pool = np.arange(1000, 1400)
    average = [
        wrong(0, drawn.fresh[i : i + 1])[0] - wrong(i + 1, drawn.fresh[i : i + 1])[0]
        for i in range(3)
    ]
    moved = [np.abs(wrong(0, pool) - wrong(i + 1, pool)) for i in range(3)]
    own = [
        np.abs(wrong(0, drawn.samples[0][[p]]) - wrong(i + 1, drawn.samples[0][[p]]))[0]
        for i, p in enumerate(drawn.places)
    ]
    assert found.average == pytest.approx(np.mean(average))
    assert found.hypothesis == pytest.approx(np.mean(moved))
    assert found.uniform == pytest.approx(np.mean(moved, axis=0).max())
    assert found.pointwise == pytest.approx(np.mean(own))
    assert found.gap == pytest.approx(wrong(0, pool).mean() - wrong(0, drawn.samples[0]).mean())


def test_replacing_an_example_by_itself_changes_nothing(digits, mlp):
    samples = np.tile(np.arange(30), (2, 1))
    group = stability.retrain(mlp, RULES, digits, samples, KEY)
    for leaf in jax.tree.leaves(group.params):
        np.testing.assert_array_equal(leaf[0], leaf[1])


def test_gap_is_the_mean_of_average_stability():
    # The majority of three fair bits, all samples and fresh bits (exact identity).
    bits = np.array(np.meshgrid(*[[0, 1]] * 6)).reshape(6, -1).T
    sample, fresh = bits[:, :3], bits[:, 3:]
    learned = (sample.sum(1) > 1.5).astype(int)
    gap = np.mean(0.5 - (learned[:, None] != sample).mean(axis=1))
    per = []
    for i in range(3):
        replaced = sample.copy()
        replaced[:, i] = fresh[:, i]
        other = (replaced.sum(1) > 1.5).astype(int)
        per.append((learned != fresh[:, i]).astype(float) - (other != fresh[:, i]))
    assert np.mean(per) == pytest.approx(gap)
    assert gap == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: supersample.draw(10, num_pairs=6, num_supersamples=1, num_masks=2, seed=0),
         "num_pairs: found 6; allowed are 1 to 5"),
        (lambda: supersample.draw(10, num_pairs=2, num_supersamples=1, num_masks=1, seed=0),
         "num_supersamples and num_masks: found 1 and 1"),
        (lambda: stability.replace_one(10, sample_size=8, replacements=3, seed=0),
         "replacements and sample_size: found 3 and 8"),
        (lambda: stability.leave_one_out(np.arange(3), left_out=4, seed=0),
         "left_out: found 4"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        call()


def test_leaving_one_out_leaves_the_others():
    found = stability.leave_one_out(np.array([5, 6, 7]), left_out=3, seed=0)
    assert sorted(map(tuple, found.tolist())) == [(5, 6), (5, 7), (6, 7)]


def test_a_diverged_base_is_refused(digits, mlp):
    drawn = stability.replace_one(1000, sample_size=30, replacements=1, seed=0)
    group = stability.retrain(mlp, RULES, digits, drawn.samples, KEY)
    dead = group._replace(status=np.full(2, 4))
    with pytest.raises(errors.InvalidInputError, match="diverged"):
        stability.measure(dead, digits, drawn, digits)
