"""Where the theorem that depth contracts the gap fails, and where it is right, computed exactly.

Each case takes one step of Zhang, Liu and Tao, "Going Deeper, Generalizing Better" (arXiv
1804.09060v8), and computes both sides on a problem that is small enough to enumerate, or Gaussian.
All information in nats, 0-1 losses, sigma = 1/2.
"""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from genjax.metrics.information import channels, coefficients, gaussian_location, theorems
from genjax.metrics.information.enumeration import enumerate_exactly, layer_information
from genjax.metrics.information.finite_problems import Problem, majority
from genjax.metrics.information.noisy_descent_theorems import descent_information

REFUTED, HOLDS = "refuted", "holds"


class Case(NamedTuple):
    """One claim and what was computed about it.

    Attributes:
        name: F1 ... F10, or `right`.
        claim: of the paper, in one sentence.
        numbers: what was computed, by name.
        expected: what a few of them must be, to their printed digits.
        verdict: `refuted` or `holds`, from the numbers.
        because: why, in one sentence.
    """

    name: str
    claim: str
    numbers: Mapping[str, float]
    expected: Mapping[str, float]
    verdict: str
    because: str


def cases() -> tuple[Case, ...]:
    """Return all cases, F1 to F10 and the one in which the rate of the paper is right.

    Example:
        >>> [(case.name, case.verdict) for case in cases()][::10]
        [('F1', 'refuted'), ('right', 'holds')]
    """
    return (
        deterministic_layer(),
        label_bypass(),
        trained_trunk(),
        deep_padded_bit(),
        frozen_trunk(),
        data_on_a_line(),
        coefficients_near_one(),
        conditioned_noise(),
        growth_of_one_sample(),
        continuous_data(),
        noisy_loss(),
    )


def deterministic_layer() -> Case:
    """F1: the coefficient of a map that merges two of three inputs."""
    merge = channels.deterministic([0, 0, 1])
    uniform = np.full(3, 1 / 3)
    # U is the merged letter itself: its information about X passes whole.
    before = channels.mutual_information(uniform, merge)
    after = channels.mutual_information(uniform @ merge, channels.identity(2))
    numbers = {"coefficient": coefficients.eta_kl(merge), "information_ratio": after / before}
    return Case(
        "F1",
        "A layer from which its input cannot be recovered has a coefficient below 1.",
        numbers,
        {"coefficient": 1.0, "information_ratio": 1.0},
        _refuted_if(min(numbers.values()) > 1 - 1e-9),
        "What a deterministic map lets through, it lets through whole.",
    )


def label_bypass() -> Case:
    """F2: a noisy layer with the label riding along."""
    noisy = channels.binary_symmetric(0.3)
    numbers = {
        "coefficient": coefficients.eta_kl(noisy),
        "coefficient_with_label": coefficients.eta_kl(channels.with_label(noisy, 2)),
    }
    return Case(
        "F2",
        "A noisy layer on (x, y) contracts information about the example.",
        numbers,
        {"coefficient": 0.16, "coefficient_with_label": 1.0},
        _refuted_if(numbers["coefficient_with_label"] > 1 - 1e-9),
        "The label goes around the noise.",
    )


def trained_trunk() -> Case:
    """F3: hidden layers that memorise, with a head that never changes."""
    plain = majority(3)
    problem = plain._replace(
        learn=lambda sample: {(int(sum(sample) > 1), "fixed"): 1.0},
        predict=lambda hypothesis, z: hypothesis[0],
    )
    found = layer_information(problem, lambda w, z: (w, z))
    numbers = {
        "gap": enumerate_exactly(problem).gap,
        "information_of_trunk": found.trunk,
        "information_of_last_layer": found.last_layer,
        "lemma_2_bound": float(theorems.expected_gap_bound(found.last_layer, 3)),
    }
    return Case(
        "F3",
        "Given the trained hidden layers the examples are independent draws, so that the gap is at "
        "most sqrt(2 sigma^2 I(T_L;h|w) / n).",
        numbers,
        {"gap": 0.25, "information_of_last_layer": 0.0, "lemma_2_bound": 0.0},
        _refuted_if(numbers["gap"] > numbers["lemma_2_bound"] + 1e-9),
        "The gap comes from I(S;w), which no layer contracts.",
    )


