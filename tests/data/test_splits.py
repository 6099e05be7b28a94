import collections
import itertools

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from genjax.data import Examples, load, splits
from genjax.errors import SplitError


@pytest.fixture(scope="module")
def digits() -> Examples:
    data = load("digits")
    assert isinstance(data, Examples)
    return data


def counts(labels, indices):
    return np.bincount(labels[indices], minlength=labels.max() + 1)


@pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33)])
def test_stratified_is_a_partition_in_proportion(digits, fractions):
    parts = splits.stratified(digits, fractions, seed=3)
    together = np.concatenate(parts)
    np.testing.assert_array_equal(np.sort(together), np.arange(len(digits)))
    whole = np.bincount(digits.labels)
    for indices, share in zip(parts, fractions, strict=True):
        assert indices.dtype == np.int64
        assert abs(len(indices) - share * len(digits)) <= 1
        assert np.abs(counts(digits.labels, indices) - share * whole).max() <= 1


def test_stratified_keeps_the_proportion_of_unequal_classes():
    labels = np.repeat([0, 1, 2], [1000, 100, 10])
    parts = splits.stratified(labels, seed=0)
    np.testing.assert_array_equal(counts(labels, parts.train), [600, 60, 6])
    np.testing.assert_array_equal(counts(labels, parts.validation), [200, 20, 2])


def test_stratified_depends_on_the_seed_only(digits):
    first, again, other = (splits.stratified(digits.labels, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)


def test_stratified_uses_the_official_test_examples(digits):
    is_test = np.arange(len(digits)) % 3 == 0
    parts = splits.stratified(digits, (0.6, 0.2, 0.2), seed=0, is_test=is_test)
    np.testing.assert_array_equal(parts.test, np.flatnonzero(is_test))
    rest = np.flatnonzero(~is_test)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts[:2])), rest)
    assert abs(len(parts.train) - 0.75 * len(rest)) <= 1
    expected = 0.75 * counts(digits.labels, rest)
    assert np.abs(counts(digits.labels, parts.train) - expected).max() <= 1


def test_zero_share_gives_an_empty_part(digits):
    assert len(splits.stratified(digits, (0.8, 0.0, 0.2), seed=0).validation) == 0


def test_empty_class_is_named(digits):
    labels = np.repeat([0, 1], [50, 1])
    with pytest.raises(SplitError, match=r"class 1 .* is left without an example"):
        splits.stratified(labels, seed=0)
    few = Examples(np.zeros((51, 2, 2)), labels, ("many", "rare"), "few")
    with pytest.raises(SplitError, match="'rare'"):
        splits.stratified(few, seed=0)


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5)]
)
def test_wrong_fractions_are_refused(digits, fractions):
    with pytest.raises(SplitError, match="fractions"):
        splits.stratified(digits, fractions, seed=0)


def test_only_test_examples_are_refused(digits):
    with pytest.raises(SplitError, match="none is left to train on"):
        splits.stratified(digits, seed=0, is_test=np.ones(len(digits), bool))


def test_seen_novel_by_number_seed_and_list():
    assert splits.seen_novel(5) == ((0, 1, 2), (3, 4))
    assert splits.seen_novel(("a", "b", "c"), num_seen=1) == ((0,), (1, 2))
    assert splits.seen_novel(("a", "b", "c"), seen=["c", 0]) == ((2, 0), (1,))
    assert splits.seen_novel(3, num_seen=3).novel == ()
    drawn = splits.seen_novel(100, num_seen=50, seed=1)
    assert sorted(drawn.seen + drawn.novel) == list(range(100))
    assert drawn == splits.seen_novel(100, num_seen=50, seed=1)
    assert drawn != splits.seen_novel(100, num_seen=50, seed=2)
    assert all(type(label) is int for label in drawn.seen + drawn.novel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seen": 11}, "num_seen: found 11; allowed are 1 to 10"),
        ({"num_seen": 0}, "num_seen: found 0"),
        ({"seen": [10]}, "found class 10; allowed are 0 to 9"),
        ({"seen": ["cat"]}, "found class 'cat'"),
        ({"seen": [1, 1]}, "distinct"),
        ({"seen": []}, "distinct"),
        ({"seen": [1], "seed": 0}, "leaves nothing"),
    ],
)
def test_seen_novel_refusals(options, message):
    with pytest.raises(SplitError, match=message):
        splits.seen_novel(10, **options)


