"""All scores at once: the published numbers, what is flagged, and what is refused."""

import dataclasses

import numpy as np
import pytest
import sklearn.cluster
import sklearn.metrics

from genjax import errors
from genjax.metrics import layers
from genjax.metrics.layers import catalogue

NOTHING = layers.Settings(draws=0, permutations=0, groups=0)


def blobs(count=60, classes=4, width=6, apart=3.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    centres = apart * rng.normal(size=(classes, width))
    return rng.normal(size=(len(labels), width)) + centres[labels], labels


def by_name(rows):
    return {row.metric: row for row in rows}


@pytest.mark.data
def test_the_papers_raw_pixels_have_their_published_scores(data_dir):
    stored = np.load(data_dir / "calligraphy" / "unseen.npz")
    points = (stored["images"].reshape(2500, -1) / 255).astype(np.float32)
    settings = dataclasses.replace(layers.DYBALLA2024, draws=0, permutations=0)
    names = ["nmi", "ami", "ari", "hungarian_accuracy", "neighbours", "silhouette"]
    found = by_name(layers.measure(points, stored["labels"], names, settings))
    published = {
        "nmi": 0.2878, "ami": 0.2863, "ari": 0.2249, "hungarian_accuracy": 0.4684,
        "purity_1": 0.6224, "purity": 0.2823, "r_precision": 0.2824, "map_at_r": 0.1177,
        "silhouette": -0.0147,
    }  # fmt: skip
    for name, value in published.items():
        assert found[name].value == pytest.approx(value, abs=1e-3), name


def test_every_score_is_defined_on_separated_classes():
    points, labels = blobs()
    settings = layers.Settings(
        draws=30, permutations=30, episodes=50, purity_neighbours=40, groups=3
    )
    rows = layers.measure(points.astype(np.float32), labels, ["all"], settings)
    assert [row.metric for row in rows] == [score.name for score in layers.SCORES]
    for row in rows:
        assert np.isfinite(row.value), row
        assert not row.low > row.value, row
        assert not row.high < row.value, row
        assert np.isfinite(row.low), row


def test_the_order_of_the_examples_does_not_matter():
    points, labels = blobs(apart=1.0)
    names = ["neighbours", "silhouette", "gdv", "collapse", "alignment", "evidence", "h_score",
             "discriminant_rank", "spectrum", "dimension"]  # fmt: skip
    order = np.random.default_rng(5).permutation(len(labels))
    first = layers.measure(points, labels, names, NOTHING)
    second = layers.measure(points[order], labels[order], names, NOTHING)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=2e-4, err_msg=one.metric)


def test_the_bootstrap_of_a_clustering_is_that_of_its_tables():
    points, labels = blobs(apart=0.8)
    settings = layers.Settings(restarts=1, draws=300, permutations=300, seed=3)
    row = layers.measure(points, labels, ["nmi"], settings)[0]
    clusters = sklearn.cluster.KMeans(4, random_state=3, n_init="auto").fit(points).labels_
    truth = sklearn.metrics.normalized_mutual_info_score(labels, clusters)
    assert row.value == pytest.approx(truth, abs=1e-9)
    rng = np.random.default_rng(0)
    score = sklearn.metrics.normalized_mutual_info_score
    draws, null = [], []
    for _ in range(300):
        chosen = rng.integers(len(labels), size=len(labels))
        draws.append(score(labels[chosen], clusters[chosen]))
        null.append(score(rng.permutation(labels), clusters))
    assert np.std(row.draws) == pytest.approx(np.std(draws), rel=0.15)
    assert row.chance == pytest.approx(np.mean(null), rel=0.1)
    assert row.chance_high == pytest.approx(np.quantile(null, 0.975), rel=0.15)


def test_leaving_groups_out_gives_the_error_of_a_mean():
    # The effective rank of two columns of noise: compared with fresh samples.
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    scale = np.array([1.0, 0.5])
    settings = layers.Settings(draws=0, permutations=0)
    fresh = [
        layers.measure(rng.normal(size=(400, 2)) * scale, labels, ["rankme"], NOTHING)[0].value
        for _ in range(200)
    ]
    widths = []
    for _ in range(20):
        row = layers.measure(rng.normal(size=(400, 2)) * scale, labels, ["rankme"], settings)[0]
        widths.append((row.high - row.low) / 2 / 2.262)  # Student, 9 degrees of freedom
    assert np.mean(widths) == pytest.approx(np.std(fresh), rel=0.25)


