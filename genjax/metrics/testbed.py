"""The testbed of the practical metric: classes, shift levels, and every network on them.

Follows section "Testbed" of Huang, Yu and Zhang (Sci Rep 15:9747, 2025): networks are trained on
the seen classes only; then a head on their frozen features is read on test images of seen and
novel classes at every shift level.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from genjax import errors, models
from genjax.data import ClassSplit, Examples, Splits, augmentation, shifts, union
from genjax.metrics import accuracy, heads, kappa
from genjax.metrics.protocol import Protocol
from genjax.training import TrainedGroup, execution
from genjax.training import segment as training_segment
from genjax.types import Key

_CHUNK = 1000
_POSITIONS = 102_400
"""Pixels of all images of a chunk on the CPU, at most: larger ones leave the cache, and a residual
network of CIFAR takes 1.7 instead of 1.0 ms per image (1,000 instead of 100 images at once)."""

_NARROWEST = 128


class Testbed(NamedTuple):
    """Everything the networks are tested with.

    Attributes:
        train: training images of all classes (heads read the novel ones; networks never do).
        validation: validation images of all classes.
        test: untouched test images of all classes.
        classes: which classes are seen and which novel.
        counts: numbers of novel classes z, one per share.
        novel_shares: z / (seen + z).
        shift: name of the shift.
        calibration: targets, strengths, achieved average SSIM and its spread.
        levels: test images at every level [L, N, H, W, C].
        augmented: the same with images of novel classes augmented, as in the paper; or None.
    """

    train: Examples
    validation: Examples
    test: Examples
    classes: ClassSplit
    counts: tuple[int, ...]
    novel_shares: np.ndarray
    shift: str
    calibration: shifts.Calibration
    levels: np.ndarray
    augmented: np.ndarray | None


def seen_only(examples: Examples, classes: ClassSplit) -> Examples:
    """Return the examples of the seen classes, relabelled 0, 1, ... in the order of `classes.seen`.

    Example:
        >>> from genjax import data
        >>> digits = data.load("digits")
        >>> seen_only(digits, ClassSplit(seen=(7, 3), novel=(1,))).class_names
        ('7', '3')
    """
    return union.of_classes(examples, classes.seen)


def build(
    examples: Examples,
    splits: Splits,
    classes: ClassSplit,
    *,
    shift: shifts.Shift,
    targets: Sequence[float],
    counts: Sequence[int],
    key: Key,
    augment: bool = True,
) -> Testbed:
    """Calibrate the shift on the test images and lay out the grid.

    Args:
        examples: all classes.
        splits: train, validation and test.
        classes: seen and novel.
        shift: from `genjax.data.shifts`; an autoencoder is trained on training images only.
        targets: average SSIM of each level; 1 is untouched.
        counts: numbers of novel classes.
        key: of the shift's noise and of the augmentation.
        augment: also make the paper's test set, whose novel images are augmented.

    Raises:
        SplitError: more novel classes than there are.
        ShiftError: a target that the shift cannot reach.
    """
    if max(counts) > len(classes.novel) or min(counts) < 0:
        raise errors.SplitError(
            f"counts: found {tuple(counts)}; there are {len(classes.novel)} novel classes."
        )
    test = examples.take(splits.test)
    shift_key, augment_key = jax.random.split(key)
    calibration = shifts.calibrate(shift, test.images, targets, shift_key)
    levels = shifts.apply_levels(shift, calibration, test.images, shift_key)
    augmented = None
    if augment:
        program = jax.jit(augmentation.paper_novel_augmentation)
        # Images are augmented after the shift, with the same draw at every level.
        moved = np.stack([np.asarray(program(level, augment_key)) for level in levels])
        novel = np.isin(test.labels, classes.novel)[None, :, None, None, None]
        augmented = np.where(novel, moved, levels)
    return Testbed(
        train=examples.take(splits.train),
        validation=examples.take(splits.validation),
        test=test,
        classes=classes,
        counts=tuple(int(c) for c in counts),
        novel_shares=heads.novel_shares(len(classes.seen), counts),
        shift=shift.name,
        calibration=calibration,
        levels=levels,
        augmented=augmented,
    )


def frozen_features(
    group: TrainedGroup, image_sets: Sequence[np.ndarray], form: execution.Execution | None = None
) -> list[np.ndarray]:
    """Return the features of every network on every set of images, each [n, N, D], float32.

    One compiled program per group: all sets go through it in chunks of one size.
    """
    n = len(group.seeds)
    form = execution.choose(networks=n) if form is None else form
    network = group.network

    def one(images, params):
        return network.taps(params, images)[models.FEATURES]

    program = execution.spread(one, form, shared=1)
    params = execution.filled(group.params, n, form)
    size = min(_chunk(network.image_shape), max(len(images) for images in image_sets))
    results = []
    for images in image_sets:
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            missing = size - len(part)
            padded = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])
            parts.append(np.asarray(program(padded, params))[:n, : len(part)])
        results.append(np.concatenate(parts, axis=1))
    return results


def _chunk(image_shape: tuple[int, int, int]) -> int:
    """Return how many images go through a network at once."""
    if jax.default_backend() != "cpu":
        return _CHUNK
    return max(min(_CHUNK, _POSITIONS // (image_shape[0] * image_shape[1])), 1)


def _pad_width(features: np.ndarray) -> np.ndarray:
    # Widths are rounded up so that groups share compiled heads; zero features change nothing.
    width = max(_NARROWEST, 1 << (features.shape[-1] - 1).bit_length())
    pad = [(0, 0)] * (features.ndim - 1) + [(0, width - features.shape[-1])]
    return np.pad(features, pad)


def group_features(
    group: TrainedGroup, testbed: Testbed, form: execution.Execution | None = None
) -> heads.Features:
    """Return the frozen features that the heads read, for all networks of a group."""
    sets = [testbed.train.images, testbed.validation.images]
    shape = testbed.levels.shape
    sets.append(testbed.levels.reshape(-1, *shape[2:]))
    novel = np.isin(testbed.test.labels, testbed.classes.novel)
    if testbed.augmented is not None and novel.any():  # seen classes look the same in both
        sets.append(testbed.augmented[:, novel].reshape(-1, *shape[2:]))
    train, validation, *tested = frozen_features(group, sets, form)
    n, width = len(train), train.shape[-1]
    plain = _pad_width(tested[0].reshape(n, *shape[:2], width))
    augmented = None if testbed.augmented is None else plain.copy()
    if len(tested) > 1 and augmented is not None:
        augmented[:, :, novel] = _pad_width(tested[1].reshape(n, shape[0], -1, width))
    return heads.Features(
        train=_pad_width(train),
        validation=_pad_width(validation),
        test=plain,
        test_augmented=augmented,
        width=np.int32(width),
    )


def measure_group(
    group: TrainedGroup,
    testbed: Testbed,
    protocols: Sequence[Protocol],
    key: Key,
    *,
    device: Any = None,
    on_protocol: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Return per-class error and kappa distance of every network in every cell and protocol.

    Variables, each with dimensions (protocol, seed, ssim, novel_share, class):
    `error` e_i = 1 - n_ii / n_i. and `kappa` K_i = 1 - kappa_i (one against the rest); NaN for
    classes that are not in play and for networks that diverged. `kappa_multiclass` and `labels`
    (how many classes could be predicted) have no class dimension.

    Args:
        group: trained on the seen classes.
        testbed: from `build`.
        protocols: how heads are fitted and read.
        key: of everything random in the heads; network i uses `fold_in(key, seed_i)`.
        device: where to compute; groups may be measured side by side, one per device.
        on_protocol: called with the name of each protocol once it is done.
    """
    device = jax.devices()[0] if device is None else device
    with jax.default_device(device):
        return _measure_on(execution.choose([device]), group, testbed, protocols, key, on_protocol)


