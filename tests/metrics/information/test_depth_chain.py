"""What layers tell about who was trained on."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from genjax import data, errors, models
from genjax.data import Examples
from genjax.metrics.information import depth_chain, supersample
from genjax.training import TrainingConfig

RULES = TrainingConfig(batch_size=20, max_steps=400, record_every=50, stop="cross_entropy")


@pytest.fixture(scope="module")
def trained():
    digits = data.load("digits")
    assert isinstance(digits, Examples)
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(32, 32))
    drawn = supersample.draw(len(digits), num_pairs=90, num_supersamples=2, num_masks=12, seed=0)
    group = supersample.train(network, RULES, digits, drawn, jax.random.key(0))
    return group, digits, drawn, supersample.outcomes(group, digits, drawn)


def test_layers_tell_something_and_never_more_than_a_coin(trained):
    found = depth_chain.chain(*trained)
    assert found.links == (
        "block1", "block2", "logits", "predictions", "losses", "differences",
    )  # fmt: skip
    assert np.all(found.information <= np.log(2))
    mean = found.information.mean(axis=0)
    assert mean[2] > 0.01  # losses of what was trained on are smaller
    assert mean[-1] <= mean[-2] + 1e-3
    kept = found.losses()
    assert kept.shape == (5,)
    assert np.all(kept[np.isfinite(kept)] >= 0)


def test_untrained_networks_tell_nothing(trained):
    group, digits, drawn, found = trained
    told = depth_chain.chain(group._replace(params=group.init_params), digits, drawn, found)
    assert np.all(told.information[:, :3] < 0.02)


def test_statistics_are_those_of_a_plain_loop(trained):
    group, digits, *_ = trained
    params, images, labels = group.network_params(0), digits.images[:12], digits.labels[:12]
    found = depth_chain.statistics(group.network, params, images, labels)
    points = np.asarray(group.network.taps(params, images)["block2"], np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for column, same in ((1, True), (2, False)):
        near = np.array([
            min((distances[i, j] for j in range(12)
                 if j != i and (labels[i] == labels[j]) == same), default=np.inf)
            for i in range(12)
        ])  # fmt: skip
        finite = np.isfinite(near)
        expected = np.where(finite, near / near[finite].mean() if finite.any() else 0.0, 0.0)
        np.testing.assert_allclose(found["block2"][:, column], expected, rtol=1e-3, atol=1e-4)
    logits = np.asarray(group.network.apply(params, images), np.float64)
    chances = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -chances[np.arange(12), labels]
    np.testing.assert_allclose(found["logits"][:, 0], loss, rtol=1e-3, atol=1e-5)
    margin = logits[np.arange(12), labels] - np.where(
        np.arange(10) == labels[:, None], -np.inf, logits
    ).max(axis=1)
    np.testing.assert_allclose(found["logits"][:, 2], margin, rtol=1e-4)


def test_too_few_masks_are_refused(trained):
    group, digits, drawn, found = trained
    few = drawn._replace(masks=drawn.masks[:, :3])
    with pytest.raises(errors.InvalidInputError, match="drawn: found 3 masks"):
        depth_chain.chain(group, digits, few, found)


def test_opposite_masks_stay_together_whoever_diverged():
    # The oracle splits by hand; splitting those alive by their place would part 2 from 3.
    rng = np.random.default_rng(0)
    half = rng.integers(2, size=(4, 300))
    masks = np.stack([half, 1 - half], axis=1).reshape(8, 300)
    features = np.where(masks == 1, 1.0, -1.0)[..., None] + rng.normal(size=(8, 300, 1))
    alive = np.ones(8, bool)
    alive[0] = False
    found = depth_chain._told(features, masks, alive)
    kept = [np.array([1, 4, 5]), np.array([2, 3, 6, 7])]
    total = 0.0
    for fitted, judged in (kept, kept[::-1]):
        rows, coins = features[fitted].reshape(-1, 1), masks[fitted].ravel()
        scale = rows.std()
        teller = LogisticRegression(fit_intercept=False, max_iter=200).fit(rows / scale, coins)
        score = np.clip(features[judged].ravel() / scale * teller.coef_[0, 0], -5, 5)
        total += np.logaddexp(0, -(2 * masks[judged].ravel() - 1) * score).sum()
    assert found == pytest.approx(np.log(2) - total / (7 * 300), rel=1e-6)
