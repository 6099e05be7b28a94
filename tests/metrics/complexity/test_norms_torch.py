"""The whole family of norms against an implementation in PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import models
from genjax.metrics import complexity
from genjax.metrics.complexity.contract import Labelled, Trained

FAMILIES = ["norms", "path_norms", "fisher"]
NAMES = [n for n, one in complexity.catalogue().items() if one.family in FAMILIES]


def torch_model(torch, params):
    """The same convolutional network in PyTorch, with its weights, in float64."""
    layers = [
        torch.nn.Conv2d(2, 3, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    ]
    model = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for index, name in ((0, "conv1"), (3, "conv2")):
            kernel = np.array(params[name]["kernel"], np.float64).transpose(3, 2, 0, 1)
            model[index].weight.copy_(torch.from_numpy(kernel.copy()))
        # Features are flattened height, width, channel here and channel first there.
        kernel = np.array(params["output"]["kernel"], np.float64).reshape(4, 4, 4, 5)
        model[6].weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).reshape(5, 64).copy()))
        for index, name in ((0, "conv1"), (3, "conv2"), (6, "output")):
            model[index].bias.copy_(torch.from_numpy(np.array(params[name]["bias"], np.float64)))
    return model


def torch_spectral(torch, kernel, size):
    """Squared largest singular values, of the reshaped kernel and of the convolution."""
    matrix = torch.linalg.matrix_norm(kernel.reshape(len(kernel), -1), 2) ** 2
    if size is None:
        return matrix, matrix
    blocks = torch.fft.fft2(kernel, s=(size, size)).permute(2, 3, 0, 1)
    return matrix, torch.linalg.svdvals(blocks).max() ** 2


def torch_norms(torch, model, start, images, labels):
    found = {}
    weights = [model[i].weight for i in (0, 3, 6)]
    moved = [model[i].weight - start[i].weight for i in (0, 3, 6)]
    logits = model(images)
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -math.inf).max(1).values
    margin = torch.kthvalue(own - others, len(labels) // 10).values
    fro, moved_fro = (torch.stack([(w**2).sum() for w in some]) for some in (weights, moved))
    sizes = (8, 4, None)
    for form, suffix in enumerate(("", "_fft")):
        spec, moved_spec = (
            torch.stack(
                [torch_spectral(torch, w, s)[form] for w, s in zip(some, sizes, strict=True)]
            )
            for some in (weights, moved)
        )
        product = spec.log().sum()
        over = product - 2 * margin.log()
        found |= {
            f"log_prod_of_spec{suffix}": product,
            f"log_prod_of_spec_over_margin{suffix}": over,
            f"log_sum_of_spec{suffix}": math.log(3) + product / 3,
            f"log_sum_of_spec_over_margin{suffix}": math.log(3) + over / 3,
            f"log_spec_init_main{suffix}": over + (moved_fro / spec).sum().log(),
            f"log_spec_orig_main{suffix}": over + (fro / spec).sum().log(),
            f"fro_over_spec{suffix}": (fro / spec).sum(),
            f"dist_spec_init{suffix}": moved_spec.sum(),
        }
    product = fro.log().sum()
    over = product - 2 * margin.log()
    return found | {
        "inverse_margin": margin**-2,
        "log_prod_of_fro": product,
        "log_prod_of_fro_over_margin": over,
        "log_sum_of_fro": math.log(3) + product / 3,
        "log_sum_of_fro_over_margin": math.log(3) + over / 3,
        "fro_dist": moved_fro.sum(),
        "param_norm": fro.sum(),
        "margin": margin,
    }


def torch_paths_and_gradients(torch, model, images, labels, margin):
    products, squares, closed = [], [], []
    for image, label in zip(images, labels, strict=True):
        model.zero_grad()
        logits = model(image[None])
        logits.retain_grad()
        torch.nn.functional.cross_entropy(logits, label[None]).backward()
        products.append(sum((p * p.grad).sum() for p in model.parameters()).item())
        squares.append(sum((p.grad**2).sum() for p in model.parameters()).item())
        closed.append((logits * logits.grad).sum().item())
    sums = []
    for power in (1, 2):
        raised = torch_model(torch, models_params(model))
        with torch.no_grad():
            for p in raised.parameters():
                p.copy_(p.abs() ** power)
            sums.append(raised(torch.ones(1, 2, 8, 8, dtype=torch.float64)).sum().item())
    return {
        "fisher_rao": np.mean(np.square(products)),
        "fisher_rao_closed_form": 9 * np.mean(np.square(closed)),
        "fisher_trace": np.mean(squares),
        "path_norm": sums[1],
        "path_norm_over_margin": sums[1] / margin**2,
        "log_path_norm": math.log(sums[1]),
        "log_l1_path_norm": math.log(sums[0]),
    }


def models_params(model):
    """Parameters of the PyTorch network as ours."""
    found = {}
    for index, name in ((0, "conv1"), (3, "conv2"), (6, "output")):
        kernel = model[index].weight.detach().numpy()
        if name == "output":
            kernel = kernel.reshape(5, 4, 4, 4).transpose(2, 3, 1, 0).reshape(64, 5)
        else:
            kernel = kernel.transpose(2, 3, 1, 0)
        found[name] = {"kernel": kernel, "bias": model[index].bias.detach().numpy()}
    return found


@pytest.mark.peers
def test_every_norm_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    net = models.create("cnn", image_shape=(8, 8, 2), num_classes=5, channels=(3, 4))
    rng = np.random.default_rng(0)
    start = jax.jit(lambda key: net.fold(*net.init(key)))(jax.random.key(0))
    params = jax.tree.map(lambda w: w + jnp.asarray(rng.normal(size=w.shape) * 0.2, w.dtype), start)
    images = rng.uniform(size=(30, 8, 8, 2)).astype(np.float32)
    labels = np.asarray(jnp.argmax(net.apply(params, images), axis=1), np.int32)
    data = complexity.measure_data(Labelled(images, labels))
    trained = Trained(params, start, None, None, None, None, 0)
    found, _ = jax.jit(
        lambda t: complexity.compute(NAMES, net, t, data._replace(train_size=30), jax.random.key(0))
    )(trained)

    ours = torch_model(torch, params)
    seen = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float64))
    known = torch.from_numpy(labels.astype(np.int64))
    with torch.no_grad():
        norms = torch_norms(torch, ours, torch_model(torch, start), seen, known)
    wanted = {name: float(amount) for name, amount in norms.items()}
    wanted |= torch_paths_and_gradients(torch, ours, seen, known, wanted.pop("margin"))
    assert sorted(wanted) == sorted(NAMES)
    for name in NAMES:
        assert float(found[name][0]) == pytest.approx(wanted[name], rel=1e-4, abs=2e-5), name
