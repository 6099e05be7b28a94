"""Attacks: closed forms, brute force, PyTorch's gradients, and what they must never do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models
from genjax.errors import InvalidInputError
from genjax.metrics import robustness
from genjax.training import TrainingConfig
from genjax.training.resamples import Own, train_resamples

KEY = jax.random.key(3)
SLOW = ("pgd", "auto_pgd", "auto_pgd_ratio")


@pytest.fixture(scope="module")
def trained():
    """Three small networks that err on few digits, and test examples."""
    digits = data.load("digits")
    network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(16,))
    rules = TrainingConfig("adam", max_steps=300, record_every=300, stop="steps", batch_size=32)
    own = Own(np.arange(1200).reshape(3, 400))
    own = own._replace(hyper=own.hyper._replace(learning_rate=0.01))
    group = train_resamples(network, rules, digits, own, jax.random.split(KEY, 3))
    return group, digits.images[1200:1320], digits.labels[1200:1320]


@pytest.fixture(scope="module")
def attacked(trained):
    """The first network under every attack: (attack, epsilon) -> what was found."""
    group, images, labels = trained
    params, apply = group.network_params(0), group.network.apply
    found = {}
    for name, attack in robustness.ATTACKS.items():
        run = jax.jit(lambda e, a=attack: a(apply, params, images, labels, e, KEY, steps=10))
        found |= {(name, e): run(jnp.float32(e)) for e in (0.0, 0.03, 0.1, 0.3)}
    return found


def test_nothing_changes_at_epsilon_zero(trained, attacked):
    for name in robustness.ATTACKS:
        np.testing.assert_array_equal(attacked[name, 0.0].images, trained[1])


def test_attacks_stay_in_the_box_and_in_the_range(trained, attacked):
    for (_, epsilon), found in attacked.items():
        assert found.images.min() >= 0
        assert found.images.max() <= 1
        assert np.abs(found.images - trained[1]).max() <= epsilon + 1e-7


def test_pgd_is_never_weaker_than_fgsm(attacked):
    gained = 0
    for name, epsilon in itertools.product(SLOW, (0.0, 0.03, 0.1, 0.3)):
        fast, slow = attacked["fgsm", epsilon], attacked[name, epsilon]
        assert not np.any(fast.wrong & ~slow.wrong)
        same = np.asarray(fast.wrong == slow.wrong)
        assert np.all(np.asarray(slow.losses >= fast.losses)[same])
        gained += int(np.sum(slow.losses > fast.losses))
    assert gained > 0


def test_what_is_said_of_the_images_is_true_of_them(trained, attacked):
    group, _, labels = trained
    found = attacked["pgd", 0.1]
    logits = np.asarray(group.network.apply(group.network_params(0), found.images), np.float64)
    np.testing.assert_array_equal(found.wrong, logits.argmax(-1) != labels)
    exact = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]
    np.testing.assert_allclose(found.losses, exact, rtol=1e-4, atol=1e-6)


def test_the_ratio_needs_three_classes():
    with pytest.raises(InvalidInputError, match="logits: found 2 classes"):
        robustness.logits_ratio(jnp.zeros(2), 0)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "auto_pgd"])
def test_of_a_linear_network_every_attack_finds_the_worst(name):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(12, 2)).astype(np.float32)
    images = rng.uniform(0.3, 0.7, size=(5, 3, 4, 1)).astype(np.float32)
    labels = np.array([0, 1, 0, 1, 1])
    found = robustness.ATTACKS[name](
        lambda w, x: x.reshape(len(x), -1) @ w, jnp.asarray(weights), jnp.asarray(images),
        jnp.asarray(labels), 0.1, KEY, steps=20,
    )  # fmt: skip
    apart = np.where(labels == 0, 1, -1)[:, None] * (weights[:, 0] - weights[:, 1])
    margins = np.sum(apart * images.reshape(5, -1), axis=1) - 0.1 * np.abs(apart).sum(axis=1)
    np.testing.assert_allclose(found.losses, np.log1p(np.exp(-margins)), rtol=1e-4)
    np.testing.assert_array_equal(found.wrong, margins < 0)


@pytest.mark.peers
def test_fgsm_takes_the_sign_of_pytorchs_gradient(trained, attacked):
    torch = pytest.importorskip("torch")
    group, images, labels = trained
    params = group.network_params(0)
    x = torch.tensor(images.reshape(len(images), -1), dtype=torch.float64, requires_grad=True)
    layers = [[torch.tensor(params[n][p]).double() for p in ("kernel", "bias")]
              for n in ("dense1", "output")]  # fmt: skip
    hidden = torch.relu(x @ layers[0][0] + layers[0][1])
    logits = hidden @ layers[1][0] + layers[1][1]
    torch.nn.functional.cross_entropy(
        logits, torch.tensor(labels).long(), reduction="sum"
    ).backward()
    assert x.grad is not None
    gradient = x.grad.numpy().reshape(images.shape)
    clear = np.abs(gradient) > 1e-6 * np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)
    expected = np.clip(images + 0.1 * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(
        np.asarray(attacked["fgsm", 0.1].images)[clear], expected[clear], atol=1e-6
    )
    assert clear.mean() > 0.9


def test_auto_pgd_finds_what_a_grid_finds():
    def apply(w, x):
        x = x.reshape(len(x), -1)
        return jnp.stack([jnp.sin(6 * x[:, 0] + w) * jnp.cos(5 * x[:, 1]), x[:, 0] * x[:, 1]], -1)

    image = jnp.array([0.45, 0.6]).reshape(1, 1, 2, 1)
    ends = np.linspace(-0.2, 0.2, 401)
    grid = np.stack(np.meshgrid(0.45 + ends, 0.6 + ends), -1).reshape(-1, 1, 2, 1)
    logits = np.asarray(apply(0.3, jnp.asarray(grid)), np.float64)
    worst = np.max(np.log1p(np.exp(logits[:, 1] - logits[:, 0])))
    found = robustness.auto_pgd(apply, 0.3, image, jnp.array([0]), 0.2, KEY, steps=40)
    assert float(found.losses[0]) == pytest.approx(worst, rel=1e-3)


def test_a_stack_is_attacked_as_its_networks_are(trained, attacked):
    group, images, labels = trained
    for attack in ("fgsm", "pgd"):
        found = robustness.adversarial_errors(
            group, images, labels, (0.0, 0.1), KEY, attack=attack, steps=10
        )
        assert found.shape == (3, 2, len(labels))
        for place, epsilon in enumerate((0.0, 0.1)):
            # Rounding may turn an image that lies on the boundary.
            one = np.asarray(attacked[attack, epsilon].wrong)
            assert np.sum(found[0, place] != one) <= 1
        # The second network as a stack of one.
        single = jax.tree.map(lambda leaf: leaf[1:2], group.params)
        alone = robustness.adversarial_errors(
            group._replace(params=single, seeds=group.seeds[1:2]), images, labels, (0.0, 0.1), KEY,
            attack=attack, steps=10,
        )  # fmt: skip
        assert np.sum(found[1] != alone[0]) <= 1
        assert found[:, 1].mean() > found[:, 0].mean()


def test_what_cannot_be_attacked_is_refused(trained):
    group, images, labels = trained
    for sentence, changed in {
        "attack: unknown name 'pdg'": {"attack": "pdg"},
        "epsilons: found (-0.1,)": {"epsilons": (-0.1,)},
        "steps: found 0": {"steps": 0},
        "images: found values 0.0 to 2.0": {"images": 2 * images},
        "images: found shape": {"images": images[:, :4]},
    }.items():
        asked = {"images": images, "labels": labels, "epsilons": (0.1,), "key": KEY} | changed
        with pytest.raises(InvalidInputError) as caught:
            robustness.adversarial_errors(group, **asked)
        assert sentence in str(caught.value)


def test_the_ratio_is_what_its_formula_says_and_minds_no_scale():
    logits = np.random.default_rng(0).normal(size=(20, 5))
    for row, label in zip(logits, np.arange(20) % 5, strict=True):
        ordered = np.sort(row)[::-1]
        others = np.delete(row, label).max()
        expected = -(row[label] - others) / (ordered[0] - ordered[2])
        for scale in (1.0, 1e4):
            found = robustness.logits_ratio(jnp.asarray(scale * row, jnp.float32), label)
            assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_only_the_ratio_is_climbed_where_the_network_is_too_sure(trained):
    group, images, labels = trained
    params = group.network_params(0)

    def sure(params, images):
        return 1e5 * group.network.apply(params, images)

    errors = {}
    for name in SLOW:
        attack = robustness.ATTACKS[name]
        found = jax.jit(lambda e, a=attack: a(sure, params, images, labels, e, KEY, steps=10))(0.1)
        plain = jax.jit(
            lambda e, a=attack: a(group.network.apply, params, images, labels, e, KEY, steps=10)
        )(0.1)
        errors[name] = float(found.wrong.mean()), float(plain.wrong.mean())
    assert errors["auto_pgd"][0] < 0.8 * errors["auto_pgd"][1]
    assert errors["auto_pgd_ratio"][0] == pytest.approx(errors["auto_pgd_ratio"][1], abs=0.02)
