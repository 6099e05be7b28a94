"""Top eigenvalue, trace and products against curvlinops and PyHessian on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import CHUNK, case
from jax.flatten_util import ravel_pytree

from genjax.metrics import curvature

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def both():
    """One network in both libraries: float64, 20 examples, cross-entropy."""
    torch = pytest.importorskip("torch")
    one = case("cnn")

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(1, 3, 3, padding=1)
            self.conv2 = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.output = torch.nn.Linear(64, 3)
            for name, layer in self.named_children():
                kernel, bias = one.params[name]["kernel"], one.params[name]["bias"]
                axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
                layer.weight = torch.nn.Parameter(torch.tensor(kernel.transpose(axes).copy()))
                layer.bias = torch.nn.Parameter(torch.tensor(bias))

        def forward(self, images):
            x = torch.relu(self.conv1(images))
            x = torch.nn.functional.max_pool2d(x, 2)
            x = torch.relu(self.conv2(x))
            return self.output(x.permute(0, 2, 3, 1).flatten(1))

    data = [
        (torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y.astype(np.int64)))
        for x, y in one.batches
    ]
    return one, Same(), data


@pytest.fixture(scope="module")
def ours(both):
    one, _, _ = both
    with jax.enable_x64(True):
        made = curvature.objective(one.network.apply, chunk=CHUNK)
        chunks = curvature.pack(made, *one.batches)

        @jax.jit
        def run(params, key):
            product = curvature.hessian(made)(params, chunks)
            found = curvature.extreme_eigenvalues(product, params, key, steps=60)
            return found.top[0], jnp.trace(curvature.dense(product, params))

        top, trace = run(one.params, jax.random.key(0))
    return float(top), float(trace)


def test_curvlinops(both, ours):
    torch = pytest.importorskip("torch")
    curvlinops = pytest.importorskip("curvlinops")
    _, model, data = both
    operators = {}
    for name in ("HessianLinearOperator", "GGNLinearOperator"):
        operators[name] = getattr(curvlinops, name)(
            model, torch.nn.CrossEntropyLoss(), list(model.parameters()), data
        )
    dense = operators["HessianLinearOperator"] @ torch.eye(
        sum(p.numel() for p in model.parameters()), dtype=torch.float64
    )
    values = np.linalg.eigvalsh(dense.detach().numpy())
    np.testing.assert_allclose(ours[0], values[-1], rtol=1e-6)
    np.testing.assert_allclose(ours[1], values.sum(), rtol=1e-6)


def test_squared_loss_is_half_the_outputs_times_that_of_curvlinops(both):
    torch = pytest.importorskip("torch")
    curvlinops = pytest.importorskip("curvlinops")
    one, model, data = both
    hot = [(x, torch.eye(3, dtype=torch.float64)[y]) for x, y in data]
    parameters = list(model.parameters())
    theirs = curvlinops.GGNLinearOperator(model, torch.nn.MSELoss(), parameters, hot)
    dense = theirs @ torch.eye(sum(p.numel() for p in parameters), dtype=torch.float64)
    with jax.enable_x64(True):
        made = curvature.objective(one.network.apply, "squared", chunk=CHUNK)
        chunks = curvature.pack(made, *one.batches)
        product = curvature.generalized_gauss_newton(made)(one.params, chunks)
        trace = float(jnp.trace(jax.jit(lambda p: curvature.dense(product, p))(one.params)))
    np.testing.assert_allclose(trace, 3 / 2 * float(torch.trace(dense)), rtol=1e-8)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
def test_pyhessian(both, ours):
    torch = pytest.importorskip("torch")
    pyhessian = pytest.importorskip("pyhessian")
    _, model, data = both
    torch.manual_seed(0)
    whole = tuple(torch.cat(parts) for parts in zip(*data, strict=True))
    # Its start vectors are float32: they are so whatever the model is.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        theirs = pyhessian.hessian(model, torch.nn.CrossEntropyLoss(), data=whole, cuda=False)
        (top,), _ = theirs.eigenvalues(maxIter=2000, tol=1e-9)
        draws = theirs.trace(maxIter=4000, tol=0.0)
    finally:
        torch.set_default_dtype(before)
    np.testing.assert_allclose(ours[0], top, rtol=1e-4)
    error = np.std(draws) / len(draws) ** 0.5
    assert abs(np.mean(draws) - ours[1]) < 4 * error
    assert error < 0.02 * abs(ours[1])


def test_products_with_the_same_vector(both):
    torch = pytest.importorskip("torch")
    one, model, data = both
    images, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    named = dict(model.named_parameters())
    rng = np.random.default_rng(0)
    vector = jax.tree.map(lambda w: rng.normal(size=w.shape), one.params)

    def as_torch(tree, name):
        layer, part = name.split(".")
        array = tree[layer]["kernel" if part == "weight" else "bias"]
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
        return np.asarray(array).transpose(axes)

    loss = torch.nn.functional.cross_entropy(model(images), labels)
    slopes = torch.autograd.grad(loss, list(named.values()), create_graph=True)
    pairs = zip(slopes, named, strict=True)
    along = sum(torch.sum(g * torch.tensor(as_torch(vector, n).copy())) for g, n in pairs)
    theirs = torch.autograd.grad(along, list(named.values()))
    with jax.enable_x64(True):
        made = curvature.objective(one.network.apply, chunk=CHUNK)
        chunks = curvature.pack(made, *one.batches)
        product = curvature.hessian(made)(one.params, chunks)(vector)
        assert np.isfinite(ravel_pytree(product)[0]).all()
    for name, found in zip(named, theirs, strict=True):
        np.testing.assert_allclose(
            as_torch(product, name), found.numpy(), rtol=1e-8, atol=1e-12, err_msg=name
        )
