"""What the numbers of a measure say, in one word. Host float64."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from genjax.statistics.resampling import percentile_interval

Host = np.ndarray

PREDICTS = "predicts"
ANTI_PREDICTS = "anti-predicts"
CHANCE = "indistinguishable from chance"
THROUGH = "only through {}"


def verdicts(
    kendall: Float[Host, " measure"],
    p_adjusted: Float[Host, " measure"],
    stratified: Float[Host, "measure hyper"],
    overall_draws: Float[Host, "draw measure"],
    stratified_draws: Float[Host, "draw measure hyper"],
    hyper_names: Sequence[str],
    *,
    level: float = 0.95,
    units: int | None = None,
) -> list[str]:
    """Say of every measure whether it predicts the target, and whether by itself.

    - "indistinguishable from chance": the adjusted p-value is not below 1 - level, or missing;
    - "only through X": among networks with the same value of hyper-parameter X (in one bin of it,
      where it is continuous) nothing is left:
      the interval of tau there includes 0 (or lies on the other side), and the loss is no chance:
      the interval of overall tau minus tau there excludes 0. Of several such X the one that leaves
      least is named. A measure that is constant wherever X is leaves nothing;
    - "predicts" where tau is positive, "anti-predicts" where it is negative.

    Args:
        kendall: overall tau of every measure with the target, of configurations' means.
        p_adjusted: p-values, adjusted for the number of measures.
        stratified: tau among configurations that share the value of a hyper-parameter; 0 where the
            measure does not differ among them, NaN where there are no two: then it is not judged.
        overall_draws: bootstrap draws of the overall tau.
        stratified_draws: of the stratified tau, from the same samples.
        hyper_names: of the hyper-parameters.
        level: nominal coverage of the intervals; 1 - level is the error allowed of the tests.
        units: number of resampled configurations, for `percentile_interval`.

    Example:
        >>> draws = np.array([[0.5], [0.6], [0.7]])
        >>> nothing = np.array([[[-0.1]], [[0.0]], [[0.1]]])
        >>> tau, p, left = np.array([0.6]), np.array([0.01]), np.array([[0.0]])
        >>> verdicts(tau, p, left, draws, nothing, ["width"])
        ['only through width']
    """
    side = np.sign(kendall)
    judged = ~np.isnan(stratified)
    left = np.nan_to_num(stratified * side[:, None])
    kept = np.nan_to_num(stratified_draws * side[:, None])
    lost = overall_draws[..., None] * side[:, None] - kept
    low, _ = percentile_interval(kept, level, units=units)
    loss_low, _ = percentile_interval(lost, level, units=units)
    vanishes = (low <= 0) & (loss_low > 0) & judged
    found = []
    for m in range(len(kendall)):
        if not p_adjusted[m] < 1 - level:  # also where there is no p-value
            found.append(CHANCE)
        elif vanishes[m].any():
            least = int(np.where(vanishes[m], left[m], np.inf).argmin())
            found.append(THROUGH.format(hyper_names[least]))
        else:
            found.append(PREDICTS if side[m] > 0 else ANTI_PREDICTS)
    return found
