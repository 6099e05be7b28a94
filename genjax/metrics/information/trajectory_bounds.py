"""Bounds along a noisy path from moments and variances of its gradients.

Statistics, shapes, units and what happens without noise: `genjax.metrics.information.
path_information`. Bounds from what one example changes: `genjax.metrics.information.
example_bounds`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

from genjax.metrics.information.noisy_records import RunData
from genjax.metrics.information.path_information import (
    Host,
    PathBound,
    Statistic,
    Steps,
    check_count,
    check_positive,
    expected_share_squared,
    from_energy,
    path_energy,
    reason_of,
    step_information,
)
from genjax.types import Key, Params


class LastBound(NamedTuple):
    """A bound on the expected gap of the last iterate.

    Attributes:
        value: inf where `reason` says why.
        vacuous: value >= 1, which losses in [0, 1] cannot exceed.
        noise: standard deviation of the noise that was imagined or chosen, for one step.
        conditions: under which it holds, in words.
        reason: why the value is infinite; "" where it is finite.
    """

    value: float
    vacuous: bool
    noise: float
    conditions: str
    reason: str


def pensia(
    second_moment: Statistic,
    rate: Steps,
    noise: Steps,
    *,
    num_examples: int,
    sub_gaussian: float = 0.5,
    sizes: tuple[int, ...] | None = None,
) -> PathBound:
    """Return sqrt(2 s^2 / n sum_t I_t) (Pensia, Jog and Loh, ISIT 2018); I_t: `step_information`.

    All layers that are trained have to be in it: the form with the output layer alone (Zhang, Liu
    and Tao 2024, theorem 4) is sound for a trunk that is fixed, not for one that was trained.

    Args:
        second_moment: E||g_l||^2 (`Record.squared_norm`), or a Lipschitz constant squared.
        rate: eta_t.
        noise: sigma_t.
        num_examples: n.
        sub_gaussian: s of the loss; 1/2 for losses in [0, 1].
        sizes: parameters of each layer; with them the logarithmic form.

    Raises:
        InvalidInputError: see `step_information`, or too few examples.

    Example:
        >>> one = np.ones((2, 1))
        >>> pensia(one, 0.1 * one, one, num_examples=50).value.round(4).tolist()
        [0.0071, 0.01]
    """
    check_count(num_examples=num_examples)
    check_positive(sub_gaussian=sub_gaussian)
    information = step_information(second_moment, rate, noise, sizes=sizes)
    scale = 2 * sub_gaussian**2 / num_examples
    found = from_energy(
        information,
        scale,
        "independent examples; sub-Gaussian loss; Gaussian noise on every trained layer, "
        "independent of everything before; any sampling of batches",
        reason_of(information, second_moment),
    )
    if sizes is not None:
        return found
    own = np.sqrt(scale / 2 * np.cumsum(path_energy(second_moment, rate, noise), axis=-1))
    return found._replace(of_runs=own)


def neu_langevin(
    population_deviation: Statistic,
    rate: Steps,
    noise: Steps,
    *,
    num_examples: int,
    sub_gaussian: float = 0.5,
) -> PathBound:
    """Return sqrt(s^2 / n sum_t eta_t^2 / sigma_t^2 E V_t) (Neu et al., COLT 2021, proposition 3).

    V_t = ||g(W, B_t) - gbar(W)||^2, gbar the gradient of the population. A mean over held-out
    examples in its place keeps the bound, as any function of W that does not know the training set
    does, and makes it larger by the variance of one example's gradient over their number.

    Args:
        population_deviation: V_t (`Record.population_deviation`).
        rate: eta_t.
        noise: sigma_t.
        num_examples: n.
        sub_gaussian: s of the loss; 1/2 for losses in [0, 1].

    Raises:
        InvalidInputError: a value below 0, or too few examples.

    Example:
        >>> one = np.ones((2, 1))
        >>> neu_langevin(one, 0.1 * one, one, num_examples=25).value.round(4).tolist()
        [0.01, 0.0141]
    """
    check_count(num_examples=num_examples)
    check_positive(sub_gaussian=sub_gaussian)
    energy = path_energy(population_deviation, rate, noise)
    return from_energy(
        energy,
        sub_gaussian**2 / num_examples,
        "independent examples; sub-Gaussian loss; Gaussian noise on every trained layer; the "
        "held-out examples are independent of the training set",
        reason_of(energy, population_deviation),
    )


def li_luo_qiao(
    mean_squared_norm: Statistic,
    rate: Steps,
    noise: Steps,
    *,
    num_examples: int,
    batch_size: int | None = None,
    replacement: bool = False,
    largest_loss: float = 1.0,
) -> PathBound:
    """Return the bound of Li, Luo and Qiao (ICLR 2020) from squared norms of single gradients.

    (2 C / n) sqrt(sum_t eta_t^2 / sigma_t^2 E mean_i ||g_i||^2), for Langevin dynamics with all
    examples (sqrt 2 C / n) sqrt(sum_t eta_t beta_t E mean_i ||g_i||^2). C bounds |loss|; published
    comparisons take 1. A loss in [0, 1] has |loss - 1/2| <= 1/2 and the same gap, so C = 1/2 is
    allowed and halves the bound. For batches 1 / n^2 is replaced by E (m_J / b)^2, a form derived
    here that takes the batches as known.

    Args:
        mean_squared_norm: mean_i ||g_i||^2 of training examples (`Record.mean_squared_norm`).
        rate: eta_t.
        noise: sigma_t.
        num_examples: n.
        batch_size: b; None for full batches.
        replacement: batches are drawn with replacement.
        largest_loss: C.

    Raises:
        InvalidInputError: a value below 0, or sizes that do not fit.

    Example:
        >>> one = np.ones((1, 1))
        >>> li_luo_qiao(one, one, one, num_examples=100).value.tolist()
        [0.02]
    """
    check_positive(largest_loss=largest_loss)
    size = num_examples if batch_size is None else batch_size
    share = expected_share_squared(num_examples, size, replacement)
    energy = path_energy(mean_squared_norm, rate, noise)
    return from_energy(
        energy,
        4 * largest_loss**2 * share,
        "independent examples; |loss| at most `largest_loss`; Gaussian noise on every trained "
        "layer; batches are drawn without looking at the examples",
        reason_of(energy, mean_squared_norm),
    )


def neu_descent(
    population_deviation: Statistic,
    perturbation: Statistic,
    rate: Steps,
    virtual: Num[Array | Host, " steps"],
    flatness: float,
    *,
    num_examples: int,
    sub_gaussian: float = 0.5,
) -> LastBound:
    """Return the bound for descent without noise (Neu et al., COLT 2021, theorem 1).

    sqrt(4 s^2 / n sum_t eta_t^2 / v_t^2 E[Gamma_t + V_t]) + |E[Delta(W_T, S') - Delta(W_T, S)]|,
    where v_t is the standard deviation of a noise that is only imagined, Gamma_t = ||gbar(W) -
    gbar(W + zeta)||^2 with zeta of variance v_1^2 + ... + v_{t-1}^2, and Delta = E[L(W) - L(W +
    zeta)] with v_1^2 + ... + v_T^2. Any sequence v is allowed that does not depend on the examples.
    The 4 is the paper's; splitting the square in two by itself costs 2.

    Args:
        population_deviation: V_t (`Record.population_deviation`).
        perturbation: Gamma_t (`Record.perturbation`).
        rate: eta_t.
        virtual: v_t.
        flatness: mean over runs of `flatness_gap`.
        num_examples: n.
        sub_gaussian: s of the loss whose gap is bounded; 1/2 for losses in [0, 1].

    Raises:
        InvalidInputError: a value below 0, or too few examples.

    Example:
        >>> one = np.ones((4, 1))
        >>> found = neu_descent(one, 3 * one, 0.1 * one, np.ones(4), -0.1, num_examples=16)
        >>> round(found.value, 4)
        0.2
    """
    check_count(num_examples=num_examples)
    check_positive(sub_gaussian=sub_gaussian)
    imagined = np.asarray(virtual, float)
    both = np.asarray(population_deviation, float) + np.asarray(perturbation, float)
    energy = path_energy(both, rate, imagined[:, None])
    path = from_energy(energy, 4 * sub_gaussian**2 / num_examples, "", reason_of(energy, both))
    value = float(path.value[-1]) + abs(flatness)
    reason = path.reason
    if not np.isfinite(flatness):
        value, reason = np.inf, "the loss of perturbed parameters is not finite"
    return LastBound(
        value,
        value >= 1,
        float(np.sqrt(np.mean(imagined**2))),
        "independent examples; sub-Gaussian loss, the one whose flatness is given; the imagined "
        "noise does not depend on the examples; held-out examples are independent of them",
        reason,
    )


def flatness_gap(
    apply: Callable[[Params, Any], Any],
    params: Params,
    data: RunData,
    key: Key,
    *,
    noise: Any,
    draws: int = 16,
) -> Float[Array, ""]:
    """Return Delta(W, S') - Delta(W, S) for the share of errors, Delta = E[L(W) - L(W + zeta)].

    zeta ~ N(0, noise^2 I): the last term of `neu_descent`, of one network. Both parts see the same
    draws. Jitted and vmapped as the caller likes.

    Args:
        apply: `(params, images) -> logits`.
        params: W_T.
        data: S and, as S', the population examples.
        key: of the draws.
        noise: root of v_1^2 + ... + v_T^2.
        draws: of zeta.

    Example:
        >>> images, labels = jnp.ones((2, 1, 1, 1)), jnp.array([0, 1])
        >>> flat = lambda w, x: jnp.zeros((len(x), 2)) + 0 * w
        >>> data = RunData(images, labels, images[:1], labels[:1])
        >>> float(flatness_gap(flat, jnp.ones(()), data, jax.random.key(0), noise=1.0, draws=2))
        0.0
    """

    def errors(at):
        parts = ((data.images, data.labels), (data.population_images, data.population_labels))
        return [jnp.mean(jnp.argmax(apply(at, x), axis=1) != y) for x, y in parts]

    def lost(key):
        zeta = optax.tree.random_like(key, params, jax.random.normal)
        moved = errors(jax.tree.map(lambda w, z: w + noise * z, params, zeta))
        return (still[1] - moved[1]) - (still[0] - moved[0])

    still = errors(params)
    return jnp.mean(jax.lax.map(lost, jax.random.split(key, draws)))


def wang_mao(
    population_deviation: Statistic,
    rate: Steps,
    hessian_trace: float,
    *,
    num_examples: int,
    sub_gaussian: float = 0.5,
) -> LastBound:
    """Return min over v of A / v + B v^2 = 3 (A^2 B / 4)^(1/3) (Wang and Mao, ICLR 2022).

    A = sqrt(s^2 / n sum_t eta_t^2 E V_t) and B = T tr(H) / 2 for an imagined noise v at each of T
    steps; v = (A / 2B)^(1/3) is best. The flatness is taken to second order in v, and its part on
    new examples, which works for the bound, is left out: an approximation, no certificate.

    Args:
        population_deviation: V_t (`Record.population_deviation`).
        rate: eta_t.
        hessian_trace: E tr(H) of the mean training loss at W_T, e.g. by
            `genjax.metrics.curvature.trace`.
        num_examples: n.
        sub_gaussian: s of the loss whose Hessian it is.

    Raises:
        InvalidInputError: a value below 0, or too few examples.

    Example:
        >>> one = np.ones((4, 1))
        >>> found = wang_mao(one, 0.1 * one, 50.0, num_examples=25)
        >>> round(found.value, 4), round(found.noise, 4)
        (0.6463, 0.0464)
    """
    check_count(num_examples=num_examples)
    check_positive(sub_gaussian=sub_gaussian)
    conditions = (
        "independent examples; sub-Gaussian loss, the one whose Hessian is taken; flatness to "
        "second order, that of new examples at least 0: an approximation"
    )
    deviation = np.asarray(population_deviation, float)
    energy = path_energy(deviation, rate, np.ones((1, 1)))
    path = from_energy(energy, sub_gaussian**2 / num_examples, "", reason_of(energy, deviation))
    if not hessian_trace > 0 or not np.isfinite(hessian_trace):
        reason = f"the trace of the Hessian is {hessian_trace}: there is no minimum to speak of"
        return LastBound(np.inf, True, 0.0, conditions, reason)
    a, b = float(path.value[-1]), energy.shape[-1] * hessian_trace / 2
    value = 3 * (a**2 * b / 4) ** (1 / 3)
    return LastBound(value, value >= 1, (a / (2 * b)) ** (1 / 3), conditions, path.reason)
