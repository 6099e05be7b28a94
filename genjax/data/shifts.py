"""Shifts of the input distribution, by name, and their calibration to levels of average SSIM."""

import inspect
from collections.abc import Callable
from typing import Any

from genjax.data import autoencoder, corruptions
from genjax.data.calibration import Calibration, apply_levels, calibrate
from genjax.data.corruptions import Shift, from_function
from genjax.data.ssim import ssim
from genjax.errors import ShiftError, suggest

__all__ = [
    "Calibration",
    "Shift",
    "apply_levels",
    "calibrate",
    "create",
    "from_function",
    "names",
    "ssim",
]

_REGISTRY: dict[str, Callable[..., Shift]] = {
    "gaussian_noise": corruptions.gaussian_noise,
    "gaussian_blur": corruptions.gaussian_blur,
    "jpeg": corruptions.jpeg,
    "pixelate": corruptions.pixelate,
    "contrast": corruptions.contrast,
    "occlusion": corruptions.occlusion,
    "rotation": corruptions.rotation,
    "autoencoder": autoencoder.fit,
}


def names() -> tuple[str, ...]:
    """Return the names that `create` knows.

    Example:
      >>> names()[:2]
      ('gaussian_noise', 'gaussian_blur')
    """
    return tuple(_REGISTRY)


def create(name: str, **options: Any) -> Shift:
    """Make the shift called `name`.

    Args:
      name: one of `names()`.
      **options: those of the function of that name in `genjax.data.corruptions`, all with
        defaults; `autoencoder` needs `images` (to train on) and `key`, see
        `genjax.data.autoencoder.fit`.

    Raises:
      ShiftError: an unknown name or option, a missing option, or a value that is not allowed.

    Example:
      >>> create("gaussian_blur", max_sigma=0.25).name
      'gaussian_blur'
    """
    if name not in _REGISTRY:
        raise ShiftError(suggest("shift", name, list(_REGISTRY)))
    make = _REGISTRY[name]
    parameters = inspect.signature(make).parameters
    for option in options:
        if option not in parameters:
            allowed = ", ".join(parameters) or "none"
            raise ShiftError(f"{name}: unknown option '{option}'; allowed: {allowed}.")
    for option, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ShiftError(f"{name}: the option '{option}' is missing; it has no default.")
    return make(**options)