def deep_padded_bit() -> Case:
    """F4: L layers of half rank that keep the one number that matters."""
    weights = np.array([[1.0, 0.0], [0.0, 0.0]])

    def through(bit: int, depth: int) -> int:
        x = np.array([float(bit), 0.0])
        for _ in range(depth):
            x = np.maximum(weights @ x, 0)
        return int(x[0])

    gaps = {}
    for depth in (1, 4, 16):
        problem = majority(3)._replace(
            predict=lambda w, z, depth=depth: w != through(z, depth),
            loss=lambda wrong, z: float(wrong),
        )
        found = enumerate_exactly(problem)
        gaps[f"gap_at_{depth}"] = found.gap
        bound = found.bound
    numbers = {
        **gaps,
        "rank": float(np.linalg.matrix_rank(weights)),
        "inputs": 2.0,
        "bound_without_layers": bound,
        "least_shrinkage": gaps["gap_at_16"] / bound,
    }
    return Case(
        "F4",
        "With L contraction layers the gap falls to zero exponentially in L.",
        numbers,
        {"gap_at_1": 0.25, "gap_at_16": 0.25, "bound_without_layers": 0.33989}
        | {"least_shrinkage": 0.7355},
        _refuted_if(math.isclose(gaps["gap_at_16"], gaps["gap_at_1"], abs_tol=1e-12)),
        "eta^(L/2) cannot be below .7355 at any depth, so that eta tends to 1.",
    )


