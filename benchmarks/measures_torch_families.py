"""The families of fast measures in PyTorch eager: network -> values by name."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import measures_torch_laws as laws
import measures_torch_unlabeled as unlabeled
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from measures_torch import CLASSES, EPSILON, Network, forward
from torch.func import grad, jvp, vjp, vmap

DELTA = 0.05
LARGEST_FLOAT = float(np.finfo(np.float32).max)
KERNEL_EXAMPLES, JACOBIAN_EXAMPLES = 128, 256


def positive(margin: float) -> bool:
    return margin > 0


def capacity(net: Network) -> dict[str, float]:
    sizes = [weight.numel() for weight, _ in net.params]
    pixels, depth = net.data.images.shape[1], net.depth
    count = sum(leaf.numel() for layer in net.params for leaf in layer)
    bound = depth + 2 * depth * math.log(22 * depth * pixels) * sum(sizes)
    return {"parameters": count, "vc_dimension": bound}


def norm_bounds(net: Network) -> dict[str, float]:
    if not positive(net.margin):
        names = ("log_golowich", "log_bartlett_foster_telgarsky")
        bounds = ("golowich_bound", "bartlett_foster_telgarsky_bound")
        return dict.fromkeys((*names, *bounds), math.nan)
    lengths, size = net.data.squared_lengths, net.train_size
    factor = math.sqrt(2 * net.depth * math.log(2)) + 1
    tail = -math.log(net.margin) - 0.5 * math.log(size)
    moved = [torch.linalg.vector_norm(change, dim=1).sum().item() for change in net.changes]
    spread = sum((m / s) ** (2 / 3) for m, s in zip(moved, net.spectral, strict=True))
    length = 0.5 * math.log(lengths.mean().item())
    golowich = sum(map(math.log, net.frobenius)) + math.log(factor)
    bartlett = sum(map(math.log, net.spectral)) + 1.5 * math.log(spread)
    return {
        "log_golowich": golowich + 0.5 * math.log(lengths.max().item()) + tail,
        "log_bartlett_foster_telgarsky": bartlett + length + tail,
        **rademacher_bounds(net, factor, math.sqrt((lengths + 1).sum().item())),
    }


def with_biases(params: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Return matrices that read a one beside their inputs, and hand it on."""
    found = [torch.cat([weight, bias[:, None]], 1) for weight, bias in params]
    for index, matrix in enumerate(found[:-1]):
        one = torch.zeros_like(matrix[:1])
        one[0, -1] = 1
        found[index] = torch.cat([matrix, one])
    return found


def grid_above(value: float, per_octave: int) -> tuple[float, float]:
    """Return the next of the values 2^(j / per_octave) above, and its price ln(1 / weight)."""
    j = math.ceil(per_octave * math.log2(max(value, 2.0**-40)))
    return 2.0 ** (j / per_octave), math.log(1.5 * (abs(j) + 1) * (abs(j) + 2))


def rademacher_bounds(net: Network, factor: float, root: float) -> dict[str, float]:
    matrices, count = with_biases(net.params), len(net.data.labels)
    share = (net.margins <= net.margin).double().mean().item()

    def bound(complexity, price):
        deviation = 3 * math.sqrt((math.log(2 / DELTA) + price) / (2 * count))
        return min(share + 2 * complexity + deviation, LARGEST_FLOAT)

    product = math.prod(torch.linalg.vector_norm(m).item() for m in matrices)
    ratio, price = grid_above(product / net.margin, 8)
    golowich = bound(2 * CLASSES * ratio * factor * root / count, price)
    pairs = zip(matrices, with_biases(net.start), strict=True)
    moved = [torch.linalg.vector_norm(m - s, dim=1).sum().item() for m, s in pairs]
    norms = [torch.linalg.svdvals(m)[0].item() for m in matrices]
    norms, first = zip(*(grid_above(value, net.depth) for value in norms), strict=True)
    moved, second = zip(*(grid_above(value, net.depth) for value in moved), strict=True)
    inverse, third = grid_above(1 / net.margin, net.depth)
    width = max(size for m in matrices for size in m.shape)
    spread = sum((m / s) ** (2 / 3) for m, s in zip(moved, norms, strict=True))
    cover = math.prod(norms) * spread**1.5
    cover *= 2 * inverse * root * math.sqrt(math.log(2 * width**2))
    complexity = 4 / count**1.5 + 18 * math.log(count) / count * cover
    bartlett = bound(complexity, sum(first) + sum(second) + third)
    return {"golowich_bound": golowich, "bartlett_foster_telgarsky_bound": bartlett}


