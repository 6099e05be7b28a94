"""Tangent kernels against gradients written out by hand, and complexities against dense algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, models
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import kernel, tangent_kernel

RNG = np.random.default_rng(0)
CLASSES, UNITS = 3, 5
IMAGES = jnp.asarray(RNG.random((6, 2, 2, 1)), jnp.float32)


@pytest.fixture(scope="module")
def toy():
    net = models.create("mlp", image_shape=(2, 2, 1), num_classes=CLASSES, widths=(UNITS,))
    params = net.fold(*net.init(jax.random.key(0)))
    return net, jax.tree.map(lambda w: w + 0.1, params)


def gradients(params):
    """Return the gradients [n, C, P] of a two-layer ReLU network, float64."""
    first, last = params["dense1"], params["output"]
    w, b, v = (np.asarray(a, np.float64) for a in (first["kernel"], first["bias"], last["kernel"]))
    rows = []
    for x in np.asarray(IMAGES, np.float64).reshape(len(IMAGES), -1):
        before = x @ w + b
        hidden, on = np.maximum(before, 0), (before > 0).astype(float)
        for c in range(CLASSES):
            output = np.eye(CLASSES)[c]
            back = v[:, c] * on
            parts = [back, np.outer(x, back), output, np.outer(hidden, output)]
            rows.append(np.concatenate([part.reshape(-1) for part in parts]))
    return np.array(rows).reshape(len(IMAGES), CLASSES, -1)


@pytest.mark.parametrize("held", [10**6, 400, 100])
def test_every_form_is_that_of_gradients_by_hand(toy, held):
    net, params = toy
    by_hand = gradients(params)

    def found(form):
        ntk = jax.jit(
            lambda p: tangent_kernel.empirical_ntk(net.apply, p, IMAGES, form=form, held=held)
        )
        return np.asarray(ntk(params))

    flat = by_hand.reshape(len(IMAGES) * CLASSES, -1)
    np.testing.assert_allclose(found("full"), flat @ flat.T, rtol=1e-5, atol=1e-5)
    trace = np.einsum("icp,jcp->ij", by_hand, by_hand) / CLASSES
    np.testing.assert_allclose(found("trace"), trace, rtol=1e-5, atol=1e-5)
    summed = by_hand.sum(1)
    np.testing.assert_allclose(found("sum"), summed @ summed.T / CLASSES, rtol=1e-5, atol=1e-5)


def test_convolutions_of_every_form_have_the_same_kernel():
    found = []
    images = jnp.asarray(RNG.random((3, 8, 8, 1)), jnp.float32)
    for form in ("canonical", "plain"):
        net = models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(4,), form=form)
        params = net.fold(*net.init(jax.random.key(0)))
        found.append(
            jax.jit(lambda p, n=net: tangent_kernel.empirical_ntk(n.apply, p, images))(params)
        )
        if form == "plain":
            jacobian = jax.jacrev(lambda p, n=net: n.apply(p, images))(params)
    rows = np.concatenate(
        [np.asarray(leaf, np.float64).reshape(3, 3, -1) for leaf in jax.tree.leaves(jacobian)], 2
    )
    np.testing.assert_allclose(found[0], np.einsum("icp,jcp->ij", rows, rows) / 3, rtol=1e-5)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_an_unknown_form_is_refused(toy):
    net, params = toy
    with pytest.raises(InvalidInputError, match="did you mean 'trace'"):
        tangent_kernel.empirical_ntk(net.apply, params, IMAGES, form="trac")


def test_the_analytic_kernel_is_the_mean_over_random_hidden_units():
    inputs = RNG.normal(size=(5, 7))
    unit = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
    found = np.asarray(tangent_kernel.two_layer_relu_kernel(jnp.asarray(inputs, jnp.float32)))
    # E over w of x.x' 1[w.x > 0] 1[w.x' > 0], with 400,000 draws: standard error below 0.0008.
    on = (RNG.normal(size=(400_000, 7)) @ unit.T > 0).astype(float)
    expected = (unit @ unit.T) * (on.T @ on / len(on))
    np.testing.assert_allclose(found, expected, atol=4e-3)
    np.testing.assert_allclose(np.diag(found), 0.5, atol=1e-6)


def test_complexity_and_dimension_are_those_of_dense_algebra():
    factors, targets = RNG.normal(size=(20, 30)), RNG.normal(size=(20, 2))
    gram = factors @ factors.T
    added = 1e-3 * np.trace(gram) / 20 * np.eye(20)
    expected = np.sqrt(2 * np.trace(targets.T @ np.linalg.solve(gram + added, targets)) / 20)
    single = (jnp.asarray(gram, jnp.float32), jnp.asarray(targets, jnp.float32))
    assert float(tangent_kernel.label_complexity(*single, 1e-3)) == pytest.approx(
        expected, rel=1e-4
    )
    dimension = np.trace(gram @ np.linalg.inv(gram + added))
    found = tangent_kernel.effective_dimension(single[0], 1e-3)
    assert float(found) == pytest.approx(dimension, rel=1e-4)
    # Targets in the span of the first eigenvector: |y|^2 = 1 over its eigenvalue.
    values, vectors = np.linalg.eigh(gram)
    one = jnp.asarray(vectors[:, -1:], jnp.float32)
    assert float(tangent_kernel.label_complexity(single[0], one, 0.0)) == pytest.approx(
        np.sqrt(2 / values[-1] / 20), rel=1e-4
    )


def test_random_labels_cost_more_than_true_ones():
    # What the complexity was made for: Arora et al. 2019, figure 1.
    digits = data.load("digits").take(range(200))
    inputs = jnp.asarray(digits.images.reshape(200, -1))
    gram = tangent_kernel.two_layer_relu_kernel(inputs)
    true = jax.nn.one_hot(digits.labels, 10)
    cost = [
        float(tangent_kernel.label_complexity(gram, true[RNG.permutation(200)])) for _ in range(3)
    ]
    assert float(tangent_kernel.label_complexity(gram, true)) < 0.7 * min(cost)


def test_alignment_is_the_cosine_of_centred_kernels():
    first, second = (f @ f.T for f in (RNG.normal(size=(12, 3)), RNG.normal(size=(12, 4))))
    centre = np.eye(12) - 1 / 12
    for centred, middle in ((False, np.eye(12)), (True, centre)):
        a, b = middle @ first @ middle, middle @ second @ middle
        expected = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
        found = tangent_kernel.alignment(
            jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32), centred=centred
        )
        assert float(found) == pytest.approx(expected, rel=1e-4)
    huge = jnp.asarray(1e30 * first, jnp.float32)
    assert float(tangent_kernel.alignment(huge, huge)) == pytest.approx(1.0, rel=1e-5)


@pytest.fixture(scope="module")
def measuring():
    """A trained-looking and an initial network on digits, and their measures as a function."""
    net = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(6,))
    images = complexity.measure_data(data.load("digits").take(range(30)))

    def measure(params, start):
        trained = complexity.Trained(params, start, None, None, None, None, 0)
        return complexity.compute(["kernel"], net, trained, images, jax.random.key(1))[0]

    return net, images, measure


def test_every_measure_is_that_of_kernels_by_hand(measuring):
    net, images, measure = measuring
    end, start = (net.fold(*net.init(jax.random.key(seed))) for seed in (0, 1))
    found = {name: float(v[0]) for name, v in jax.jit(measure)(end, start).items()}
    inputs = jnp.asarray(images.train.images)

    def ntk(params):
        jacobian = jax.jacrev(lambda p: net.apply(p, inputs))(params)
        rows = [np.asarray(a, np.float64).reshape(30, 10, -1) for a in jax.tree.leaves(jacobian)]
        return np.concatenate(rows, 2)

    def cosine(a, b, middle):
        a, b = middle @ a @ middle, middle @ b @ middle
        return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)

    def cost(gram):
        added = kernel.RIDGE * np.trace(gram) / 30 * np.eye(30)
        return np.sqrt(2 * np.trace(targets.T @ np.linalg.solve(gram + added, targets)) / 30)

    targets = np.eye(10)[images.train.labels]
    wanted, plain, centre = targets @ targets.T, np.eye(30), np.eye(30) - 1 / 30
    rows = ntk(end)
    last, first = (np.einsum("icp,jcp->ij", r, r) / 10 for r in (rows, ntk(start)))
    added = kernel.DIMENSION_RIDGE * np.trace(last) / 30 * np.eye(30)
    expected = {
        "ntk_complexity": cost(last),
        "ntk_complexity_init": cost(first),
        "pseudo_ntk_complexity": cost(rows.sum(1) @ rows.sum(1).T / 10),
        "ntk_target_alignment": cosine(last, wanted, plain),
        "ntk_centred_alignment": cosine(last, wanted, centre),
        "ntk_centred_alignment_init": cosine(first, wanted, centre),
        "ntk_alignment_change": cosine(last, wanted, centre) - cosine(first, wanted, centre),
        "ntk_movement": 1 - cosine(last, first, centre),
        "ntk_effective_dimension": np.trace(last @ np.linalg.inv(last + added)),
    }
    for name, number in expected.items():
        assert found[name] == pytest.approx(number, rel=2e-3, abs=1e-5), name


def test_over_networks_the_numbers_are_those_of_each_and_dead_ones_are_refused(measuring):
    net, _, measure = measuring
    params = [net.fold(*net.init(jax.random.key(seed))) for seed in (0, 1)]
    pair = jax.tree.map(lambda *w: jnp.stack(w), *params)
    together = jax.jit(jax.vmap(measure, in_axes=(0, None)))(pair, params[1])
    alone = jax.jit(measure)
    for i, one in enumerate(params):
        for name, (amount, _) in alone(one, params[1]).items():
            np.testing.assert_allclose(
                together[name][0][i], amount, rtol=1e-3, atol=1e-5, err_msg=name
            )
    nothing = models.from_function(
        lambda p, x: 0.0 * jnp.sum(p) + jnp.zeros((x.shape[0], 3)),
        jnp.ones(2),
        image_shape=(8, 8, 1),
        num_classes=3,
    ).network
    trained = complexity.Trained(jnp.ones(2), jnp.ones(2), None, None, None, None, 0)
    digits = data.load("digits")
    few = complexity.measure_data(digits.take(np.flatnonzero(digits.labels < 3)[:6]))
    found, _ = complexity.compute(["ntk_complexity"], nothing, trained, few, jax.random.key(0))
    assert int(found["ntk_complexity"][1]["refusal"]) == complexity.Refusal.DEGENERATE


def test_the_complexity_of_labels_is_that_of_float64_where_eigenvalues_are_small():
    spectrum = np.geomspace(1.0, 1e-7, 300)
    basis = np.linalg.qr(RNG.normal(size=(300, 300)))[0]
    gram = (basis * spectrum) @ basis.T
    targets = np.eye(10)[RNG.integers(0, 10, 300)]
    ridge = 1e-4 * np.trace(gram) / 300
    energy = np.sum(targets * np.linalg.solve(gram + ridge * np.eye(300), targets))
    found = tangent_kernel.label_complexity(jnp.float32(gram), jnp.float32(targets), 1e-4)
    assert float(found) == pytest.approx(np.sqrt(2 * energy / 300), rel=5e-4)
    # Rounding may leave a negative eigenvalue, of which there is no factor: it counts as zero.
    broken = gram - 3 * ridge * np.outer(basis[:, -1], basis[:, -1])
    found = tangent_kernel.label_complexity(jnp.float32(broken), jnp.float32(targets), 1e-4)
    assert float(found) == pytest.approx(np.sqrt(2 * energy / 300), rel=2e-2)