def frozen_trunk() -> Case:
    """F5: hidden layers chosen without the sample, a head learned from what they give."""

    def trunk(w: int, z: int) -> int:
        return (z // 2) * w

    def learn(sample: tuple[int, ...]) -> dict:
        found = {}
        for w in (0, 1):
            votes = [0, 0]
            for z in sample:
                votes[trunk(w, z)] += 2 * (z % 2) - 1
            found[w, tuple(int(vote > 0) for vote in votes)] = 0.5
        return found

    problem = Problem(
        probabilities=np.array([0.4, 0.1, 0.2, 0.3]),
        num_examples=3,
        learn=learn,
        predict=lambda hypothesis, z: hypothesis[1][trunk(hypothesis[0], z)],
        loss=lambda prediction, z: float(prediction != z % 2),
    )
    found = layer_information(problem, lambda w, z: (trunk(w, z), z % 2))
    numbers = {
        "information_of_head": found.head,
        "information_of_last_layer": found.last_layer,
        "ratio": found.last_layer / found.head,
    }
    return Case(
        "F5",
        "Hidden layers contract what the output layer knows, I(T_L;h|w) < I(S;h|w).",
        numbers,
        {"ratio": 1.0},
        _refuted_if(numbers["ratio"] > 1 - 1e-9),
        "Where Lemma 2 is sound, with hidden layers independent of the sample, h knows of the "
        "sample only what the last layer says.",
    )


def data_on_a_line() -> Case:
    """F6: a layer of half rank and inputs on a line that it does not fold."""
    weights = np.array([[1.0, 0.0], [0.0, 0.0]])
    inputs = np.linspace(0.1, 1.0, 10)[:, None] * np.array([1.0, 2.0])
    outputs, codes = np.unique(inputs @ weights.T, axis=0, return_inverse=True)
    layer = channels.deterministic(codes.ravel())
    numbers = {
        "rank": float(np.linalg.matrix_rank(weights)),
        "inputs": 2.0,
        "distinct_before": float(len(inputs)),
        "distinct_after": float(len(outputs)),
        "coefficient": coefficients.eta_kl(layer),
    }
    return Case(
        "F6",
        "A layer whose rank is below its number of inputs loses information.",
        numbers,
        {"rank": 1.0, "distinct_after": 10.0, "coefficient": 1.0},
        _refuted_if(numbers["distinct_after"] == numbers["distinct_before"]),
        "No two inputs that occur collide.",
    )


def coefficients_near_one() -> Case:
    """F7: layers that all contract, less and less; and coefficients defined by measurement."""
    flips = [0.1 / k**2 for k in range(1, 65)]
    etas = [coefficients.eta_kl(channels.binary_symmetric(flip)) for flip in flips]
    layers = [channels.parallel(*[channels.binary_symmetric(flip)] * 3) for flip in flips[:8]]
    head = np.array(
        [[float(bin(s).count("1") < 2), float(bin(s).count("1") > 1)] for s in range(8)]
    )
    # The head is learned from the sample; T_k is the sample after k layers.
    information = [
        channels.mutual_information([0.5, 0.5], channels.compose((head / 4).T, *layers[:k]))
        if k
        else channels.mutual_information(np.full(8, 1 / 8), head)
        for k in range(9)
    ]
    product = float(np.prod([b / a for a, b in itertools.pairwise(information)]))
    numbers = {
        "first_coefficient": etas[0],
        "last_coefficient": etas[-1],
        "product_over_64_layers": float(np.prod(etas)),
        "measured_product": product,
        "measured_ratio": information[-1] / information[0],
        "theorem_2_with_measured": float(
            theorems.expected_gap_bound(information[0], 3, contraction_coefficient=product, depth=1)
        ),
        "lemma_2": float(theorems.expected_gap_bound(information[-1], 3)),
    }
    vanishing = numbers["product_over_64_layers"] < etas[0] ** 64 * 1e3
    return Case(
        "F7",
        "If every layer contracts, one eta < 1 serves all depths.",
        numbers,
        {"first_coefficient": 0.64},
        _refuted_if(max(etas) < 1 and not vanishing),
        "Every coefficient is below 1 and their product stays; if they are measured ratios, the "
        "product telescopes and Theorem 2 is Lemma 2.",
    )


def conditioned_noise() -> Case:
    """F8: two steps on `1/2 (h + w - z)^2`; the final w shows the noise that went into h.

    Of examples with mean `Zbar ~ N(0, 1)` step 1 moves h by `Zbar + N(0, 1)`, step 2 moves w by
    minus the noise of h. All other noise has standard deviation .1.
    """
    small = 0.1
    # Rows over independent standard normals: Zbar, noise of h (1, 2), noise of w (1, 2).
    mean = np.array([1.0, 0, 0, 0, 0])
    h_1, w_1 = np.array([1.0, 1, 0, 0, 0]), np.array([0, 0, 0, small, 0])
    h_2 = h_1 + np.array([0, 0, small, 0, 0])
    w_2 = w_1 - (h_1 + w_1 - mean) + np.array([0, 0, 0, 0, small])
    rates, noises = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[small, 1.0], [small, small]])
    moment = float(np.sum((h_1 + w_1 - mean) ** 2))
    steps = descent_information(rates, np.array([[1.0, 1.0], [moment, moment]]), noises, [1, 1])
    numbers = {
        "information_of_head": _left_over(h_2, [w_2]) - _left_over(h_2, [w_2, mean]),
        "paper": float(steps.log_steps[:, 1].sum()),
        "trajectory": float(steps.log_steps.sum()),
    }
    return Case(
        "F8",
        "Given the final hidden layers the noise of the output layer is still Gaussian, so that "
        "I(S;h|w) is at most the sum of its own steps.",
        numbers,
        {"paper": math.log(2) / 2},
        _refuted_if(numbers["information_of_head"] > numbers["paper"] + 1e-9),
        "Hidden layers that are trained on the same noise give it away; the sum over all layers "
        "holds.",
    )


