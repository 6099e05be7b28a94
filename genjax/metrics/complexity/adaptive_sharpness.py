"""Sharpness: how much the training loss grows in a neighbourhood of the weights.

The loss is the mean cross-entropy (nats) of the measured training examples; biases are weights.
Chunks of 128 are those of the first 1,024 examples in the canonical order, a random sample.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from genjax.metrics.complexity.contract import (
    Intermediate,
    Measure,
    Refusal,
    Result,
    refuse_where,
    value,
)
from genjax.metrics.complexity.workspace import Workspace, cross_entropies, in_chunks
from genjax.metrics.curvature import adaptive, ascent, sharpness
from genjax.metrics.curvature.local_entropy import local_entropy
from genjax.metrics.curvature.objective import Chunks, Objective, objective, pack
from genjax.metrics.curvature.relative_flatness import (
    Kernel,
    output_relative_flatness,
    relative_flatness,
)
from genjax.models import FEATURES

CHUNK = 128
EXAMPLES = 1024
DRAWS = 20
PROBES = 16
GAMMA = 100.0
_STEPS = 20
_SAM_RHO = 0.05
_ASAM = {"rho": 0.5, "eta": 0.01}

# Radii of the released evaluation scripts for residual networks, the second of four each.
RADII = {
    ("worst", 2): 0.5,
    ("worst", math.inf): 0.002,
    ("average", 2): 0.1,
    ("average", math.inf): 0.2,
}


def measured(workspace: Workspace, *, chunk: int = 100, examples: int | None = None):
    """Return the objective of a network and the training examples it is measured on, packed.

    Args:
        workspace: of one network.
        chunk: examples at once.
        examples: the first so many of them; None takes all.
    """
    train = workspace.data.train
    made: Objective = objective(workspace.network.apply, chunk=chunk)
    packed: Chunks = pack(made, (train.images[:examples], train.labels[:examples]))
    return made, packed


def _one_step_losses(workspace: Workspace) -> Any:
    """Return the loss at w, one step of SAM away and one step of ASAM away, [3]."""
    train, apply = workspace.data.train, workspace.network.apply
    flat, unravel = ravel_pytree(workspace.trained.params)
    gradient = ravel_pytree(workspace["gradients"].mean)[0]
    scale = jnp.abs(flat) + _ASAM["eta"]
    sam = _SAM_RHO * ascent.steepest(gradient, 2)
    asam = _ASAM["rho"] * scale * ascent.steepest(scale * gradient, 2)

    def loss(step):
        params = unravel(flat + step)
        with jax.default_matmul_precision("highest"):
            logits = in_chunks(lambda images: apply(params, images), train.images)
        return jnp.mean(cross_entropies(logits, train.labels))

    # One program for all three.
    return jax.lax.map(loss, jnp.stack([jnp.zeros_like(flat), sam, asam]))


def _one_step(workspace: Workspace, place: int) -> Result:
    losses = workspace["one_step_losses"]
    return value(losses[place] - losses[0])


def _per_chunk(workspace: Workspace) -> Result:
    made, chunks = measured(workspace, chunk=CHUNK, examples=EXAMPLES)
    params = workspace.trained.params
    return value(sharpness.sam_sharpness(made, params, chunks, per_chunk=True).value)


def _keskar(workspace: Workspace, epsilon: float) -> Result:
    made, chunks = measured(workspace)
    params = workspace.trained.params
    return value(sharpness.keskar_sharpness(made, params, chunks, epsilon=epsilon).value)


def _adaptive(workspace: Workspace, case: str, norm: float | int, scale: str, logits: bool):
    made, chunks = measured(workspace, chunk=CHUNK, examples=EXAMPLES)
    params = workspace.trained.params
    how: dict[str, Any] = {"rho": RADII[case, norm], "norm": norm, "scale": scale}
    how["normalise_logits"] = logits
    if case == "worst":
        return value(adaptive.worst_case_sharpness(made, params, chunks, **how).value)
    key = workspace.key("adaptive_noise")
    found = adaptive.average_case_sharpness(made, params, chunks, key, draws=DRAWS, **how)
    return value(found.value, standard_error=found.standard_error)


def _kernels(workspace: Workspace) -> list[Kernel]:
    leaves = jax.tree.leaves(workspace.trained.params)
    return [
        Kernel(layer.leaf, layer.inputs if layer.kind == "dense" else leaves[layer.leaf].ndim - 1)
        for layer in workspace.layers
    ]


def _relative(workspace: Workspace) -> Result:
    if any(layer.axes for layer in workspace.layers):  # stored in another layout: no matrix
        return refuse_where({Refusal.DEGENERATE: jnp.bool_(True)}, jnp.zeros(()))
    made, chunks = measured(workspace)
    found = relative_flatness(
        made,
        workspace.trained.params,
        chunks,
        workspace.key("relative_flatness"),
        _kernels(workspace),
        probes=PROBES,
    )
    return value(found.value, standard_error=found.standard_error)


def _relative_output(workspace: Workspace) -> Result:
    network, params = workspace.network, workspace.trained.params
    kernel, layer = workspace.kernels[-1], workspace.layers[-1]

    def read(images):
        features = network.taps(params, images)[FEATURES]
        return features.reshape(features.shape[0], -1)

    features = in_chunks(read, workspace.data.train.images)
    if layer.kind != "dense" or kernel.shape != (features.shape[1], network.num_classes):
        return refuse_where({Refusal.DEGENERATE: jnp.bool_(True)}, jnp.zeros(()))
    return value(output_relative_flatness(features, kernel, workspace["logits"]))


def _entropy(workspace: Workspace) -> Result:
    made, chunks = measured(workspace)
    found = local_entropy(
        made,
        workspace.trained.params,
        chunks,
        workspace.key("local_entropy"),
        gamma=GAMMA,
        draws=5 * DRAWS,
    )
    return value(
        found.value, standard_error=found.standard_error, effective_draws=found.effective_draws
    )


_FAMILY = "adaptive_sharpness"
_FORET = "Foret et al., Sharpness-Aware Minimization, ICLR 2021"
_KESKAR = "Keskar et al., On Large-Batch Training for Deep Learning, ICLR 2017"
_MODERN = (
    "Andriushchenko et al., A Modern Look at the Relationship between Sharpness and "
    "Generalization, ICML 2023"
)
_PETZKA = "Petzka et al., Relative Flatness and Generalization, NeurIPS 2021"
_SCALES = {"adaptive": ("elementwise", "|w|"), "layerwise": ("layerwise", "||W||_F / sqrt(|W|)")}
_NORMS = {2: "l2", math.inf: "linf"}


def _name(kind: str, case: str, norm: float | int, logits: bool) -> str:
    return f"{kind}_sharpness_{case}_{_NORMS[norm]}" + ("_logits" if logits else "")


def _formula(kind: str, case: str, norm: float | int, logits: bool) -> str:
    rho, scale = RADII[case, norm], _SCALES[kind][1]
    if case == "worst":
        p = "infinity" if norm == math.inf else "2"
        text = f"max of L(w + u) - L(w) over ||u / T||_{p} <= {rho:g}, T = {scale}, "
        text += f"by {_STEPS} steps of Auto-PGD for each chunk of {CHUNK} examples; mean over "
        text += f"chunks of {EXAMPLES:,} examples"
    else:
        draw = "N(0, rho^2 T^2)" if norm == 2 else "uniform in [-rho T, rho T]"
        text = f"E L(w + u) - L(w), u {draw}, rho = {rho:g}, T = {scale}, {DRAWS} draws on "
        text += f"{EXAMPLES:,} examples"
    return text + (", of logits without their mean and of norm 1" if logits else "")


def _family(kind: str, case: str, norm: float | int, logits: bool) -> Measure:
    share = 1 / 3 if case == "average" else 1
    return Measure(
        name=_name(kind, case, norm, logits),
        family=_FAMILY,
        formula=_formula(kind, case, norm, logits),
        source=_MODERN,
        compute=lambda workspace: _adaptive(workspace, case, norm, _SCALES[kind][0], logits),
        requires=("train",),
        passes=(_STEPS + 4 / 3) * share if case == "worst" else (DRAWS + 1) * share,
        fast=False,
    )


INTERMEDIATES = (Intermediate("one_step_losses", _one_step_losses, needs=("gradients",), passes=1),)

MEASURES = (
    Measure(
        name="sam_sharpness",
        family=_FAMILY,
        formula="L(w + rho g / ||g||) - L(w), g the gradient of L, "
        f"rho = {_SAM_RHO:g} (eq 2, p = 2)",
        source=_FORET,
        compute=lambda workspace: _one_step(workspace, 1),
        needs=("one_step_losses",),
    ),
    Measure(
        name="sam_sharpness_per_chunk",
        family=_FAMILY,
        formula=f"m-sharpness: sam_sharpness of each chunk of {CHUNK} of {EXAMPLES:,} examples, "
        "averaged",
        source=_FORET,
        compute=_per_chunk,
        requires=("train",),
        passes=5 / 3,
        fast=False,
    ),
    Measure(
        name="asam_sharpness",
        family=_FAMILY,
        formula="L(w + rho T^2 g / ||T g||) - L(w), T = |w| + "
        f"{_ASAM['eta']:g}, rho = {_ASAM['rho']:g}",
        source="Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization, ICML 2021",
        compute=lambda workspace: _one_step(workspace, 2),
        needs=("one_step_losses",),
    ),
    *(
        Measure(
            name=name,
            family=_FAMILY,
            formula=f"100 (max L - L) / (1 + L), the maximum over |u_i| <= {epsilon:g} (|w_i| + 1) "
            f"by {_STEPS} steps of Auto-PGD (metric 2.1; there by L-BFGS-B)",
            source=_KESKAR,
            compute=lambda workspace, epsilon=epsilon: _keskar(workspace, epsilon),
            requires=("train",),
            passes=_STEPS + 4 / 3,
            fast=False,
        )
        for name, epsilon in (("keskar_sharpness", 1e-3), ("keskar_sharpness_5e4", 5e-4))
    ),
    *(
        _family("adaptive", case, norm, logits)
        for case in ("worst", "average")
        for norm in (2, math.inf)
        for logits in (False, True)
    ),
    *(_family("layerwise", case, 2, False) for case in ("worst", "average")),
    Measure(
        name="relative_flatness",
        family=_FAMILY,
        formula="sum over weight layers of sum_{s,s'} <w_s, w_s'> tr(H_{s,s'}) (definition 3), w_s "
        "input weights of neuron or channel s, H the Hessian of the layer; "
        f"{PROBES} probes",
        source=_PETZKA,
        compute=_relative,
        requires=("train", "layers"),
        passes=2 * PROBES,
        fast=False,
    ),
    Measure(
        name="relative_flatness_output",
        family=_FAMILY,
        formula="mean_i ||phi_i||^2 (sum_c G_cc p_ic - p_i' G p_i), G = W W': definition 3 of the "
        "output layer W on the features phi, exactly; p: softmax",
        source=_PETZKA,
        compute=_relative_output,
        needs=("logits",),
        requires=("train", "layers", "taps", "trainable"),
        passes=1 / 3,
    ),
    Measure(
        name="local_entropy",
        family=_FAMILY,
        formula="ln E exp(-L(w + xi)), xi ~ N(0, I / gamma), gamma = "
        f"{GAMMA:g}, {5 * DRAWS} draws: without the constant (P/2) ln(2 pi / gamma)",
        source="Chaudhari et al., Entropy-SGD, ICLR 2017",
        compute=_entropy,
        requires=("train",),
        passes=5 * DRAWS / 3,
        larger_is_worse=False,
        fast=False,
    ),
)
