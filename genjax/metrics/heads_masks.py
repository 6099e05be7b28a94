"""Which classes are in play at each share of novel classes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from genjax.errors import SplitError


def class_masks(
    seen: Sequence[int],
    novel: Sequence[int],
    counts: Sequence[int],
    *,
    num_classes: int,
    order_seeds: Sequence[int] | None = None,
) -> Bool[np.ndarray, "n Z C"]:
    """Return which classes are in play: the seen ones and the first z of the novel order.

    Along Z the masks are those of `counts`; with ascending counts each is contained in the next.

    Args:
        seen: classes that the networks were trained on.
        novel: classes never trained on, in the order in which they enter.
        counts: numbers z of novel classes, from 0.
        num_classes: number C of classes of the labels.
        order_seeds: None takes `novel` as listed, one mask for all networks (n = 1); otherwise one
            seed index per network, which turns the listed order by so many classes, so that over
            seeds every novel class stands at every place equally often.

    Returns:
        Boolean masks `[n or 1, Z, C]`.

    Raises:
        SplitError: if classes repeat, overlap or do not exist, if there are no seen ones, or if a
            count is negative or exceeds the number of novel classes.

    Example:
        >>> class_masks([0, 2], [3, 1], [0, 1], num_classes=4).astype(int).tolist()
        [[[1, 0, 1, 0], [1, 0, 1, 1]]]
    """
    seen, novel, counts = ([int(item) for item in items] for items in (seen, novel, counts))
    _check_classes(seen, novel, num_classes)
    _check_counts(counts, len(novel))
    if order_seeds is None:
        orders = np.asarray([novel], dtype=int)
    else:
        # Turned by one class per seed: every novel class comes first equally often (but for one).
        orders = np.stack([np.roll(np.asarray(novel, dtype=int), -int(s)) for s in order_seeds])
    masks = np.zeros((len(orders), len(counts), num_classes), dtype=bool)
    masks[:, :, seen] = True
    for network, order in enumerate(orders):
        for share, count in enumerate(counts):
            masks[network, share, order[:count]] = True
    return masks


def novel_shares(num_seen: int, counts: Sequence[int]) -> Float[np.ndarray, " Z"]:
    """Return the novel share z / (seen + z) of each count z.

    Example:
        >>> novel_shares(50, [0, 10, 50]).round(3).tolist()
        [0.0, 0.167, 0.5]
    """
    if num_seen < 1:
        raise SplitError(f"num_seen: {num_seen} found, at least one seen class is needed.")
    _check_counts([int(count) for count in counts], None)
    z = np.asarray(counts, dtype=np.float64)
    return z / (num_seen + z)


def _check_classes(seen: list[int], novel: list[int], num_classes: int) -> None:
    if not seen:
        raise SplitError("seen: no class found, at least one seen class is needed.")
    for argument, classes in (("seen", seen), ("novel", novel)):
        outside = [c for c in classes if not 0 <= c < num_classes]
        if outside:
            raise SplitError(
                f"{argument}: class {outside[0]} found, allowed are 0 to {num_classes - 1}."
            )
        if len(set(classes)) != len(classes):
            repeated = next(c for c in classes if classes.count(c) > 1)
            raise SplitError(f"{argument}: class {repeated} is listed more than once.")
    both = sorted(set(seen) & set(novel))
    if both:
        raise SplitError(f"novel: class {both[0]} is also a seen class.")


def _check_counts(counts: list[int], num_novel: int | None) -> None:
    if not counts:
        raise SplitError("counts: empty, at least one number of novel classes is needed.")
    for count in counts:
        if count < 0:
            raise SplitError(
                f"counts: {count} found, a number of novel classes cannot be negative."
            )
        if num_novel is not None and count > num_novel:
            raise SplitError(f"counts: {count} novel classes asked for, only {num_novel} exist.")
