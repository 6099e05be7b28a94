"""Norms against dense float64 matrices, and against PyTorch."""

import csv
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import Refusal, layers, norms, spectral
from genjax.metrics.complexity.contract import Labelled, Trained

NORMS = [name for name, one in complexity.catalogue().items() if one.family == "norms"]
CASES = {
    "mlp": {"widths": (9, 7)},
    "cnn": {"channels": (3, 5)},
    "resnet": {"depth": 8, "width": 0.25},
    "vit": {"patch": 4, "width": 8, "depth": 1, "heads": 2},
}


def toy(family, seed=0):
    """A network with random weights and biases, another as its start, and data it fits."""
    net = models.create(family, image_shape=(8, 8, 1), num_classes=4, **CASES[family])
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: net.fold(*net.init(key)), jax.random.key(0))

    def random(leaf):
        spread = 1.5 / math.sqrt(math.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1
        return jnp.asarray(rng.normal(size=leaf.shape) * spread, jnp.float32)

    params, start = (jax.tree.map(random, shapes) for _ in range(2))
    images = rng.uniform(size=(40, 8, 8, 1)).astype(np.float32)
    labels = np.asarray(jnp.argmax(net.apply(params, images), axis=-1), np.int32)
    data = complexity.measure_data(Labelled(images, labels))
    return net, Trained(params, start, None, None, None, None, 0), data


def measured(names, net, trained, data):
    found, _ = jax.jit(
        lambda trained: complexity.compute(
            names, net, trained, data._replace(train_size=40), jax.random.key(0)
        )
    )(trained)
    return found


def circular_matrix(kernel, height, width):
    """Dense matrix of a convolution with periodic borders, [inputs, outputs]."""
    inputs = height * width * kernel.shape[2]
    images = np.eye(inputs).reshape(inputs, height, width, -1)
    out = sum(
        np.roll(images, (-i, -j), (1, 2)) @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )
    return out.reshape(inputs, -1)


def largest(matrix):
    """Largest singular value, from the smaller of the two Gram matrices."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(np.linalg.eigvalsh(gram)[-1])


def kernels_of(family, params):
    """(reshaped matrix, dense linear map) of every layer, by name and in float64."""
    p = jax.tree.map(lambda w: np.asarray(w, np.float64), params)
    if family == "mlp":
        return [(p[n]["kernel"],) * 2 for n in ("dense1", "dense2", "output")]
    if family == "vit":
        block = p["encoder1"]
        heads = [block["attention"][n]["kernel"].reshape(8, 8) for n in ("query", "key", "value")]
        plain = [p["patches"]["kernel"], *heads]
        plain += [block["attention"]["out"]["kernel"].reshape(8, 8)]
        plain += [block["dense1"]["kernel"], block["dense2"]["kernel"], p["output"]["kernel"]]
        return [(w, w) for w in plain]
    if family == "cnn":
        found = [(p["conv1"]["kernel"], 8), (p["conv2"]["kernel"], 4)]
    else:
        names = [("stem_1", 8), ("stage1block1_1", 8), ("stage1block1_2", 8)]
        names += [("stage2block1_1", 8), ("stage2block1_2", 4)]
        names += [("stage3block1_1", 4), ("stage3block1_2", 2)]
        found = [(p[name]["conv"]["kernel"], side) for name, side in names]
    convolutions = [(w.reshape(-1, w.shape[-1]), circular_matrix(w, s, s)) for w, s in found]
    return [*convolutions, (p["output"]["kernel"],) * 2]


def by_the_formulas(spec, changed_spec, fro, changed_fro, gamma):
    """Every measure of the family from squared norms per layer; names without suffix."""
    d = len(spec)
    prod, fro_prod = np.sum(np.log(spec)), np.sum(np.log(fro))
    over = 2 * np.log(gamma)
    return {
        "inverse_margin": 1 / gamma**2,
        "log_spec_init_main": prod - over + np.log(np.sum(changed_fro / spec)),
        "log_spec_orig_main": prod - over + np.log(np.sum(fro / spec)),
        "log_prod_of_spec": prod,
        "log_prod_of_spec_over_margin": prod - over,
        "log_sum_of_spec": np.log(d) + prod / d,
        "log_sum_of_spec_over_margin": np.log(d) + (prod - over) / d,
        "fro_over_spec": np.sum(fro / spec),
        "dist_spec_init": np.sum(changed_spec),
        "log_prod_of_fro": fro_prod,
        "log_prod_of_fro_over_margin": fro_prod - over,
        "log_sum_of_fro": np.log(d) + fro_prod / d,
        "log_sum_of_fro_over_margin": np.log(d) + (fro_prod - over) / d,
        "fro_dist": np.sum(changed_fro),
        "param_norm": np.sum(fro),
    }


def expected(family, net, trained, data):
    logits = np.asarray(net.apply(trained.params, data.train.images), np.float64)
    rows = np.arange(len(logits))
    own = logits[rows, data.train.labels]
    logits[rows, data.train.labels] = -np.inf
    gamma = np.sort(own - logits.max(axis=1))[len(own) // 10 - 1]
    ends, starts = (kernels_of(family, tree) for tree in (trained.params, trained.init_params))
    fro = np.array([np.sum(w**2) for w, _ in ends])
    changed = np.array([np.sum((w - v) ** 2) for (w, _), (v, _) in zip(ends, starts, strict=True)])
    found = {}
    for which, suffix in enumerate(("", "_fft")):
        spec = np.array([largest(pair[which]) ** 2 for pair in ends])
        pairs = zip(ends, starts, strict=True)
        moved = [largest(w[which] - v[which]) ** 2 for w, v in pairs]
        values = by_the_formulas(spec, np.array(moved), fro, changed, gamma)
        found |= {
            name + (suffix if "spec" in name else ""): value for name, value in values.items()
        }
    return found


@pytest.mark.parametrize("family", CASES)
def test_norms_are_those_of_dense_matrices_in_float64(family):
    net, trained, data = toy(family)
    wanted = expected(family, net, trained, data)
    assert sorted(wanted) == sorted(NORMS)
    for name, (amount, _) in measured(NORMS, net, trained, data).items():
        # The margin, a difference of float32 logits, is what limits the agreement.
        assert float(amount) == pytest.approx(wanted[name], rel=2e-5, abs=2e-5), name


@pytest.mark.data
def test_the_norms_of_dziugaite_et_al_are_there_by_name(data_dir):
    file = data_dir / "published" / "robust_gm" / "environments.csv"
    with file.open() as opened:
        columns = next(csv.reader(opened))
    names = [c.removeprefix("complexity.") for c in columns if c.startswith("complexity.")]
    wanted = [n for n in names if n != "params" and not n.startswith("pacbayes")]
    assert len(wanted) == 17
    for name in wanted:
        assert complexity.catalogue()[name].fast


def test_one_by_one_stacked_and_uncompiled_are_the_same():
    net, _, data = toy("cnn")
    several = [toy("cnn", seed)[1] for seed in range(3)]
    stack = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(v) for v in leaves]), *several)

    def compute(trained, names=NORMS):
        found, _ = complexity.compute(names, net, trained, data, jax.random.key(0))
        return {name: amount for name, (amount, _) in found.items()}

    together = jax.jit(jax.vmap(compute))(stack)
    compiled = jax.jit(compute)(several[1])
    for name in NORMS:
        np.testing.assert_allclose(compiled[name], together[name][1], rtol=1e-5, err_msg=name)
    plain = compute(several[1], ["log_spec_init_main_fft", "log_prod_of_spec"])
    for name, amount in plain.items():
        np.testing.assert_allclose(amount, compiled[name], rtol=1e-5, err_msg=name)


def rescaled(params, factor):
    """Multiply one layer and divide the next: the same function of a ReLU network."""
    first = jax.tree.map(lambda w: w * factor, params["dense1"])
    second = {**params["dense2"], "kernel": params["dense2"]["kernel"] / factor}
    return {**params, "dense1": first, "dense2": second}


def test_products_do_not_feel_a_rescaling_of_layers_and_sums_of_squares_do():
    net, trained, data = toy("mlp")
    before = measured(NORMS, net, trained, data)
    after = measured(NORMS, net, trained._replace(params=rescaled(trained.params, 3.0)), data)
    for name in NORMS:
        if "prod" in name or "log_sum" in name or name in ("log_spec_orig_main", "fro_over_spec"):
            assert float(after[name][0]) == pytest.approx(float(before[name][0]), abs=1e-4), name
    squares = [float(jnp.sum(trained.params[n]["kernel"] ** 2)) for n in ("dense1", "dense2")]
    change = 8 * squares[0] - (1 - 1 / 9) * squares[1]
    assert float(after["param_norm"][0] - before["param_norm"][0]) == pytest.approx(
        change, rel=1e-4
    )


def test_larger_logits_do_not_change_what_is_over_the_margin():
    net, trained, data = toy("mlp")
    output = jax.tree.map(lambda w: 5 * w, trained.params["output"])
    larger = trained._replace(params={**trained.params, "output": output})
    names = ["log_prod_of_spec_over_margin", "log_prod_of_fro_over_margin", "log_spec_orig_main"]
    names += ["log_prod_of_spec"]
    before, after = (measured(names, net, one, data) for one in (trained, larger))
    for name in names[:3]:
        assert float(after[name][0]) == pytest.approx(float(before[name][0]), abs=1e-4)
    assert float(after[names[3]][0] - before[names[3]][0]) == pytest.approx(
        2 * math.log(5), abs=1e-4
    )


def test_refusals_name_margins_layers_and_changes_that_are_zero():
    net, trained, data = toy("mlp")
    wrong = data._replace(train=Labelled(data.train.images, (data.train.labels + 1) % 4))
    codes = {
        n: int(i.get("refusal", 0)) for n, (_, i) in measured(NORMS, net, trained, wrong).items()
    }
    for name in NORMS:
        reads = "margin" in complexity.catalogue()[name].needs
        assert codes[name] == (Refusal.MARGIN if reads else Refusal.NONE), name
    output = jax.tree.map(jnp.zeros_like, trained.params["dense2"])
    zero = trained._replace(params={**trained.params, "dense2": output})
    found = measured(["log_prod_of_spec_fft", "fro_over_spec", "param_norm"], net, zero, data)
    assert int(found["log_prod_of_spec_fft"][1]["refusal"]) == Refusal.ZERO_LAYER
    assert int(found["fro_over_spec"][1]["refusal"]) == Refusal.ZERO_LAYER
    assert np.isnan(found["fro_over_spec"][0])
    assert np.isfinite(found["param_norm"][0])
    still = trained._replace(init_params=trained.params)
    found = measured(["log_spec_init_main", "dist_spec_init_fft", "fro_dist"], net, still, data)
    assert int(found["log_spec_init_main"][1]["refusal"]) == Refusal.DEGENERATE
    assert float(found["dist_spec_init_fft"][0]) == float(found["fro_dist"][0]) == 0


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
def test_largest_singular_values_of_prescribed_spectra(scale):
    rng = np.random.default_rng(0)

    def with_values(values, rows, columns, complex_too):
        def orthogonal(n):
            noise = 1j * rng.normal(size=(n, n)) if complex_too else 0
            return np.linalg.qr(rng.normal(size=(n, n)) + noise)[0]

        middle = np.zeros((rows, columns))
        np.fill_diagonal(middle, values)
        return orthogonal(rows) @ middle @ orthogonal(columns)

    flat, close = np.full(20, 2.0), 1 + 1e-6 * np.arange(20)
    stacks = [
        with_values(flat, 20, 30, False)[None],
        np.stack([with_values(close, 33, 20, True), 0.5 * with_values(flat, 33, 20, True)]),
        with_values([3.0, 0.1], 2, 5, False)[None],
        np.zeros((2, 4, 4)),
    ]
    found = spectral.largest_singular_values(
        [
            jnp.asarray(s * scale, jnp.complex64 if np.iscomplexobj(s) else jnp.float32)
            for s in stacks
        ]
    )
    np.testing.assert_allclose(found / scale, [2.0, 1 + 19e-6, 3.0, 0.0], rtol=4e-6)


@pytest.mark.parametrize(("side", "window"), [((6, 5), (3, 3)), ((2, 3), (3, 5)), ((1, 1), (3, 3))])
def test_convolution_blocks_have_the_norm_of_the_dense_periodic_convolution(side, window):
    kernel = np.random.default_rng(0).normal(size=(*window, 3, 2))
    layer = layers.WeightLayer("", 0, "convolution", kernel.shape, 3, side, (1, 1))
    blocks = spectral.convolution_blocks((layer,), [jnp.asarray(kernel, jnp.float32)])
    dense = largest(circular_matrix(kernel, *side))
    assert float(spectral.largest_singular_values(blocks)[0]) == pytest.approx(dense, rel=1e-5)


def test_depthwise_convolutions_have_the_norm_of_their_dense_matrix():
    rng = np.random.default_rng(0)
    params = {"conv": jnp.asarray(rng.normal(size=(3, 3, 1, 2)), jnp.float32)}
    params["out"] = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)

    def apply(params, images):
        x = jax.lax.conv_general_dilated(
            images,
            params["conv"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )
        return x.mean((1, 2)) @ params["out"]

    net = models.from_function(apply, params, image_shape=(4, 4, 2), num_classes=3).network
    found = layers.weight_layers(net, params)
    blocks = spectral.convolution_blocks(found, layers.kernels(found, params))
    one_by_one = np.zeros((3, 3, 2, 2))
    kernel = np.asarray(params["conv"], np.float64)
    one_by_one[:, :, [0, 1], [0, 1]] = kernel[:, :, 0]
    dense = largest(circular_matrix(one_by_one, 4, 4))
    matrix = largest(kernel.reshape(9, 2))
    reshaped = spectral.matrices(found, layers.kernels(found, params))
    assert float(spectral.largest_singular_values(blocks)[0]) == pytest.approx(dense, rel=1e-5)
    assert float(spectral.largest_singular_values(reshaped)[0]) == pytest.approx(matrix, rel=1e-5)


def test_convolutions_in_groups_have_no_value_instead_of_a_wrong_one():
    layer = layers.WeightLayer("", 0, "grouped", (3, 3, 2, 4), 3, (4, 4), (1, 1))
    blocks = spectral.convolution_blocks((layer,), [jnp.ones((3, 3, 2, 4))])
    assert np.isnan(spectral.largest_singular_values(blocks)[0])


def test_singular_values_are_those_of_every_reshaped_kernel():
    net, trained, data = toy("cnn")
    found = layers.weight_layers(net, trained.params)
    workspace = complexity.workspace.Workspace(
        net, found, trained, data, jax.random.key(0), complexity.registry.intermediates()
    )
    for values, (matrix, _) in zip(
        workspace["singular_values"], kernels_of("cnn", trained.params), strict=True
    ):
        np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-4)


def test_size_adjustment_is_the_root_of_the_measure_over_the_size():
    values = np.array([3.0, np.nan, 50.0])
    plain = norms.size_adjusted(values, "plain", 20)
    logs = norms.size_adjusted(np.log(values), "log", 20)
    np.testing.assert_allclose(plain, np.sqrt(values / 20))
    np.testing.assert_allclose(np.exp(logs), plain)
    for values, kind, size in (([1.0], "logs", 5), ([1.0], "log", 0), ([-1.0], "plain", 5)):
        with pytest.raises(InvalidInputError):
            norms.size_adjusted(values, kind, size)