def test_points_that_are_all_equal_are_flagged_and_never_zero():
    labels = np.repeat([0, 1], 30)
    constant = np.full((60, 3), 0.7, np.float32)
    for row in layers.measure(constant, labels, ["all"], NOTHING):
        assert np.isnan(row.value), row
        assert row.flag == "constant"
    kept = layers.measure(constant, labels, ["nmi", "purity"], NOTHING, keep_constant=True)
    assert [row.flag for row in kept] == ["constant", "constant, k = 59"]
    assert kept[0].value == 0.0  # as the code of the paper has it


def test_copies_of_points_are_flagged():
    points, labels = blobs(count=30)
    row = layers.measure(
        np.concatenate([points, points]), np.concatenate([labels, labels]), ["nmi"], NOTHING
    )[0]
    assert row.flag == "50 % duplicates"
    assert row.value > 0.5


def test_classes_with_few_examples_leave_out_what_they_cannot_give():
    points, labels = blobs(count=4)
    found = by_name(layers.measure(points, labels, ["all"], NOTHING))
    for name in ("ridge_probe", "shots_5", "simple_shot_1"):
        assert np.isnan(found[name].value)
        assert found[name].flag == "too few examples"
    assert np.isfinite(found["shots_2"].value)
    assert found["purity"].flag == "k = 15"


def test_seen_and_unseen_classes_together():
    points, labels = blobs(apart=8.0, count=40)
    found = by_name(
        layers.measure_joint(points, labels, labels < 2, dataclasses.replace(NOTHING, draws=30))
    )
    assert found["auroc_neighbour"].value > 0.99
    assert found["discovery_new"].value > 0.95
    assert found["fpr95_neighbour"].value < 0.05
    # Of the seen queries nearly all are classified rightly and accepted before an unseen one.
    assert found["oscr_neighbour"].value > 0.95
    mixed = np.random.default_rng(0).normal(size=points.shape)
    chance = by_name(
        layers.measure_joint(mixed, labels, labels < 2, dataclasses.replace(NOTHING, draws=100))
    )["auroc_neighbour"]
    assert chance.low < 0.5 < chance.high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, y: layers.measure(p, y, ["nmj"]), "names: unknown"),
        (lambda p, y: layers.measure(p, y, []), "names: found none"),
        (lambda p, y: layers.measure(p, y * 0, ["nmi"]), "labels: found 1 class"),
        (lambda p, y: layers.measure(p[:-1], y, ["nmi"]), "labels: found"),
        (lambda p, y: layers.measure(p * np.nan, y, ["nmi"]), "points: found"),
        (lambda p, y: layers.measure_joint(p, y, y >= 0), "at least two seen and one unseen"),
        (lambda p, y: layers.Settings(restarts=0), "restarts: found 0"),
        (lambda p, y: layers.Settings(level=1.0), "level: found"),
        (lambda p, y: catalogue.by_name("x"), "score: unknown"),
    ],
)
def test_refusals_name_the_argument(call, words):
    points, labels = blobs(count=10)
    with pytest.raises(errors.InvalidInputError, match=words):
        call(points, labels)


def test_the_dimension_is_the_same_whether_neighbours_are_known_or_not():
    points, labels = blobs()
    alone = by_name(layers.measure(points, labels, ["two_nn"], NOTHING))["two_nn"].value
    beside = by_name(layers.measure(points, labels, ["purity_1", "two_nn"], NOTHING))
    assert alone == beside["two_nn"].value > 0


def test_simple_shot_is_centred_by_the_classes_trained_on():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 30)
    offset = 8 * np.ones(10)
    points = offset + rng.normal(size=(5, 10))[labels] + 0.7 * rng.normal(size=(150, 10))
    plain = layers.measure(points, labels, ["simple_shot_1"], NOTHING)[0].value
    centred = layers.measure(points, labels, ["simple_shot_1"], NOTHING, base_mean=offset)[0].value
    assert centred > plain + 0.02
    seen = offset + rng.normal(size=(4000, 10))
    close = layers.measure(points, labels, ["simple_shot_1"], NOTHING, base_mean=seen.mean(axis=0))[
        0
    ].value
    assert close == pytest.approx(centred, abs=0.02)


def test_what_looks_at_some_examples_leaves_groups_out_of_the_same_ones(monkeypatch):
    from genjax.metrics.layers import scores

    points, labels = blobs(count=40)
    monkeypatch.setitem(scores._MOST, "diffusion", 80)
    settings = dataclasses.replace(NOTHING, groups=4)
    row = layers.measure(points, labels, ["diffusion_spectral_entropy"], settings)[0]
    kept = np.sort(np.random.default_rng(0).choice(len(labels), 80, replace=False))
    alone = layers.measure(points[kept], labels[kept], ["diffusion_spectral_entropy"], settings)[0]
    assert (row.value, row.low, row.high) == (alone.value, alone.low, alone.high)
    assert row.low < row.value < row.high