def norms(net: Network) -> dict[str, float]:
    margin = net.margin if positive(net.margin) else math.nan
    squares = [value**2 for value in net.spectral]
    below = 2 * math.log(margin)
    product = sum(math.log(value) for value in squares)

    def ratio(numerators):
        return sum(n**2 / s for n, s in zip(numerators, squares, strict=True))

    found = {"inverse_margin": 1 / margin**2}
    for suffix in ("", "_fft"):  # The spectral norm of a dense layer is the same in both versions.
        found |= {
            f"log_spec_init_main{suffix}": product - below + math.log(ratio(net.frobenius_changes)),
            f"log_spec_orig_main{suffix}": product - below + math.log(ratio(net.frobenius)),
            f"fro_over_spec{suffix}": ratio(net.frobenius),
            f"dist_spec_init{suffix}": sum(value**2 for value in net.spectral_changes),
            **log_products("spec", suffix, product, below, net.depth),
        }
    product = 2 * sum(math.log(value) for value in net.frobenius)
    return found | {
        **log_products("fro", "", product, below, net.depth),
        "fro_dist": sum(value**2 for value in net.frobenius_changes),
        "param_norm": sum(value**2 for value in net.frobenius),
    }


def log_products(short, suffix, product, below, depth) -> dict[str, float]:
    return {
        f"log_prod_of_{short}_over_margin{suffix}": product - below,
        f"log_prod_of_{short}{suffix}": product,
        f"log_sum_of_{short}_over_margin{suffix}": math.log(depth) + (product - below) / depth,
        f"log_sum_of_{short}{suffix}": math.log(depth) + product / depth,
    }


def path_norms(net: Network) -> dict[str, float]:
    absolute, squared = net.path_sums
    over = squared / net.margin**2 if positive(net.margin) else math.nan
    return {
        "path_norm": squared,
        "path_norm_over_margin": over,
        "log_l1_path_norm": math.log(absolute),
    }


def fisher(net: Network) -> dict[str, float]:
    def slopes(logits, changes):
        own = changes.gather(1, net.data.labels[:, None])
        return (logits.softmax(1) * (changes - own)).sum(1)

    params = tuple(net.params)
    both = jvp(lambda w: forward(w, net.data.images), (params,), (params,))
    closed = slopes(net.logits, net.logits).square().mean().item()
    return {
        "fisher_rao": slopes(*both).square().mean().item(),
        "fisher_rao_closed_form": net.depth**2 * closed,
        "fisher_trace": net.gradients[0],
    }


def output_margins(net: Network) -> dict[str, float]:
    centred = net.logits - net.logits.mean(1, keepdim=True)
    normalised = centred / centred.square().mean(1, keepdim=True).sqrt()
    logs = net.logits.log_softmax(1)
    return {
        "output_margin": net.margin,
        "output_margin_percentile_50": torch.quantile(net.margins, 0.5).item(),
        "output_margin_mean": net.margins.mean().item(),
        "normalised_output_margin": net.tenth(net.margins_of(normalised)),
        "cross_entropy": F.nll_loss(logs, net.data.labels).item(),
        "output_entropy": -(logs.exp() * logs).sum(1).mean().item(),
        "train_error": 1 - net.right.double().mean().item(),
    }


