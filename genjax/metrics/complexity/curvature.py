"""Curvature: traces, extreme eigenvalues and noise of the training loss in the weights.

The loss is the mean cross-entropy (nats) of the measured training examples, H its Hessian, G its
generalized Gauss-Newton matrix, C the covariance of the gradients of single examples; w are all
weights and biases, P of them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from genjax.metrics import curvature
from genjax.metrics.complexity.adaptive_sharpness import measured
from genjax.metrics.complexity.contract import Intermediate, Measure, Refusal, Result, refuse_where
from genjax.metrics.complexity.pac_bayes import weights
from genjax.metrics.complexity.workspace import Workspace
from genjax.metrics.curvature.gradient_covariance import gradient_covariance, noise_alignment

PROBES = 16
STEPS = 30
DAMPING = 1.0
_QUADRATURES = 4


def _alignment(workspace: Workspace) -> Any:
    made, chunks = measured(workspace)
    key = workspace.key("curvature_probes")
    return noise_alignment(made, workspace.trained.params, chunks, key, probes=PROBES)


def _extremes(workspace: Workspace) -> Any:
    found = _eigenvalues(workspace, curvature.hessian, bottom=1)
    return found.top, found.top_residuals, found.bottom, found.bottom_residuals


def _eigenvalues(workspace: Workspace, matrix: Any, bottom: int = 0) -> curvature.Eigenvalues:
    made, chunks = measured(workspace)
    params = workspace.trained.params
    return curvature.extreme_eigenvalues(
        matrix(made)(params, chunks),
        params,
        workspace.key("lanczos"),
        bottom=bottom,
        steps=STEPS,
    )


def _gauss_newton(workspace: Workspace) -> curvature.Quadrature:
    made, chunks = measured(workspace)
    params = workspace.trained.params
    product = curvature.generalized_gauss_newton(made)(params, chunks)
    key = workspace.key("gauss_newton")
    return curvature.quadrature(product, params, key, probes=_QUADRATURES, steps=STEPS)


def _finite(amount: Any, **info: Any) -> Result:
    return refuse_where({Refusal.DEGENERATE: ~jnp.isfinite(amount)}, amount, **info)


def _trace(workspace: Workspace, scaled: bool) -> Result:
    found = workspace["curvature_probes"]
    factor = jnp.sum(weights(workspace) ** 2) if scaled else 1.0
    error = found.trace_errors[1] * factor
    return _finite(found.hessian_trace * factor, standard_error=error)


def _norm(workspace: Workspace) -> Result:
    return _finite(workspace["curvature_probes"].hessian_norm)


def _cosine(workspace: Workspace) -> Result:
    found = workspace["curvature_probes"]
    return _finite(found.cosine, standard_error=found.cosine_error)


def _product(workspace: Workspace) -> Result:
    return _finite(workspace["curvature_probes"].product_trace)


def _top(workspace: Workspace, scaled: bool) -> Result:
    top, residual, _, _ = workspace["hessian_extremes"]
    factor = jnp.sum(weights(workspace) ** 2) if scaled else 1.0
    return _finite(top[0] * factor, residual=residual[0] * factor)


def _bottom(workspace: Workspace) -> Result:
    _, _, bottom, residual = workspace["hessian_extremes"]
    return _finite(bottom[0], residual=residual[0])


def _adaptive_trace(workspace: Workspace) -> Result:
    made, chunks = measured(workspace)
    params = workspace.trained.params
    product = curvature.hessian(made)(params, chunks)

    def scaled(v):  # of diag(w) H diag(w)
        inner = product(jax.tree.map(jnp.multiply, params, v))
        return jax.tree.map(jnp.multiply, params, inner)

    found = curvature.trace(scaled, params, workspace.key("adaptive_trace"), probes=PROBES)
    return _finite(found.value, standard_error=found.standard_error)


def _of_gauss_newton(workspace: Workspace, what: str) -> Result:
    found = workspace["gauss_newton_spectrum"]
    if what == "trace":
        estimate = curvature.trace_of(lambda nodes: nodes, found)
    elif what == "log_determinant":
        estimate = curvature.log_determinant(found, DAMPING)
    else:
        estimate = curvature.effective_dimension(found, DAMPING)
    return _finite(estimate.value, standard_error=estimate.standard_error)


def _top_of(workspace: Workspace, matrix: Any) -> Result:
    found = _eigenvalues(workspace, matrix)
    return _finite(found.top[0], residual=found.top_residuals[0])


# A Hessian-vector product costs about two passes, as does one with G or C.
INTERMEDIATES = (
    # `gradient_covariance.Alignment`.
    Intermediate("curvature_probes", _alignment, requires=("train",), passes=4 * PROBES + 1),
    # Largest eigenvalue, its residual, smallest one, its residual: [1] each.
    Intermediate("hessian_extremes", _extremes, requires=("train",), passes=2 * STEPS),
    # `spectrum.Quadrature` of the Gauss-Newton matrix.
    Intermediate(
        "gauss_newton_spectrum",
        _gauss_newton,
        requires=("train",),
        passes=2 * STEPS * _QUADRATURES,
    ),
)

_FAMILY = "curvature"
_PAPYAN = "Papyan, The Full Spectrum of Deepnet Hessians at Scale, 2018"
_YAO = "Yao et al., PyHessian: Neural Networks Through the Lens of the Hessian, 2020"
_JASTRZEBSKI = "Jastrzebski et al., The Break-Even Point on Optimization Trajectories, ICLR 2020"
_TSUZUKU = "Tsuzuku, Sato and Sugiyama, Normalized Flat Minima, ICML 2020"
_LYU = "Lyu, Li and Arora, Understanding the Generalization Benefit of Normalization Layers, 2022"
_THOMAS = "Thomas et al., On the Interplay between Noise and Curvature, AISTATS 2020"
_ZHU = "Zhu et al., The Anisotropic Noise in Stochastic Gradient Descent, ICML 2019"
_MACKAY = "MacKay, Bayesian Interpolation, Neural Computation 1992"
_PROBED = f"{PROBES} probes"
_LANCZOS = f"{STEPS} steps of Lanczos; info holds the residual, a bound on the error"


def _measure(name: str, formula: str, source: str, compute: Any, **more: Any) -> Measure:
    how: dict[str, Any] = {"requires": ("train",), "fast": False} | more
    return Measure(
        name=name, family=_FAMILY, formula=formula, source=source, compute=compute, **how
    )


MEASURES = (
    _measure(
        "hessian_trace",
        f"tr(H), {_PROBED}",
        _YAO,
        lambda workspace: _trace(workspace, scaled=False),
        needs=("curvature_probes",),
    ),
    _measure(
        "hessian_trace_scaled",
        f"||w||_2^2 tr(H), {_PROBED}: the same for all scales of the weights where the network is",
        _LYU,
        lambda workspace: _trace(workspace, scaled=True),
        needs=("curvature_probes",),
    ),
    _measure(
        "adaptive_hessian_trace",
        f"sum_i w_i^2 H_ii, {_PROBED}: twice the leading term of average-case adaptive sharpness "
        "over rho^2; invariant if layers of a ReLU network are rescaled",
        _TSUZUKU,
        _adaptive_trace,
        passes=2 * PROBES,
    ),
    _measure(
        "hessian_frobenius_norm",
        f"||H||_F = sqrt(E ||H z||^2), {_PROBED}",
        _YAO,
        _norm,
        needs=("curvature_probes",),
    ),
    _measure(
        "hessian_top_eigenvalue",
        f"largest eigenvalue of H; {_LANCZOS}",
        _JASTRZEBSKI,
        lambda workspace: _top(workspace, scaled=False),
        needs=("hessian_extremes",),
    ),
    _measure(
        "hessian_top_eigenvalue_scaled",
        f"||w||_2^2 times the largest eigenvalue of H; {_LANCZOS}",
        _LYU,
        lambda workspace: _top(workspace, scaled=True),
        needs=("hessian_extremes",),
    ),
    _measure(
        "hessian_bottom_eigenvalue",
        f"smallest eigenvalue of H, negative away from a minimum; {_LANCZOS}",
        _YAO,
        _bottom,
        needs=("hessian_extremes",),
        larger_is_worse=None,
    ),
    _measure(
        "gauss_newton_top_eigenvalue",
        f"largest eigenvalue of G; {_LANCZOS}",
        _PAPYAN,
        lambda workspace: _top_of(workspace, curvature.generalized_gauss_newton),
        passes=2 * STEPS,
    ),
    *(
        _measure(
            name,
            f"{formula}; stochastic Lanczos quadrature, {_QUADRATURES} probes of {STEPS} steps",
            _MACKAY,
            lambda workspace, what=what: _of_gauss_newton(workspace, what),
            needs=("gauss_newton_spectrum",),
        )
        for name, what, formula in (
            ("gauss_newton_trace", "trace", "tr(G)"),
            (
                "gauss_newton_log_determinant",
                "log_determinant",
                f"ln det(G + {DAMPING:g} 1), nats",
            ),
            (
                "effective_dimension",
                "dimension",
                f"sum_i l_i / (l_i + {DAMPING:g}), l_i the eigenvalues of G",
            ),
        )
    ),
    _measure(
        "gradient_covariance_top_eigenvalue",
        f"largest eigenvalue of C = mean_i (g_i - g)(g_i - g)'; {_LANCZOS}",
        _JASTRZEBSKI,
        lambda workspace: _top_of(workspace, gradient_covariance),
        passes=2 * STEPS + 1,
    ),
    _measure(
        "noise_curvature_product",
        f"tr(C H), {_PROBED}",
        _ZHU,
        _product,
        needs=("curvature_probes",),
    ),
    _measure(
        "noise_curvature_alignment",
        f"tr(C H) / (||C||_F ||H||_F), in [-1, 1], {_PROBED}",
        _THOMAS,
        _cosine,
        needs=("curvature_probes",),
        larger_is_worse=None,
    ),
)
