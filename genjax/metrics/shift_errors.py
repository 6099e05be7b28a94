"""Error of one network under shifts of its inputs, at calibrated levels."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from genjax.data import Batch, Examples, shifts
from genjax.errors import InvalidInputError
from genjax.metrics import evaluation
from genjax.models.network import Network
from genjax.types import Key, Params


def shift_errors(
    network: Network,
    params: Params,
    examples: Examples,
    changes: Sequence[shifts.Shift],
    targets: Sequence[float | int],
    key: Key,
    *,
    tolerance: float | int = 1e-3,
    level: float | int = 0.95,
    batch_size: int = evaluation.BLOCK,
    on_progress: Callable[[str, float], None] | None = None,
) -> pd.DataFrame:
    """Measure how often a network errs at every level of every shift.

    Each shift is calibrated on the images themselves, so that a level means the same average SSIM
    under every shift. All shifts see the same key: what is found for one does not depend on the
    others, and tables of several calls may be put below one another (shifts with other levels).
    The shifted images of one level at a time are held in memory.

    Args:
        network: trained here or elsewhere.
        params: its parameters.
        examples: untouched test examples of the classes of the network.
        changes: from `genjax.data.shifts.create`, with different names.
        targets: average SSIM of each level; 1 is untouched.
        key: of the noise.
        tolerance: largest distance of the achieved average SSIM from its target.
        level: nominal coverage of the intervals.
        batch_size: images that each device takes at once.
        on_progress: called with the name of the shift and its target after each level.

    Returns:
        One row per shift and level, in the order given: `shift`, `ssim` (the target),
        `ssim_achieved`, `ssim_spread` (standard deviation over images, ddof 0), `strength`,
        `examples`, `wrong`, `error = wrong / examples`, and `low`, `high`, Wilson's interval of
        the error: over images like these, at these strengths. Levels share their images, so two
        rows with overlapping intervals may still differ.

    Raises:
        InvalidInputError: classes or images are not those of the network, no shift, the same name
            twice, or logits that are NaN.
        ShiftError: a target that a shift cannot reach.

    Example:
        >>> import jax
        >>> from genjax import data, models
        >>> digits = data.load("digits").take(range(100))
        >>> network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> params = network.fold(*network.init(jax.random.key(0)))
        >>> blur = [shifts.create("gaussian_blur")]
        >>> table = shift_errors(network, params, digits, blur, [1.0, 0.8], jax.random.key(1))
        >>> table[["shift", "ssim", "examples"]].values.tolist()
        [['gaussian_blur', 1.0, 100], ['gaussian_blur', 0.8, 100]]
    """
    names = [change.name for change in changes]
    if not names or len(set(names)) < len(names):
        raise InvalidInputError(
            f"changes: found the shifts {names}; needed is at least one, each with its own name."
        )
    evaluation.check_fit(network, examples)
    rows = []
    for change in changes:
        whole = shifts.calibrate(change, examples.images, targets, key, tolerance=tolerance)
        for step in range(len(whole.targets)):
            one = shifts.Calibration(*(values[step : step + 1] for values in whole))
            images = shifts.apply_levels(change, one, examples.images, key)[0]
            batch = Batch(images, examples.labels)
            found = evaluation.evaluate(
                network, params, [batch], batch_size=batch_size, level=level
            )
            rows.append(_row(change.name, one, found))
            if on_progress is not None:
                on_progress(change.name, float(one.targets[0]))
    return pd.DataFrame(rows)


def _row(
    name: str, level: shifts.Calibration, found: evaluation.Evaluation
) -> dict[str, str | float | int]:
    return {
        "shift": name,
        "ssim": float(level.targets[0]),
        "ssim_achieved": float(level.achieved[0]),
        "ssim_spread": float(level.spread[0]),
        "strength": float(level.strengths[0]),
        "examples": found.examples,
        "wrong": found.examples - int(np.trace(found.confusion)),
        "error": found.error,
        "low": 1 - found.accuracy_high,
        "high": 1 - found.accuracy_low,
    }
