"""The neural tangent kernel at the start and at the end of training, and how it fits the labels.

Kernels are those of the first 128 training examples, averaged over outputs (`empirical_ntk`, form
`trace`), with targets that are 1 for the label and 0 elsewhere.
"""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics.complexity.contract import Intermediate, Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.tangent_kernel import (
    alignment,
    effective_dimension,
    empirical_ntk,
    label_complexity,
    two_layer_relu_kernel,
)
from genjax.metrics.complexity.workspace import Workspace

SAMPLE = 128
RIDGE = 1e-4
"""Relative to the mean of a kernel's diagonal."""

DIMENSION_RIDGE = 1e-2


def _images(workspace: Workspace) -> Any:
    return jnp.asarray(workspace.data.train.images[:SAMPLE])


def _targets(workspace: Workspace) -> Any:
    return jax.nn.one_hot(workspace.data.train.labels[:SAMPLE], workspace.network.num_classes)


def _ntk(workspace: Workspace) -> Any:
    return empirical_ntk(workspace.network.apply, workspace.trained.params, _images(workspace))


def _ntk_init(workspace: Workspace) -> Any:
    return empirical_ntk(workspace.network.apply, workspace.trained.init_params, _images(workspace))


def _pseudo_ntk(workspace: Workspace) -> Any:
    apply, params = workspace.network.apply, workspace.trained.params
    return empirical_ntk(apply, params, _images(workspace), form="sum")


def _defined(kernel: Any, amount: Any, **info: Any) -> Result:
    """Refuse networks that do not react to their parameters, whose kernel is zero."""
    return refuse_where({Refusal.DEGENERATE: ~(jnp.trace(kernel) > 0)}, amount, **info)


def _complexity(name: str) -> Any:
    def compute(workspace: Workspace) -> Result:
        kernel = workspace[name]
        return _defined(kernel, label_complexity(kernel, _targets(workspace), RIDGE))

    return compute


def _data_complexity(workspace: Workspace) -> Result:
    images = _images(workspace)
    kernel = two_layer_relu_kernel(images.reshape(len(images), -1))
    return _defined(kernel, label_complexity(kernel, _targets(workspace), RIDGE))


def _target_alignment(name: str, centred: bool) -> Any:
    def compute(workspace: Workspace) -> Result:
        kernel, targets = workspace[name], _targets(workspace)
        return _defined(kernel, alignment(kernel, targets @ targets.T, centred=centred))

    return compute


def _alignment_change(workspace: Workspace) -> Result:
    targets = _targets(workspace)
    first, last = (
        alignment(workspace[name], targets @ targets.T, centred=True)
        for name in ("ntk_init", "ntk")
    )
    smaller = jnp.minimum(jnp.trace(workspace["ntk"]), jnp.trace(workspace["ntk_init"]))
    return refuse_where(
        {Refusal.DEGENERATE: ~(smaller > 0)}, last - first, at_init=first, at_end=last
    )


def _movement(workspace: Workspace) -> Result:
    first, last = workspace["ntk_init"], workspace["ntk"]
    smaller = jnp.minimum(jnp.trace(last), jnp.trace(first))
    return refuse_where(
        {Refusal.DEGENERATE: ~(smaller > 0)}, 1.0 - alignment(first, last, centred=True)
    )


def _effective_dimension(workspace: Workspace) -> Result:
    kernel = workspace["ntk"]
    return _defined(kernel, effective_dimension(kernel, DIMENSION_RIDGE))


# A pass is counted as one gradient per measured example; with 10 classes and 1,000 examples a
# kernel takes 10 x 128 / 1,000 of it, with fewer examples or more classes accordingly more.
_PASSES = 10 * SAMPLE / 1000
INTERMEDIATES = (
    # [n, n] of the first examples, trained parameters.
    Intermediate("ntk", _ntk, requires=("train",), passes=_PASSES),
    # The same at initialisation.
    Intermediate("ntk_init", _ntk_init, requires=("train", "init"), passes=_PASSES),
    # Of the sum of logits, trained parameters.
    Intermediate("pseudo_ntk", _pseudo_ntk, requires=("train",), passes=SAMPLE / 1000),
)

_ARORA = "Arora, Du, Hu, Li and Wang, Fine-grained analysis, ICML 2019"
_CORTES = "Cortes, Mohri and Rostamizadeh, JMLR 13:795, 2012"
_COMPLEXITY = "sqrt(2 tr(Y'(K + r I)^-1 Y) / n), r = 1e-4 tr(K)/n, n = 128, "


def _measure(name: str, formula: str, source: str, compute: Any, *needs: str, **options: Any):
    return Measure(name, "kernel", formula, source, compute, needs, **options)


MEASURES = (
    _measure(
        "ntk_complexity",
        _COMPLEXITY + "K the trained network's tangent kernel, averaged over outputs",
        _ARORA,
        _complexity("ntk"),
        "ntk",
        fast=False,
    ),
    _measure(
        "ntk_complexity_init",
        _COMPLEXITY + "K the tangent kernel at initialisation, averaged over outputs",
        _ARORA,
        _complexity("ntk_init"),
        "ntk_init",
        fast=False,
    ),
    _measure(
        "pseudo_ntk_complexity",
        _COMPLEXITY + "K the tangent kernel of the sum of logits / sqrt(C)",
        "Mohamadi, Bae and Sutherland, ICML 2023; " + _ARORA,
        _complexity("pseudo_ntk"),
        "pseudo_ntk",
    ),
    _measure(
        "two_layer_relu_complexity",
        _COMPLEXITY + "K_ij = x_i.x_j (pi - arccos x_i.x_j) / (2 pi) of unit inputs; it depends on "
        "the data alone",
        _ARORA,
        _data_complexity,
        requires=("train",),
        fast=False,
    ),
    _measure(
        "ntk_target_alignment",
        "<K, YY'> / (||K||_F ||YY'||_F), K the trained tangent kernel",
        "Cristianini et al., NeurIPS 2001",
        _target_alignment("ntk", centred=False),
        "ntk",
        larger_is_worse=False,
        fast=False,
    ),
    _measure(
        "ntk_centred_alignment",
        "<HKH, HYY'H> / (||HKH||_F ||HYY'H||_F), K the trained tangent kernel",
        _CORTES,
        _target_alignment("ntk", centred=True),
        "ntk",
        larger_is_worse=False,
        fast=False,
    ),
    _measure(
        "ntk_centred_alignment_init",
        "<HKH, HYY'H> / (||HKH||_F ||HYY'H||_F), K the tangent kernel at initialisation",
        _CORTES,
        _target_alignment("ntk_init", centred=True),
        "ntk_init",
        larger_is_worse=False,
        fast=False,
    ),
    _measure(
        "ntk_alignment_change",
        "centred alignment of tangent kernel and targets, end minus initialisation",
        "Baratin et al., Implicit regularization via neural feature alignment, AISTATS 2021",
        _alignment_change,
        "ntk",
        "ntk_init",
        larger_is_worse=False,
        fast=False,
    ),
    _measure(
        "ntk_movement",
        "1 - centred alignment (CKA) between the tangent kernels at initialisation and at the end",
        "Fort et al., Deep learning versus kernel learning, NeurIPS 2020",
        _movement,
        "ntk",
        "ntk_init",
        larger_is_worse=None,
        fast=False,
    ),
    _measure(
        "ntk_effective_dimension",
        "tr(K (K + r I)^-1), r = 0.01 tr(K)/n, n = 128, K the trained tangent kernel",
        "Zhang, Neural Computation 17:2077, 2005",
        _effective_dimension,
        "ntk",
        fast=False,
    ),
)