def _measure_on(form, group, testbed, protocols, key, on_protocol) -> xr.Dataset:
    features = group_features(group, testbed, form)
    labels = heads.Labels(testbed.train.labels, testbed.validation.labels, testbed.test.labels)
    keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.asarray(group.seeds))
    parts = []
    known: dict[Protocol, xr.Dataset] = {}
    for protocol in protocols:
        # Protocols that differ only in name or statistics have the same cells.
        choices = dataclasses.replace(protocol, name="", preset="clean")
        if choices not in known:
            known[choices] = _measure_protocol(group, testbed, features, labels, protocol, keys)
        parts.append(known[choices].assign_coords(protocol=protocol.name))
        if on_protocol is not None:
            on_protocol(protocol.name)
    cells = xr.concat(parts, dim="protocol")
    cells.attrs.update(family=group.network.family, model=group.network.name)
    return cells.assign_coords(parameters=group.cost.parameters, flops=group.cost.flops)


def _measure_protocol(group, testbed, features, labels, protocol, keys) -> xr.Dataset:
    num_classes = len(testbed.test.class_names)
    masks = heads.class_masks(
        testbed.classes.seen,
        testbed.classes.novel,
        testbed.counts,
        num_classes=num_classes,
        order_seeds=None if protocol.novel_order == "listed" else group.seeds.tolist(),
    )
    clean = int(np.argmax(testbed.calibration.targets))
    head = heads.make_head(protocol, num_classes=num_classes, clean_level=clean)
    predictions, info = head(features, labels, masks, keys)
    include = np.broadcast_to(masks, (len(group.seeds), *masks.shape[1:]))[:, None]
    # A network with non-finite features predicts -1; its cells are blanked below.
    counts = accuracy.confusion(
        labels.test, jnp.maximum(predictions, 0), num_classes=num_classes, include=include
    )
    counts = np.asarray(counts)
    valid = np.asarray(info.finite) & (group.status != training_segment.DIVERGED)[:, None]
    blank = ~valid[:, None, :, None]
    truth = counts.sum(-1)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where((truth == 0) | blank, np.nan, 1 - right / truth)
    distance = np.asarray(kappa.one_vs_rest_distance(counts), np.float64)
    in_play = masks.any(axis=1, keepdims=True) if protocol.label_space == "fixed" else masks
    choices = np.broadcast_to(in_play.sum(-1), (len(group.seeds), len(testbed.counts)))
    whole = np.asarray(kappa.multiclass_distance(counts), np.float64)
    return _as_dataset(
        testbed,
        group.seeds,
        protocol.name,
        error=error,
        kappa=np.where(np.isnan(error), np.nan, distance),
        kappa_multiclass=np.where(blank[..., 0], np.nan, whole),
        labels=np.broadcast_to(choices[:, None], whole.shape),
    )


