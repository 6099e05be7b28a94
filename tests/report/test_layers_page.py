"""What the page of layers says, on tables whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from genjax.metrics.layers.pruning import Kept
from genjax.report import embeddings, layers, layers_page
from genjax.report.storage import OutputFolder

SPLITS, MODELS, DEPTH = 6, 12, 4


def tables(score, *, diverged=(), features=DEPTH, models=MODELS) -> layers.Tables:
    """Return tables of networks with `score(model, split, layer, rng)` for every judged metric."""
    rng = np.random.default_rng(0)
    rows, draws, halves = [], [], []
    for model in range(models):
        for split in range(SPLITS):
            identity = {
                "network": "000-0000", "split": split, "model": f"m{model}", "family": "mlp",
                "seed": 0, "seen_accuracy": 0.5 + 0.02 * model + 0.001 * split,
                "status": layers.DIVERGED if model in diverged else "converged",
            }  # fmt: skip
            for place, layer in enumerate(np.linspace(0, 1, features)):
                where = {"layer": f"block{place}", "place": layer}
                for metric in layers.JUDGED:
                    value = score(model, split, place, rng)
                    common = {**identity, **where, "metric": metric}
                    for on, source in (
                        ("unseen", "trained"), ("unseen", "initial"), ("seen", "trained"),
                    ):  # fmt: skip
                        less = 0.2 if source == "initial" else 0.0
                        rows.append({
                            **common, "value": value - less, "on": on, "source": source,
                            "readout": "flatten", "normalisation": "raw",
                        })  # fmt: skip
                    for draw in range(21):
                        noise = 0.01 * rng.normal() if draw else 0.0
                        draws.append({**common, "value": value + noise, "draw": draw})
                    for side in (0, 1):
                        noise = 0.01 * rng.normal()
                        halves.append(
                            {**common, "value": value + noise, "halving": 0, "side": side}
                        )
            for metric in layers.JUDGED:
                rows.append({
                    **identity, "layer": "pixels", "place": np.nan, "metric": metric, "value": 0.1,
                    "on": "unseen", "source": "pixels", "readout": "flatten",
                    "normalisation": "raw",
                })  # fmt: skip
    return layers.Tables(pd.DataFrame(rows), pd.DataFrame(draws), pd.DataFrame(halves))


def middle_is_best(model, split, place, rng):
    # The better the model the better its best layer, .1 above the last one.
    return 0.3 + 0.01 * model + 0.1 * (place == 2) + 0.01 * rng.normal()


def test_a_middle_layer_that_is_best_is_found():
    found = layers.answers(tables(middle_is_best))
    for model in range(MODELS):
        best = found.best["nmi", f"m{model}"]
        assert best.best == 2
        assert best.probability[2] > 0.99
        assert best.beyond_last.low < 0.1 < best.beyond_last.high
    assert found.nested["nmi"].gain.value == pytest.approx(0.1, abs=0.01)
    assert found.nested["nmi"].last_chosen == 0.0
    assert found.models["best_place"].unique().tolist() == [2 / 3]
    agreement = found.agreement["nmi"]
    assert agreement is not None
    assert agreement["spearman"].value > 0.9
    pixels, start = found.baselines["nmi"]
    assert start.value == pytest.approx(0.2)
    assert pixels.value == pytest.approx(0.3 + 0.01 * (MODELS - 1) / 2, abs=0.02)
    # A selector that is the score itself has no regret; the last layer has that of one tenth.
    own = layers.of(found.picked, selector="nmi", metric="nmi", on="seen")["regret"].iloc[0]
    assert own.value == 0.0
    said = layers_page.conclusions(found)
    assert said[0].startswith(
        "The finding of Dyballa et al. that deeper is not always better holds"
    )
    assert any("does not hold here by nmi" in sentence for sentence in said)


def test_noise_alone_supports_no_finding():
    # All layers of a model are alike, and models differ without regard to their accuracy.
    offsets = np.random.default_rng(7).normal(size=MODELS) * 0.1
    found = layers.answers(tables(lambda m, s, p, rng: 0.5 + offsets[m]))
    said = " ".join(layers_page.conclusions(found))
    assert "is not contradicted here" in said
    assert "is not shown here for any of 12 models" in said
    gain = found.nested["nmi"].gain
    assert gain.low < 0 < gain.high
    assert found.nested["nmi"].ceiling.low > 0  # the bias that nested selection does not have


def test_networks_of_one_split_do_not_narrow_an_interval():
    # Only splits differ: every network of a split has its offset.
    offsets = np.random.default_rng(1).normal(size=SPLITS) * 0.1
    found = layers.answers(
        tables(lambda m, s, p, rng: 0.5 + offsets[s] * (p == 0) + 0.001 * rng.normal())
    )
    row = layers.of(found.picked, selector="nmi", metric="r_precision", on="seen").iloc[0]
    gains = np.maximum(offsets, 0)
    error = gains.std(ddof=1) / SPLITS**0.5
    reach = row["regret_of_last"].high - row["regret_of_last"].value
    assert reach == pytest.approx(2.571 * error, rel=0.1)  # Student, 5 degrees of freedom


def test_diverged_networks_and_layers_without_values_are_left_out():
    def no_first_layer(model, split, place, rng):
        return np.nan if place == 0 else middle_is_best(model, split, place, rng)

    found = layers.answers(tables(no_first_layer, diverged=(3,)))
    assert found.diverged == SPLITS
    assert "m3" not in set(found.models["model"])
    best = found.best["nmi", "m0"]
    assert len(best.mean) == DEPTH - 1
    assert best.best == 1
    assert any("diverged" in sentence for sentence in layers_page.conclusions(found))


def test_places_are_those_of_the_layers_that_have_values():
    def no_first_layer(model, split, place, rng):
        return np.nan if place == 0 else middle_is_best(model, split, place, rng)

    best = layers.answers(tables(no_first_layer, models=1)).best["nmi", "m0"]
    np.testing.assert_allclose(best.places, [1 / 3, 2 / 3, 1.0])
    assert best.places[best.best] == pytest.approx(2 / 3)


def test_without_its_last_layer_nothing_is_said_of_a_model():
    def no_last_layer(model, split, place, rng):
        gone = model == 0 and place == DEPTH - 1
        return np.nan if gone else middle_is_best(model, split, place, rng)

    found = layers.answers(tables(no_last_layer, models=2))
    assert ("nmi", "m0") not in found.best
    assert ("nmi", "m1") in found.best
    for table in (found.by_model, found.models):
        assert "m0" not in set(table["model"])


def test_one_model_among_many_is_enough_for_the_finding():
    def one(model, split, place, rng):
        bonus = 0.1 if model == 5 and place == 1 else 0.0
        return 0.5 + bonus - 0.05 * (DEPTH - 1 - place) * (model != 5) + 0.005 * rng.normal()

    found = layers.answers(tables(one, models=6))
    said = layers_page.conclusions(found)[0]
    assert "holds here, beyond selection, for m5 by nmi" in said
    assert "m4" not in said
    own = found.by_model[(found.by_model["metric"] == "nmi") & (found.by_model["model"] == "m5")]
    each = own.iloc[0]
    assert each["low"] < 0.1 < each["high"] + 0.01
    assert each["p_adjusted"] >= each["p"]


def test_read_alike_drops_last_layers_that_are_read_otherwise():
    columns = ["model", "layer", "readout"]
    rows = [
        ("cnn", "block1", "mean"), ("cnn", "features", "flatten"),
        ("mlp", "block1", "flatten"), ("mlp", "features", "flatten"),
    ]  # fmt: skip
    unseen = pd.DataFrame(rows, columns=columns)
    kept = layers.read_alike(unseen[["model", "layer"]], unseen)
    assert list(zip(kept["model"], kept["layer"], strict=True)) == [
        ("cnn", "block1"), ("mlp", "block1"), ("mlp", "features"),
    ]  # fmt: skip


def test_diverged_networks_are_in_no_figure(tmp_path):
    healthy, sick = (tables(lambda m, s, p, rng, v=v: v, models=1) for v in (0.5, 0.0))
    sick.rows["status"] = layers.DIVERGED
    both = layers.Tables(pd.concat([healthy.rows, sick.rows]), healthy.draws, healthy.halves)
    curve = layers.of(layers_page.curves(layers.alive(both)), metric="nmi", family="mlp")
    np.testing.assert_allclose(curve["value"], 0.5)


def test_curves_do_not_change_with_who_has_a_layer_where():
    flat = tables(lambda m, s, p, rng: 0.9)
    deep = tables(lambda m, s, p, rng: 0.3, features=7)
    deep.rows["model"] += "deep"
    both = layers.Tables(pd.concat([flat.rows, deep.rows]), flat.draws, flat.halves)
    curve = layers.of(layers_page.curves(both), metric="nmi", family="mlp")
    np.testing.assert_allclose(curve["value"], 0.6)


def test_a_page_is_written_with_figures_and_tables(tmp_path):
    made = tables(middle_is_best)
    found = layers.answers(made)
    costs = {
        f"m{m}": [Kept(f"block{p}", 10, 20.0, 0.5 - p / 10, 0.4 - p / 10) for p in range(DEPTH)]
        for m in range(MODELS)
    }
    points = np.random.default_rng(0).normal(size=(30, 2))
    written = layers_page.write(
        OutputFolder(tmp_path), made, found, costs,
        {"block2 (best)": (points, np.arange(30) % 3)}, ("a", "b", "c"), {}, title="Layers",
    )  # fmt: skip
    text = written["page"].read_text()
    assert text.count("<svg") >= 5
    pruned = pd.read_csv(written["pruning"])
    change = pruned[(pruned["layer"] == "block2") & (pruned["metric"] == "nmi")]["change"]
    assert change.mean() == pytest.approx(0.1, abs=0.01)


def test_the_best_layer_of_a_file_follows_the_direction_of_the_score():
    rows = [
        ("all", metric, layer, value, np.nan, np.nan, "")
        for metric, values in {
            "cdnv": (3.0, 1.0),
            "alpha_req": (0.4, 1.1),
            "nmi": (0.2, 0.1),
        }.items()
        for layer, value in zip("ab", values, strict=True)
    ]
    columns = ["examples", "metric", "layer", "value", "low", "high", "flag"]
    table = pd.DataFrame(rows, columns=columns).assign(source=embeddings.GIVEN)
    found = embeddings.best_layers(table)
    assert [(row[1], row[2]) for row in found] == [("cdnv", "b"), ("alpha_req", "b"), ("nmi", "a")]
    pixels = table.assign(source="pixels", value=table["value"] + 1)
    both = embeddings.best_layers(pd.concat([table, pixels]))
    assert [row[:4] for row in both] == [row[:4] for row in found]  # baselines do not count
    said = embeddings.conclusions(pd.concat([table, pixels]))
    assert said[1].startswith("Beside the best layer's cdnv: raw pixels 2.00")
    constant = table.assign(value=np.nan, flag="constant")
    assert embeddings.conclusions(constant) == ["a and b: constant."]
