"""Error of one network under shifts of its inputs, at calibrated levels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from genjax.data import Batch, Examples, shifts
from genjax.errors import InvalidInputError, ShiftError
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
        One row per shift and level, in the order given, as of `error_table`.

    Raises:
        InvalidInputError: classes or images are not those of the network, no shift, the same name
            twice, or logits that are NaN.
        ShiftError: no target, one that is not a number up to 1 or stands twice, or one that a shift
            cannot reach; `shift_outcomes` leaves those out instead.

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
    wanted, tables = _different(targets), []
    for change in changes:
        whole = shifts.calibrate(change, examples.images, wanted, key, tolerance=tolerance)
        levels = {target: _single(whole, k) for k, target in enumerate(wanted)}
        outcomes = _outcomes(
            network, params, examples, change, levels, key, batch_size, on_progress
        )
        tables.append(error_table(outcomes.expand_dims("shift"), level))
    return pd.concat(tables, ignore_index=True)


def shift_outcomes(
    network: Network,
    params: Params,
    examples: Examples,
    change: shifts.Shift,
    targets: Sequence[float | int],
    key: Key,
    *,
    tolerance: float | int = 1e-3,
    batch_size: int = evaluation.BLOCK,
    on_progress: Callable[[str, float], None] | None = None,
) -> xr.Dataset:
    """Tell of every image whether a network errs on it, at every level of one shift.

    As `shift_errors`, except that a level which the shift cannot reach is left out with the reason.
    Outcomes of several shifts are put together by `combine`.

    Args:
        network: trained here or elsewhere.
        params: its parameters.
        examples: untouched test examples of the classes of the network.
        change: from `genjax.data.shifts.create`.
        targets: average SSIM of each level, all different; 1 is untouched.
        key: of the noise.
        tolerance: largest distance of the achieved average SSIM from its target.
        batch_size: images that each device takes at once.
        on_progress: called with the name of the shift and its target after each level.

    Returns:
        Dimensions `ssim` (the targets in the order given) and `image`: `wrong` (1 or 0), per level
        `strength`, `ssim_achieved` and `ssim_spread` (standard deviation over images, ddof 0), all
        NaN at levels left out, and `reason`, "" for the others. The coordinate `shift` is the name.

    Raises:
        InvalidInputError: classes or images are not those of the network, or logits that are NaN.
        ShiftError: no target, one that is not a number up to 1 or stands twice, or a tolerance that
            is not positive.

    Example:
        >>> import jax
        >>> from genjax import data, models
        >>> digits = data.load("digits").take(range(100))
        >>> network = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(4,))
        >>> params = network.fold(*network.init(jax.random.key(0)))
        >>> jpeg = shifts.create("jpeg")
        >>> found = shift_outcomes(network, params, digits, jpeg, [1, 0.01], jax.random.key(1))
        >>> found["reason"].values.tolist()[1].split(";")[0]
        "targets: shift 'jpeg' cannot reach an average SSIM of 0.01 on these images"
        >>> found["wrong"].isnull().all("image").values.tolist()
        [False, True]
    """
    evaluation.check_fit(network, examples)
    wanted = _different(targets)
    if tolerance <= 0:
        raise ShiftError(f"tolerance: found {tolerance}; allowed are numbers > 0.")
    levels = _reached(change, examples, wanted, key, tolerance)
    return _outcomes(network, params, examples, change, levels, key, batch_size, on_progress)


def combine(outcomes: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put outcomes of several shifts on the same images and levels along a dimension `shift`.

    Args:
        outcomes: from `shift_outcomes`.

    Raises:
        InvalidInputError: none, other levels or images, or the same shift twice.
    """
    names = [str(found["shift"].values) for found in outcomes]
    if not names or len(set(names)) < len(names):
        raise InvalidInputError(
            f"outcomes: found those of {names}; needed is at least one shift, none twice."
        )
    try:
        return xr.concat(list(outcomes), dim="shift", join="exact")
    except ValueError as error:
        raise InvalidInputError(
            f"outcomes: those of {', '.join(names)} have different levels or images."
        ) from error