def _left_over(value: np.ndarray, known: list[np.ndarray]) -> float:
    """Return half the log variance of a Gaussian that is left when others are known."""
    basis = np.stack(known, axis=1)
    rest = value - basis @ np.linalg.lstsq(basis, value, rcond=None)[0]
    return float(np.log(rest @ rest) / 2)


def growth_of_one_sample() -> Case:
    """F9: thresholds on 8 points, learned from one of them."""
    problem = Problem(
        probabilities=np.full(8, 1 / 8),
        num_examples=1,
        learn=lambda sample: {sample[0]: 1.0},
        predict=lambda w, z: z >= w,
        loss=lambda positive, z: float(not positive),
    )
    found = enumerate_exactly(problem)
    numbers = {
        "information": found.information,
        "paper": 1.0 * theorems.log_growth(1, 1),
        "paper_with_vc_dimension": 1.0,
        "predictions_information": found.supersampled.predictions.information,
        "log_growth_of_supersample": theorems.log_growth(2, 1),
    }
    return Case(
        "F9",
        "The entropy of the output layer is at most log Pi(n), so that I(S;h) is at most the VC "
        "dimension for n <= d.",
        numbers,
        {"information": math.log(8), "paper": math.log(2)},
        _refuted_if(
            numbers["information"] > numbers["paper_with_vc_dimension"]
            and numbers["predictions_information"] <= numbers["log_growth_of_supersample"]
        ),
        "log Pi(n) counts behaviours on one sample, not the hypotheses of random samples; on a "
        "supersample the count is right.",
    )


def continuous_data() -> Case:
    """F10: a learner that keeps its example, quantised ever finer."""

    def keeps(letters: int) -> Problem:
        return Problem(
            probabilities=np.full(letters, 1 / letters),
            num_examples=1,
            learn=lambda sample: {sample[0]: 1.0},
            predict=lambda w, z: w == z,
            loss=lambda seen, z: float(not seen),
        )

    coarse, fine = enumerate_exactly(keeps(4)), enumerate_exactly(keeps(16))
    numbers = {
        "information_at_4_letters": coarse.information,
        "information_at_16_letters": fine.information,
        "information_of_continuous": float(
            gaussian_location.noisy_mean(1, 1, 1.0, 0.0).information
        ),
        "conditional_at_4_letters": coarse.supersampled.weights.information,
        "conditional_at_16_letters": fine.supersampled.weights.information,
        "ceiling_of_conditional": math.log(2),
    }
    return Case(
        "F10",
        "I(S;W) <= H(S) is a finite measure of what was learned.",
        numbers,
        {"information_at_16_letters": math.log(16), "information_of_continuous": math.inf},
        _refuted_if(
            math.isinf(numbers["information_of_continuous"])
            and numbers["conditional_at_16_letters"] <= math.log(2)
        ),
        "Of continuous data both are infinite without noise; given a supersample information is at "
        "most n log 2.",
    )


def noisy_loss() -> Case:
    """The case in which the rate is right: the loss is read through L noisy layers, labels too."""
    numbers, expected = {}, {}
    for flip in (0.05, 0.1):
        layer = channels.binary_symmetric(flip)
        eta = coefficients.eta_kl(layer)
        for depth in (1, 4, 16):
            through = float(channels.compose(*[layer] * depth)[0, 1])
            gap = enumerate_exactly(majority(3, through)).gap
            bound = theorems.expected_gap_bound(
                math.log(2), 3, contraction_coefficient=eta, depth=depth
            )
            name = f"gap_over_bound_at_{flip}_and_{depth}"
            numbers[name], expected[name] = gap / float(bound), 0.7355
    return Case(
        "right",
        "The gap is at most eta^(L/2) sqrt(2 sigma^2 I(S;W) / n).",
        numbers,
        expected,
        HOLDS if max(numbers.values()) <= 1 else REFUTED,
        "Noise on everything that the loss reads shrinks gap and bound alike, by (1 - 2p)^L.",
    )


def _refuted_if(found: bool | np.bool_) -> str:
    return REFUTED if found else HOLDS
