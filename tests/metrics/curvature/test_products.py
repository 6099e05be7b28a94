"""Products with curvature matrices against dense float64 differentiation of the plain network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import CHUNK, LOSSES, MODELS, SIZES, case, exact
from jax.flatten_util import ravel_pytree

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics import curvature, programs

MATRICES = {
    "hessian": curvature.hessian,
    "generalized_gauss_newton": curvature.generalized_gauss_newton,
    "fisher": curvature.fisher,
    "empirical_fisher": curvature.empirical_fisher,
}
TRUTH = {
    "hessian": "hessian",
    "generalized_gauss_newton": "gauss_newton",
    "fisher": "gauss_newton",
    "empirical_fisher": "empirical",
}
heavy = pytest.mark.slow
CASES = [
    pytest.param(name, loss, marks=[heavy] if name in ("resnet", "vit") else [])
    for name in MODELS
    for loss in LOSSES
]


def prepared(name, loss, reduction="mean", dtype=np.float64):
    one = case(name)
    made = curvature.objective(one.network.apply, loss, reduction=reduction, chunk=CHUNK)
    batches = [(images.astype(dtype), labels) for images, labels in one.batches]
    params = jax.tree.map(lambda w: jnp.asarray(w, dtype), one.params)
    return made, params, curvature.pack(made, *batches)


@pytest.mark.parametrize(("name", "loss"), CASES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_products_are_those_of_the_dense_matrices(name, loss, reduction):
    truth = exact(name, loss)
    scale = 1 if reduction == "mean" else sum(SIZES)
    linearised = reduction == "sum"
    with jax.enable_x64(True):
        made, params, chunks = prepared(name, loss, reduction)
        assert chunks.weights.shape == (3, 7)
        flat, unflatten = ravel_pytree(params)
        vector = np.random.default_rng(5).normal(size=len(flat))

        def all_of_them(params, chunks, vector):
            found = {
                matrix: ravel_pytree(
                    make(made, linearised=linearised)(params, chunks)(unflatten(vector))
                )[0]
                for matrix, make in MATRICES.items()
            }
            slope = curvature.gradient(made, params, chunks)
            return curvature.value(made, params, chunks), ravel_pytree(slope)[0], found

        value, gradient, found = jax.jit(all_of_them)(params, chunks, vector)
        np.testing.assert_allclose(value, scale * truth.value, rtol=1e-12)
        np.testing.assert_allclose(gradient, scale * truth.gradient, rtol=1e-9, atol=1e-11 * scale)
        for matrix, product in found.items():
            expected = scale * getattr(truth, TRUTH[matrix]) @ vector
            np.testing.assert_allclose(
                product, expected, rtol=1e-8, atol=1e-10 * scale, err_msg=matrix
            )


@pytest.mark.parametrize("matrix", MATRICES)
def test_single_precision_is_close_and_keeps_its_type(matrix):
    made, params, chunks = prepared("cnn", "cross_entropy", dtype=np.float32)
    flat, unflatten = ravel_pytree(params)
    vector = jax.random.normal(jax.random.key(2), flat.shape)
    product, _ = ravel_pytree(MATRICES[matrix](made)(params, chunks)(unflatten(vector)))
    assert product.dtype == np.float32
    expected = getattr(exact("cnn", "cross_entropy"), TRUTH[matrix]) @ np.asarray(vector)
    assert np.linalg.norm(product - expected) < 2e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("linearised", [False, True])
def test_compiled_is_plain_and_vmapped_is_looped(linearised):
    made, params, chunks = prepared("mlp", "cross_entropy", dtype=np.float32)
    stack = jax.tree.map(lambda w: jnp.stack([w, 1.5 * w, -w]), params)

    def product(params, v):
        return curvature.hessian(made, linearised=linearised)(params, chunks)(v)

    ours = jax.vmap(product)(stack, stack)
    for index in range(3):
        own = jax.tree.map(lambda w, i=index: w[i], stack)
        plain, compiled = product(own, own), jax.jit(product)(own, own)
        for a, b, c in zip(*map(jax.tree.leaves, (plain, compiled, ours)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(a, c[index], rtol=1e-4, atol=1e-6)


def test_one_product_does_for_chunks_of_any_size():
    one = case("mlp")
    found = []
    with jax.enable_x64(True):
        for chunk in (1, 3, 20, 100):
            made = curvature.objective(one.network.apply, chunk=chunk)
            chunks = curvature.pack(made, *one.batches)
            product = curvature.hessian(made)(one.params, chunks)
            found.append(np.asarray(ravel_pytree(product(one.params))[0]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_drawn_labels_give_the_fisher_information_at_their_rate(loss):
    truth = exact("mlp", loss).gauss_newton
    with jax.enable_x64(True):
        made, params, chunks = prepared("mlp", loss)

        def errors(samples, keys):
            matrix = curvature.monte_carlo_fisher(made, samples=samples)

            def error(key):
                found = curvature.dense(matrix(params, chunks, key), params)
                return jnp.linalg.norm(found - truth)

            return np.asarray(jax.jit(lambda keys: jax.lax.map(error, keys))(keys))

        few = errors(20, jax.random.split(jax.random.key(0), 10))
        many = errors(20 * 64, jax.random.split(jax.random.key(1), 3))
    # 64 times as many draws: an eighth of the error.
    assert 4 < np.mean(few) / np.mean(many) < 16
    assert np.mean(many) < 0.1 * np.linalg.norm(truth)


def test_drawn_labels_are_the_same_for_every_vector():
    made, params, chunks = prepared("mlp", "cross_entropy", dtype=np.float32)
    product = curvature.monte_carlo_fisher(made)(params, chunks, jax.random.key(3))
    twice = jax.tree.map(lambda w: 2 * w, product(params))
    for a, b in zip(
        jax.tree.leaves(twice),
        jax.tree.leaves(product(jax.tree.map(lambda w: 2 * w, params))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chosen", [["conv2"], ["['conv2']['kernel']", "output/bias"]])
def test_a_restricted_objective_has_the_diagonal_block(chosen):
    truth = exact("cnn", "cross_entropy").hessian
    with jax.enable_x64(True):
        made, params, chunks = prepared("cnn", "cross_entropy")
        part, own = curvature.restricted(made, params, chosen)
        names = [
            "/".join(key.key for key in path)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            for _ in range(leaf.size)
        ]
        rows = np.flatnonzero([name in own for name in names])
        block = curvature.dense(curvature.hessian(part)(own, chunks), own)
    # A dict is ordered by path, as the leaves of the whole tree are.
    np.testing.assert_allclose(block, truth[np.ix_(rows, rows)], rtol=1e-8, atol=1e-10)


def test_a_loss_of_ones_own():
    def absolute(logits, labels):
        return jnp.sum(jnp.abs(logits - labels[:, None]) ** 3, axis=-1)

    made = curvature.objective(lambda w, x: x @ w, absolute, chunk=2)
    images = jnp.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]])
    labels = jnp.array([1, 0, 2])
    chunks = curvature.pack(made, (images, labels))
    w = jnp.array([[0.3], [0.2]])
    found = curvature.dense(curvature.hessian(made)(w, chunks), w)
    residuals = np.asarray(images @ w)[:, 0] - np.asarray(labels)
    expected = sum(
        6 * abs(r) * np.outer(x, x) for r, x in zip(residuals, np.asarray(images), strict=True)
    )
    np.testing.assert_allclose(found, expected / 3, rtol=1e-5)
    with pytest.raises(InvalidInputError, match="cross_entropy and squared only"):
        curvature.fisher(made)


LAYOUTS = (("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("HWNC", "IHWO", "CNHW"))


@pytest.mark.parametrize(
    ("layout", "window", "strides", "padding", "before", "inside"),
    [
        (0, (1, 1), (1, 1), "SAME", (1, 1), (1, 1)),
        (0, (3, 3), (2, 3), "SAME", (1, 1), (1, 1)),
        (1, (3, 3), (1, 1), "VALID", (1, 1), (2, 1)),
        (2, (2, 5), (2, 3), ((1, 2), (0, 3)), (2, 1), (1, 2)),
        (1, (2, 5), (1, 1), ((-1, 2), (1, 0)), (1, 3), (1, 1)),
        (2, (1, 1), (2, 3), ((-1, 2), (1, 0)), (1, 3), (1, 1)),
    ],
)
def test_convolutions_are_matrix_products(layout, window, strides, padding, before, inside):
    rng, layout = np.random.default_rng(0), LAYOUTS[layout]

    def arranged(array, own, wanted):
        return jnp.asarray(array.transpose([own.index(axis) for axis in wanted]))

    with jax.enable_x64(True):
        images = arranged(rng.normal(size=(2, 7, 9, 3)), "NHWC", layout[0])
        kernel = arranged(rng.normal(size=(*window, 3, 4)), "HWIO", layout[1])

        def convolve(images, kernel):
            return jax.lax.conv_general_dilated(
                images, kernel, strides, padding, before, inside, layout
            )

        replaced = programs.as_matrix_products(convolve, backend="cpu")
        assert "conv_general_dilated" not in str(jax.make_jaxpr(replaced)(images, kernel))
        np.testing.assert_allclose(replaced(images, kernel), convolve(images, kernel), rtol=1e-10)


def test_elsewhere_and_in_groups_convolutions_stay():
    images, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))

    def grouped(images, kernel):
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )

    def plain(images, kernel):
        return jax.lax.conv(images, kernel, (1, 1), "SAME")

    for function, backend in ((grouped, "cpu"), (plain, "gpu")):
        pair = (images, kernel) if function is grouped else (images, jnp.ones((4, 4, 3, 3)))
        replaced = programs.as_matrix_products(function, backend=backend)
        assert "conv_general_dilated" in str(jax.make_jaxpr(replaced)(*pair))
        np.testing.assert_array_equal(replaced(*pair), function(*pair))


def test_what_cannot_be_packed_is_refused():
    made = curvature.objective(lambda w, x: x * w)
    good = (np.ones((3, 4, 4, 1)), np.zeros(3, int))
    for batches, words in [
        ((), "found none"),
        ((good, (np.ones((0, 4, 4, 1)), np.zeros(0, int))), "number 1 has images of shape"),
        (((np.ones((3, 4, 4, 1)), np.zeros(2, int)),), "number 0 has images of shape"),
        ((good, (np.ones((3, 5, 4, 1)), np.zeros(3, int))), "those of the first are"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            curvature.pack(made, *batches)
    for options, words in [
        ({"loss": "cross_entropi"}, "did you mean 'cross_entropy'"),
        ({"reduction": "average"}, "reduction: unknown name"),
        ({"chunk": 0}, "chunk: found 0"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            curvature.objective(lambda w, x: x * w, **options)


def test_a_loss_that_is_no_number_per_example_is_refused():
    for loss in (lambda f, y: f, lambda f, y: jnp.mean(f)):
        made = curvature.objective(lambda w, x: x * w, loss)
        chunks = curvature.pack(made, (jnp.ones((4, 2)), jnp.zeros(4, int)))
        with pytest.raises(InvalidInputError, match="one number per example"):
            curvature.hessian(made)(jnp.ones(()), chunks)(jnp.ones(()))


def test_a_missing_derivative_is_named():
    @jax.custom_vjp
    def doubled(x):
        return 2 * x

    doubled.defvjp(lambda x: (doubled(x), None), lambda _, g: (doubled(g),))

    def in_a_loop(w, x):
        return jax.lax.scan(lambda c, _: (doubled(c), None), x * w, None, length=2)[0]

    made = curvature.objective(in_a_loop, "squared")
    chunks = curvature.pack(made, (jnp.ones((4, 2)), jnp.zeros(4, int)))
    for matrix in (curvature.hessian, curvature.generalized_gauss_newton):
        with pytest.raises(InvalidInputError, match="custom_vjp"):
            matrix(made)(jnp.ones(()), chunks)(jnp.ones(()))


@pytest.mark.slow
def test_networks_of_all_forms_have_the_same_curvature():
    one = case("cnn")
    found = []
    for form in ("plain", "canonical", "widened"):
        net = models.create("cnn", image_shape=(8, 8, 1), num_classes=3, channels=(3, 4), form=form)
        made = curvature.objective(net.apply)
        params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), one.params)
        chunks = curvature.pack(made, *[(x.astype(np.float32), y) for x, y in one.batches])
        found.append(ravel_pytree(curvature.hessian(made)(params, chunks)(params))[0])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-6)