def error_table(outcomes: xr.Dataset, level: float | int = 0.95) -> pd.DataFrame:
    """Return error and interval of every shift at every level that it reached.

    Args:
        outcomes: from `combine`.
        level: nominal coverage of the intervals.

    Returns:
        Rows by shift, then level: `shift`, `ssim` (the target), `ssim_achieved`, `ssim_spread`,
        `strength`, `examples`, `wrong`, `error = wrong / examples`, and `low`, `high`, Wilson's
        interval of the error: over images like these, at these strengths. Levels share their
        images, so two rows with overlapping intervals may still differ.
    """
    rows = []
    for name in outcomes["shift"].values:
        for target in outcomes["ssim"].values:
            one = outcomes.sel(shift=name, ssim=target)
            if one["reason"].item():
                continue
            count, wrong = one.sizes["image"], round(float(one["wrong"].sum()))
            interval = stats.binomtest(wrong, count).proportion_ci(level, "wilson")
            numbers = {k: one[k].item() for k in ("ssim_achieved", "ssim_spread", "strength")}
            rows.append(
                {"shift": str(name), "ssim": float(target), **numbers}
                | {"examples": count, "wrong": wrong, "error": wrong / count}
                | {"low": float(interval.low), "high": float(interval.high)}
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_COLUMNS = (
    *("shift", "ssim", "ssim_achieved", "ssim_spread", "strength"),
    *("examples", "wrong", "error", "low", "high"),
)


def _different(targets: Sequence[float | int]) -> list[float]:
    wanted = [float(target) for target in targets]
    if not wanted or not all(target <= 1 for target in wanted) or len(set(wanted)) < len(wanted):
        raise ShiftError(
            f"targets: found {wanted}; allowed are different SSIM values up to 1, at least one."
        )
    return wanted


def _single(whole: shifts.Calibration, place: int) -> shifts.Calibration:
    return shifts.Calibration(*(values[place : place + 1] for values in whole))


def _reached(
    change: shifts.Shift,
    examples: Examples,
    targets: list[float],
    key: Key,
    tolerance: float | int,
) -> dict[float, shifts.Calibration | str]:
    """Return each target's level, or the reason why there is none."""

    def calibrated(some: list[float]) -> shifts.Calibration:
        return shifts.calibrate(change, examples.images, some, key, tolerance=tolerance)

    try:
        whole = calibrated(targets)
        return {target: _single(whole, k) for k, target in enumerate(targets)}
    except ShiftError:  # It names one target; others may be out of reach, too.
        levels: dict[float, shifts.Calibration | str] = {}
        for target in targets:
            try:
                levels[target] = calibrated([target])
            except ShiftError as error:
                levels[target] = str(error)
        return levels


def _outcomes(
    network: Network,
    params: Params,
    examples: Examples,
    change: shifts.Shift,
    levels: Mapping[float, shifts.Calibration | str],
    key: Key,
    batch_size: int,
    on_progress: Callable[[str, float], None] | None,
) -> xr.Dataset:
    wrong = np.full((len(levels), len(examples)), np.nan, np.float32)
    numbers = np.full((3, len(levels)), np.nan)
    reasons = ["" if isinstance(one, shifts.Calibration) else one for one in levels.values()]
    for k, (target, one) in enumerate(levels.items()):
        if isinstance(one, shifts.Calibration):
            images = shifts.apply_levels(change, one, examples.images, key)[0]
            batch = Batch(images, examples.labels)
            found = evaluation.predictions(network, params, [batch], batch_size=batch_size)
            wrong[k] = found != examples.labels
            numbers[:, k] = one.strengths[0], one.achieved[0], one.spread[0]
        if on_progress is not None:
            on_progress(change.name, float(target))
    names = ("strength", "ssim_achieved", "ssim_spread")
    return xr.Dataset(
        {
            "wrong": (("ssim", "image"), wrong),
            **{name: ("ssim", row) for name, row in zip(names, numbers, strict=True)},
            "reason": ("ssim", np.array(reasons, dtype=object)),
        },
        coords={"ssim": [float(target) for target in levels], "shift": change.name},
    )