def _as_dataset(testbed: Testbed, seeds, protocol: str, **values: np.ndarray) -> xr.Dataset:
    axes = ("seed", "ssim", "novel_share", "class")
    variables = {
        name: (axes[: array.ndim], array.astype(np.float64)) for name, array in values.items()
    }
    return xr.Dataset(
        variables,
        coords={
            "seed": np.arange(len(seeds)),
            "ssim": np.asarray(testbed.calibration.targets),
            "ssim_achieved": ("ssim", np.asarray(testbed.calibration.achieved)),
            "ssim_spread": ("ssim", np.asarray(testbed.calibration.spread)),
            "novel_share": testbed.novel_shares,
            "novel_classes": ("novel_share", list(testbed.counts)),
            "class": list(testbed.test.class_names),
            "protocol": protocol,
        },
    )


def combine(groups: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack groups into one set with dimensions family and size (ascending parameter count).

    Families with fewer sizes are filled with NaN; `parameters` and `flops` become [family, size].
    """
    families: dict[str, list[xr.Dataset]] = {}
    for cells in groups:
        families.setdefault(cells.attrs["family"], []).append(cells)
    stacked: list[xr.Dataset] = []
    joined: dict[str, Any] = {"combine_attrs": "drop", "coords": "different", "compat": "equals"}
    for family, members in families.items():
        ordered = sorted(members, key=lambda cells: float(cells.parameters))
        sizes = [float(cells.parameters) for cells in ordered]
        if len(set(sizes)) < len(sizes):
            raise errors.InvalidInputError(
                f"models: family '{family}' has two groups of {max(sizes, key=sizes.count):.0f} "
                "parameters; the size axis needs different sizes."
            )
        whole: xr.Dataset = xr.concat(ordered, dim="size", **joined)
        flops = [float(cells.flops) for cells in ordered]
        stacked.append(
            whole.drop_vars(["parameters", "flops"]).assign_coords(
                size=np.arange(len(ordered)),
                parameters=("size", sizes),
                flops=("size", flops),
                family=family,
            )
        )
    return join_families(stacked)


def join_families(families: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack data sets with a `family` coordinate; what a family does not have is NaN."""
    joined: xr.Dataset = xr.concat(
        [_with_family_axis(one) for one in families],
        dim="family",
        join="outer",
        combine_attrs="drop",
        coords="different",
        compat="equals",
    )
    return joined


def _with_family_axis(cells: xr.Dataset) -> xr.Dataset:
    # Stated, not left to what differs: with one family nothing differs.
    sizes = [name for name in ("parameters", "flops") if name in cells.coords]
    coords = {name: (("family", "size"), cells[name].values[None]) for name in sizes}
    bare = cells.drop_vars(["family", *sizes])
    return bare.expand_dims(family=[cells["family"].item()]).assign_coords(coords)
