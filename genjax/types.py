"""Shared vocabulary: arrays, parameter trees and the protocols every room speaks."""

from typing import Any, Protocol

from jaxtyping import Array, Float, Int, PRNGKeyArray

Key = PRNGKeyArray
Params = Any
"""A pytree of arrays: everything a network has learned."""

Images = Float[Array, "batch height width channels"]
Labels = Int[Array, " batch"]
Logits = Float[Array, "batch classes"]


class ApplyFn(Protocol):
    """Evaluate a network: no randomness, no state."""

    def __call__(self, params: Params, images: Any) -> Any:
        """Return the logits `[batch, classes]` of `images`."""
        ...


class TapsFn(Protocol):
    """Evaluate a network and name its intermediate activations."""

    def __call__(self, params: Params, images: Any) -> dict[str, Any]:
        """Return activations by name, in the order in which they are computed."""
        ...