def layer_margins(net: Network) -> dict[str, float]:
    *places, logits = net.places
    own = net.data.own
    other = net.logits.masked_fill(own, -math.inf).argmax(1)
    direction = own.to(logits.dtype)
    direction[torch.arange(len(other)), other] = -1
    gradients = torch.autograd.grad(logits, places, direction, retain_graph=True)
    scaled = []
    for activation, gradient in zip(places, gradients, strict=True):
        spread = activation.detach().var(0, correction=0).sum().sqrt()
        scaled.append(net.margins / (1e-6 + gradient.square().sum(1)).sqrt() / spread)
    levels = torch.tensor([0.25, 0.5], dtype=logits.dtype)
    quartiles = torch.quantile(torch.stack(scaled), levels, dim=1).tolist()
    found = {}
    for name, values in zip(("first_quartile", "median"), quartiles, strict=True):
        image, *taps = values
        ends = {"input": image, "first": taps[0], "last": taps[-1], "mean": sum(taps) / len(taps)}
        found |= {f"layer_margin_{name}_{place}": value for place, value in ends.items()}
    return found


def mixup(net: Network) -> dict[str, float]:
    return {"mixup_accuracy": net.mixup_accuracy}


def davies_bouldin(points: Any, members: Any) -> float:
    """Return the mean index over groups; points [groups, n, D], members [groups, n, classes]."""
    counts = members.sum(1)[..., None]
    centres = members.mT @ points / counts
    distances = torch.linalg.vector_norm(points - members @ centres, dim=2, keepdim=True)
    spreads = members.mT @ distances / counts
    apart = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
    pair = apart > 0
    ratios = torch.where(pair, (spreads + spreads.mT) / apart, 0.0)
    # Classes that all lie on one point have no index.
    return ratios.amax(2).mean(1).where(pair.any(2).any(1), math.nan).mean().item()


def clusters(net: Network) -> dict[str, float]:
    members = net.data.members
    if not bool((members.sum(1) > 0).all()):
        raise ValueError("a group of 120 examples lacks a class")
    groups, size, _ = members.shape
    first, last = (
        net.places[place][: groups * size].detach().reshape(groups, size, -1) for place in (1, -2)
    )
    index = davies_bouldin(first, members)
    return {
        "davies_bouldin": index,
        "davies_bouldin_features": davies_bouldin(last, members),
        "davies_bouldin_mixup": index * (1 - net.mixup_accuracy),
    }


def flatness(net: Network) -> dict[str, float]:
    return {
        "pacbayes_flatness": net.tolerated**-2,
        "pacbayes_mag_flatness": net.tolerated_magnitude**-2,
    }


def pac_bayes(net: Network) -> dict[str, float]:
    sigma, scaled, size = net.tolerated, net.tolerated_magnitude, math.log(net.train_size)
    squares, moved = net.weights.square(), net.moved.square()

    def plain(squared):
        return squared.sum().item() / (4 * sigma**2) + size - math.log(sigma) + 10

    def magnitude(above, below):
        ratio = (EPSILON**2 + (scaled**2 + 1) * above.mean()) / (EPSILON**2 + scaled**2 * below)
        return ratio.log().sum().item() / 4 + size - math.log(scaled) + 10

    return {
        "pacbayes_init": plain(moved),
        "pacbayes_orig": plain(squares),
        "pacbayes_mag_init": magnitude(moved, moved),
        "pacbayes_mag_orig": magnitude(squares, moved),
        "pacbayes_mag_orig_kl": magnitude(squares, squares),
    }


def heavy_tails(net: Network) -> dict[str, float]:
    return laws.spectra(net.singular_values, [weight.shape for weight, _ in net.params])


def optimisation(net: Network) -> dict[str, float]:
    losses, steps = net.losses_recorded, net.steps
    gaps = torch.diff(steps, prepend=steps.new_zeros(1))
    tenth, hundredth = (torch.nonzero(losses < level).flatten() for level in (0.1, 0.01))
    first = steps[tenth[0]].item() if len(tenth) else math.nan
    last = steps[hundredth[0]].item() if len(hundredth) else math.nan
    return {
        "steps_to_loss_0_1": first,
        "steps_loss_0_1_to_0_01": last - first,
        "sum_of_train_losses": torch.nansum(losses * gaps).item(),
    }


