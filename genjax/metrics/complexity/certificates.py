"""PAC-Bayes certificates: bounds with a guarantee, on a stochastic network trained for them.

The bounds themselves are functions in `bounds`; how a stochastic network is trained and certified
is in `stochastic_training`.
"""

import jax.numpy as jnp

from genjax.metrics.complexity import stochastic_training
from genjax.metrics.complexity.contract import Measure, Refusal, Result, refuse_where, value
from genjax.metrics.complexity.stochastic_training import CertificateConfig
from genjax.metrics.complexity.workspace import Workspace

_DRAWS = {"draws": 1000, "examples_per_draw": 32}
INITIAL = CertificateConfig(
    objective="bbb", prior="initial", deviation=0.1, learning_rate=1e-2, epochs=50, **_DRAWS
)
"""How the certificate around the initial weights is trained; fixed beforehand."""

LEARNT = CertificateConfig(
    objective="fquad",
    prior="learnt",
    deviation=0.03,
    learning_rate=3e-3,
    prior_epochs=50,
    epochs=25,
    **_DRAWS,
)
"""How the certificate around learnt weights is trained; fixed beforehand."""

_SMALLEST = 16  # half of them must be enough for Maurer's bound


def _certificate(workspace: Workspace, rules: CertificateConfig, name: str, *, own: bool) -> Result:
    network, data, trained = workspace.network, workspace.data.train, workspace.trained
    if data.labels.shape[0] < _SMALLEST:
        return refuse_where({Refusal.DEGENERATE: jnp.bool_(True)}, jnp.float32(0))
    stochastic = stochastic_training.train(
        network,
        trained.init_params,
        data,
        workspace.key(f"{name} training"),
        rules,
        start=trained.params if own else None,
    )
    found = stochastic_training.certify(
        network, stochastic, data, workspace.key(f"{name} draws"), rules
    )
    return value(
        found.bound,
        vacuous=found.vacuous,
        sampled_error=found.sampled_error,
        standard_error=found.standard_error,
        kl_nats=found.kl_nats,
        confidence=found.confidence,
    )


def _initial(workspace: Workspace) -> Result:
    return _certificate(workspace, INITIAL, "pac_bayes_certificate", own=True)


def _learnt(workspace: Workspace) -> Result:
    return _certificate(workspace, LEARNT, "pac_bayes_certificate_learnt_prior", own=False)


_FORMULA = (
    "kl^-1(kl^-1(average error over {draws} draws, ln(2/{sampling_delta})/draws), "
    "(KL + ln(2 sqrt(n)/{delta}))/n) of "
)
_SOURCE = "Perez-Ortiz et al., Tighter Risk Certificates for Neural Networks, JMLR 2021"
_CONDITIONS = (
    "confidence {confidence:g}, for the error of the stochastic network, which draws its weights "
    "anew for every prediction; the training examples are independent draws of one distribution, "
    "and the initial weights were fixed without them"
)
# Examples of the draws, of about a thousand that are measured; a forward pass is a third.
_DRAWING = _DRAWS["draws"] * _DRAWS["examples_per_draw"] / 1000 / 3


def _rules(rules: CertificateConfig) -> dict[str, float | int]:
    return {
        "draws": rules.draws,
        "sampling_delta": rules.sampling_delta,
        "delta": rules.delta,
        "confidence": rules.confidence,
    }


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="pac_bayes_certificate",
        family="certificates",
        formula=_FORMULA.format(**_rules(INITIAL))
        + f"a Gaussian posterior trained from the network's weights on risk + 0.1 KL/n; prior: "
        f"deviation {INITIAL.deviation:g} around the initial weights; n measured examples",
        source=_SOURCE,
        compute=_initial,
        requires=("trainable", "init", "train"),
        passes=INITIAL.epochs + _DRAWING,
        fast=False,
        conditions=_CONDITIONS.format(**_rules(INITIAL)),
    ),
    Measure(
        name="pac_bayes_certificate_learnt_prior",
        family="certificates",
        formula=_FORMULA.format(**_rules(LEARNT))
        + "a network of the same architecture and start: Gaussian prior of deviation "
        f"{LEARNT.deviation:g} learnt on a random half of the measured examples, posterior trained "
        "on the n others by (sqrt(risk + K) + sqrt(K))^2, K = (KL + ln(2 sqrt(n)/delta))/(2n)",
        source=_SOURCE,
        compute=_learnt,
        requires=("trainable", "init", "train"),
        passes=(LEARNT.prior_epochs + LEARNT.epochs) / 2 + _DRAWING,
        fast=False,
        conditions=_CONDITIONS.format(**_rules(LEARNT))
        + "; the other half of the examples, on which it is computed, took no part in the prior",
    ),
)
