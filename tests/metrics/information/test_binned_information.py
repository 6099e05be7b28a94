"""Binned information against loops, its caps, and what it measures."""

import collections
import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from genjax.errors import InvalidInputError
from genjax.metrics.information.binning import bin_edges, binned_information, box_codes


def layer(examples=60, units=3, seed=0):
    return np.random.default_rng(seed).normal(size=(examples, units))


@pytest.mark.parametrize("method", ["equal_width", "quantile"])
def test_it_is_the_entropy_of_boxes(method):
    points = layer()
    labels = np.random.default_rng(1).integers(0, 4, 60)
    if method == "equal_width":
        inner = points.min() + np.arange(1, 4) * (points.max() - points.min()) / 4
    else:
        inner = np.percentile(points, [25, 50, 75])
    assert bin_edges(points, bins=4, method=method) == pytest.approx(inner, abs=1e-12)
    boxes = [tuple(sum(v >= e for e in inner) for v in row) for row in points]
    counts = collections.Counter(boxes)
    entropy = -sum(c / 60 * math.log(c / 60) for c in counts.values())
    found = binned_information(points, labels, bins=4, method=method)
    assert found.input == pytest.approx(entropy, abs=1e-12)
    assert found.boxes == len(counts)
    numbers = [sorted(counts).index(b) for b in boxes]
    assert found.label == pytest.approx(mutual_info_score(labels, numbers), abs=1e-12)
    of_labels = np.bincount(labels) / 60
    assert found.label_cap == pytest.approx(-np.sum(of_labels * np.log(of_labels)), abs=1e-12)


def test_caps_are_reached_whatever_the_labels_are():
    """Fine bins say log N and H(Y) of random labels too: memory, not prediction."""
    labels = np.random.default_rng(2).integers(0, 5, 60)
    found = binned_information(layer(), labels, bins=1000)
    assert found.input == pytest.approx(math.log(60), abs=1e-12) == found.input_cap
    assert found.label == pytest.approx(found.label_cap, abs=1e-12)
    assert found.boxes == 60


def test_it_measures_clustering():
    """The same classes, pulled together: the bins see less although T still tells X apart."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 400)
    centres = np.eye(4)[labels]
    loose = centres + 0.5 * rng.normal(size=(400, 4))
    tight = centres + 1e-4 * rng.random((400, 4))
    spread, clustered = (binned_information(p, labels, bins=30) for p in (loose, tight))
    assert len(np.unique(tight, axis=0)) == 400
    assert spread.input > math.log(380)
    counts = np.bincount(labels) / 400
    assert clustered.input == pytest.approx(-np.sum(counts * np.log(counts)), abs=1e-12)
    assert clustered.label == pytest.approx(clustered.label_cap, abs=1e-12)


def test_more_bins_of_powers_of_two_never_see_less():
    values = [binned_information(layer(), bins=2**k).input for k in range(8)]
    assert values[0] == 0.0
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))


def test_zeros_of_a_relu_are_one_bin_and_a_constant_layer_is_one_box():
    points = np.maximum(layer(200, 2), 0.0)
    edges = bin_edges(points, bins=10, method="quantile")
    assert len(edges) < 9
    assert (edges > 0).all()
    zero = (points == 0).all(axis=1)
    assert len(np.unique(box_codes(points, edges)[zero])) == 1
    for method in ("equal_width", "quantile"):
        found = binned_information(np.full((7, 3), 2.5), bins=30, method=method)
        assert found[:2] == (0.0, math.log(7))
        assert found.boxes == 1
        assert math.isnan(found.label)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="bins"):
        binned_information(layer(), bins=0)
    with pytest.raises(InvalidInputError, match="method"):
        binned_information(layer(), method="width")
    with pytest.raises(InvalidInputError, match="labels"):
        binned_information(layer(), [0, 1])
    with pytest.raises(InvalidInputError, match="not finite"):
        binned_information([[float("nan")]])