def gradient_noise(net: Network) -> dict[str, float]:
    _, signal, deviation, _ = net.gradients
    count = len(net.data.labels)
    trace = deviation / (count - 1)
    unbiased = signal - trace / count
    return {
        "gradient_variance_final": trace,
        "gradient_noise_scale_final": trace / signal,
        "gradient_noise_scale_unbiased_final": trace / unbiased if unbiased > 0 else math.nan,
    }


def kernel(net: Network) -> dict[str, float]:
    images = net.data.images[:KERNEL_EXAMPLES]
    found = vmap(grad(lambda w, x: forward(w, x).sum()), (None, 0))(net.params, images)
    gradients = torch.cat([leaf.flatten(1) for layer in found for leaf in layer], 1)
    matrix = gradients @ gradients.T / CLASSES
    ridge = 1e-4 * matrix.trace() / len(matrix)
    factor = torch.linalg.cholesky(matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype))
    targets = net.data.own[:KERNEL_EXAMPLES].to(matrix.dtype)
    half = torch.linalg.solve_triangular(factor, targets, upper=False)
    amount = math.sqrt(2 * half.square().sum().item() / len(matrix))
    return {"pseudo_ntk_complexity": amount}


def jacobian(net: Network) -> dict[str, float]:
    images = net.data.images[:JACOBIAN_EXAMPLES]
    logits, pull, *_ = vjp(lambda x: forward(net.params, x), images)
    outputs = torch.eye(CLASSES, dtype=logits.dtype)[:, None].expand(-1, *logits.shape)
    found = vmap(pull)(outputs)[0].transpose(0, 1)  # [n, classes, pixels]
    p = logits.softmax(1)[..., None]
    through = p * (found - (p * found).sum(1, keepdim=True))
    squared = torch.linalg.eigvalsh(found @ found.mT)[:, -1]
    return {
        "jacobian_norm": torch.linalg.vector_norm(found, dim=(1, 2)).mean().item(),
        "jacobian_norm_probabilities": torch.linalg.vector_norm(through, dim=(1, 2)).mean().item(),
        "jacobian_spectral_norm": squared.clamp_min(0).sqrt().mean().item(),
    }


def adaptive_sharpness(net: Network) -> dict[str, float]:
    start, sam, asam = net.one_step_losses
    features, weight = net.places[-2].detach(), net.params[-1][0]
    p = net.logits.softmax(1)
    gram = weight @ weight.T
    best = p.argmax(1, keepdim=True)
    # Variance of the rows of W under p, about the likeliest one.
    distances = (gram.diag()[:, None] + gram.diag() - 2 * gram)[best[:, 0]]
    others = p.scatter(1, best, 0.0)
    shift = others.scatter(1, best, -others.sum(1, keepdim=True))
    variance = (others * distances).sum(1) - ((shift @ gram) * shift).sum(1)
    return {
        "sam_sharpness": sam - start,
        "asam_sharpness": asam - start,
        "relative_flatness_output": (features.square().sum(1) * variance).mean().item(),
    }


FAMILIES: dict[str, Callable[[Network], dict[str, float]]] = {
    function.__name__: function
    for function in (
        capacity,
        norm_bounds,
        norms,
        path_norms,
        fisher,
        output_margins,
        layer_margins,
        mixup,
        clusters,
        flatness,
        pac_bayes,
        heavy_tails,
        optimisation,
        gradient_noise,
        kernel,
        jacobian,
        unlabeled.unlabeled,
        adaptive_sharpness,
    )
}


def measure(
    siblings: Sequence[Network], families: Sequence[str] = tuple(FAMILIES)
) -> list[dict[str, float]]:
    """Return the measures of networks of equal settings, one network after another."""
    with torch.no_grad():
        found: list[dict[str, float]] = []
        for network in siblings:
            values: dict[str, float] = {}
            for family in families:
                values |= FAMILIES[family](network)
            found.append(values)
        if "unlabeled" in families:
            for values, further in zip(found, unlabeled.among_seeds(siblings), strict=True):
                values |= further
    return found