@pytest.mark.parametrize(("classes", "num_novel"), [(10, 4), (20, 5), (5, 4), (7, 3)])
def test_balanced_novel_leaves_out_every_class_equally_often(classes, num_novel):
    times = np.zeros(classes, int)
    drawn = splits.balanced_novel(classes, num_novel=num_novel, draws=12, seed=3)
    for draw in drawn:
        assert len(set(draw.novel)) == num_novel
        assert sorted(draw.seen + draw.novel) == list(range(classes))
        times[list(draw.novel)] += 1
        assert np.ptp(times) <= 1
    assert drawn[:5] == splits.balanced_novel(classes, num_novel=num_novel, draws=5, seed=3)
    assert drawn != splits.balanced_novel(classes, num_novel=num_novel, draws=12, seed=4)


def test_balanced_novel_is_evenly_distributed_over_sets():
    draws = [
        frozenset(splits.balanced_novel(5, num_novel=2, draws=2, seed=seed)[1].novel)
        for seed in range(1500)
    ]
    times = collections.Counter(draws)
    assert len(times) == 10  # every pair of 5, 150 times each, standard deviation 12
    assert all(100 < count < 200 for count in times.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_novel": 5, "draws": 1}, "num_novel: found 5; allowed are 1 to 4"),
        ({"num_novel": 0, "draws": 1}, "num_novel"),
        ({"num_novel": 2, "draws": 0}, "draws: found 0"),
    ],
)
def test_balanced_novel_refusals(options, message):
    with pytest.raises(SplitError, match=message):
        splits.balanced_novel(5, **options, seed=0)


def test_nested_subsets_are_nested_and_stratified(digits):
    sizes = [20, 50, 200, 1000, 1797]
    subsets = splits.nested_subsets(digits, sizes, seed=4)
    whole = np.bincount(digits.labels)
    for size, subset in zip(sizes, subsets, strict=True):
        assert len(np.unique(subset)) == size
        assert np.abs(counts(digits.labels, subset) - size * whole / len(digits)).max() <= 1
    for small, large in itertools.pairwise(subsets):
        assert np.isin(small, large).all()


@pytest.mark.parametrize("sizes", [[], [0, 5], [5, 5], [9, 5], [2000]])
def test_nested_subsets_refuse_wrong_sizes(digits, sizes):
    with pytest.raises(SplitError, match="sizes"):
        splits.nested_subsets(digits, sizes, seed=0)


def test_nested_subsets_refuse_an_empty_class(digits):
    with pytest.raises(SplitError, match="is left without an example among 5"):
        splits.nested_subsets(digits, [5, 100], seed=0)


def test_k_fold_is_scikit_learns(digits):
    folds = splits.k_fold(digits, 5, seed=7)
    theirs = StratifiedKFold(5, shuffle=True, random_state=7).split(digits.labels, digits.labels)
    for fold, (train, held) in zip(folds, theirs, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.validation, held)


def test_k_fold_refusals():
    with pytest.raises(SplitError, match="class 1"):
        splits.k_fold(np.array([0] * 9 + [1] * 2), 3, seed=0)
    with pytest.raises(SplitError, match="k >= 2"):
        splits.k_fold(np.array([0] * 9), 1, seed=0)


@pytest.mark.parametrize("rate", [0.0, 0.123, 0.5, 1.0])
def test_label_noise_changes_exactly_its_share(digits, rate):
    noisy = splits.label_noise(digits.labels, rate, 10, seed=2)
    assert noisy.changed.sum() == round(rate * len(digits))
    np.testing.assert_array_equal(noisy.labels != digits.labels, noisy.changed)
    assert noisy.labels.dtype == np.int32
    assert noisy.labels.min() >= 0
    assert noisy.labels.max() <= 9


def test_label_noise_is_symmetric():
    noisy = splits.label_noise(np.full(40_000, 2), 1.0, 5, seed=0)
    found = np.bincount(noisy.labels, minlength=5)
    assert found[2] == 0
    # Four equally likely classes: standard deviation of a count is sqrt(40000 * 1/4 * 3/4) = 87.
    assert np.abs(found[[0, 1, 3, 4]] - 10_000).max() < 4 * 87


def test_label_noise_refusals():
    with pytest.raises(SplitError, match="rate"):
        splits.label_noise(np.zeros(3, int), 1.5, 2, seed=0)
    with pytest.raises(SplitError, match="num_classes"):
        splits.label_noise(np.zeros(3, int), 0.5, 1, seed=0)
    with pytest.raises(SplitError, match="labels"):
        splits.label_noise(np.full(3, 7), 0.5, 2, seed=0)
