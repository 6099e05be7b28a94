"""Random labels, images and signs, as a program; the capacity of linear networks."""

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import capacities
from experiments.configs import capacity as configs
from experiments.pools import Pool
from genjax import models
from genjax.data import Examples
from genjax.report import capacity as report
from genjax.training import HyperParameters, TrainingConfig
from genjax.training.resamples import Own, train_resamples

CONFIG = "--config=experiments/configs/capacity.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("capacity") / "out"
    code, out, err = run("capacity", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_random_labels_are_fitted_and_take_longer(folder):
    path, out = folder
    assert "Random labels are fitted, by all networks" in out
    fits = pd.read_csv(path / "fits.csv").set_index(["random_labels", "images"])
    true, random = fits.loc[(0.0, "as they are")], fits.loc[(1.0, "as they are")]
    assert true["reached"] == random["reached"] == 2
    assert random["train_error"] == 0
    assert random["steps"] > true["steps"]
    assert random["test_error"] > 0.7 > 0.3 > true["test_error"]
    networks = pd.read_csv(path / "networks.csv")
    steps = networks.pivot(index="seed", columns=["random_labels", "images"], values="steps")
    ratio = steps[1.0, "as they are"] / steps[0.0, "as they are"]
    assert random["times"] == pytest.approx(np.exp(np.log(ratio).mean()), rel=1e-9)


def test_wide_networks_fit_all_signs_and_narrow_ones_do_not(folder):
    found = pd.read_csv(folder[0] / "rademacher.csv").set_index(["width", "n"])
    assert found.loc[(64, 100), "value"] == 1
    assert found.loc[(64, 100), "gap_bound"] > 1
    assert found.loc[(2, 100), "value"] < 0.9
    assert (found["vc_rademacher"] == 1).all()


def test_the_page_shows_it_and_a_second_run_has_nothing_to_do(folder, run):
    path, _ = folder
    for name in ("errors", "steps", "signs"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert "Random labels and images" in (path / "report.html").read_text()
    code, out, err = run("capacity", CONFIG, f"--output={path}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_measured_is_refused(refused, tmp_path):
    cases = {
        "random_labels: found (0.0, 0.5)": ["--config.random_labels=(0.0, 0.5)"],
        "images: unknown name 'gausian'": ["--config.images=('gausian',)"],
        "training.stop: the time to fit": ["--config.training.stop=steps"],
        "examples: found 5000": ["--config.examples=5000"],
        "signs.sizes: found (30, 100)": ["--config.signs.sizes=(30, 100)"],
    }
    for s, a in cases.items():
        assert s in refused("capacity", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_linear_networks_fit_all_signs_up_to_their_dimension_and_no_more():
    """Cover (1965): n points in general position in d dimensions are separable with an offset in
    every way if n <= d + 1, and nearly never if n is far above 2 (d + 1)."""
    rng = np.random.default_rng(0)
    images = np.clip(0.5 + 0.1 * rng.standard_normal((160, 3, 3, 1)), 0, 1)
    examples = Examples(images, np.arange(160) % 2, ("minus", "plus"), "points")
    linear = models.create("mlp", image_shape=(3, 3, 1), num_classes=2, widths=())
    rules = TrainingConfig(
        optimizer="adam", batch_size=160, max_steps=3000, record_every=500, threshold=0.01
    )
    few = np.stack([np.tile(rng.permutation(160)[:10], 16) for _ in range(3)])
    many = np.stack([rng.permutation(160) for _ in range(3)])
    signs = rng.integers(2, size=(6, 160))
    signs[:3] = np.tile(signs[:3, :10], (1, 16))
    own = Own(np.concatenate([few, many]), signs, HyperParameters(learning_rate=0.1))
    group = train_resamples(linear, rules, examples, own, jax.random.split(jax.random.key(0), 6))
    gains = capacities.gains(group)
    np.testing.assert_array_equal(gains[:3], 1)
    assert (gains[3:] < 0.6).all()
    assert (gains[3:] > 0).all()


def test_signs_are_nested_and_fair():
    config = configs.get_config("smoke").unlock()
    config.seeds = 50
    indices, signs = capacities.random_signs(config, 300)
    small, large = (v.reshape(2, 50, 100) for v in (indices, signs))
    np.testing.assert_array_equal(small[0], np.tile(small[1][:, :20], 5))
    np.testing.assert_array_equal(large[0], np.tile(large[1][:, :20], 5))
    assert abs(large[1].mean() - 0.5) < 5 * 0.5 / np.sqrt(5000)


def test_forms_of_images_are_in_their_places():
    rng = np.random.default_rng(1)
    parts = [
        Examples(rng.random((n, 2, 2, 1)), np.arange(n) % 2, ("a", "b"), "small") for n in (6, 4)
    ]
    whole, train, test = capacities.images_of(*Pool(*parts), seed=0)
    np.testing.assert_allclose(whole.images[train["as they are"]], parts[0].images)
    np.testing.assert_allclose(whole.images[test["as they are"]], parts[1].images)
    for form in train:
        np.testing.assert_array_equal(whole.labels[train[form]], parts[0].labels)
        np.testing.assert_array_equal(whole.labels[test[form]], parts[1].labels)
    # Pixels of training and test images are shuffled alike.
    before = np.concatenate([p.images.reshape(len(p), 4) for p in parts])
    after = np.concatenate(
        [whole.images[p["shuffled pixels"]].reshape(-1, 4) for p in (train, test)]
    )
    order = [int(np.flatnonzero(np.isclose(before[0], v)).item()) for v in after[0]]
    np.testing.assert_allclose(after, before[:, order])


def test_sentences_follow_the_numbers():
    base = {"seeds": 4, "train_error": 0.0, "train_error_low": 0.0, "train_error_high": 0.0}

    def row(share, images, reached, times, test):
        own = {"random_labels": share, "images": images, "reached": reached, "diverged": 0, **base}
        for name, value in (("steps", 100 * times), ("times", times), ("to_random", times / 4),
                            ("test_error", test)):  # fmt: skip
            own |= {name: value, f"{name}_low": value * 0.9, f"{name}_high": value * 1.1}
        return own

    signs = pd.DataFrame([
        {"width": w, "n": n, "value": v, "low": v, "high": v, "gap_bound": v + 0.2,
         "vc_dimension": 100.0 * w, "vc_rademacher": 1.0}
        for w, n, v in ((2, 50, 0.5), (2, 100, 0.3), (9, 50, 1.0), (9, 100, 0.9))
    ])  # fmt: skip
    fits = [
        row(0.0, "as they are", 4, 1.0, 0.1), row(1.0, "as they are", 4, 4.0, 0.9),
        row(0.0, "gaussian", 4, 2.0, 0.9), row(0.0, "random pixels", 3, 9.0, 0.9),
    ]  # fmt: skip
    said = report.conclusions({"fits": pd.DataFrame(fits), "rademacher": signs})
    assert said[0].startswith("Random labels are fitted, by all networks, in 4.000 [3.600, 4.400]")
    assert said[1].endswith("times the steps, faster than random labels.")
    assert said[2] == "Random pixels with true labels are fitted by 3 of 4 networks."
    assert said[3].endswith("while all 8 networks fit their labels: the training error does not "
                            "tell them apart.")  # fmt: skip
    assert "in 2 of 4 settings; it could say something for 2 units at 50 and 2 units" in said[5]
    fits[1] |= {"reached": 0, "diverged": 2}
    lost = report.conclusions({"fits": pd.DataFrame(fits), "rademacher": signs})
    assert lost[0].startswith("Random labels are not fitted by any of 4 networks")
    assert "2 networks diverged and are left out." in lost


def test_what_diverged_is_no_number():
    class Group:
        class history:  # noqa: N801
            loss = np.array([[1.0, np.nan, 1.0], [np.nan, np.nan, 0.5]])
            accuracy = np.array([[0.7, 0.9, 0.8], [0.9, 0.9, 0.6]])

    np.testing.assert_allclose(capacities.gains(Group), [0.4, np.nan, 0.6])
    nothing = {name: np.nan for name in ("value", "low", "high", "gap_bound")}
    signs = pd.DataFrame(
        [{"width": 2, "n": 50, "vc_dimension": 9.0, "vc_rademacher": 1.0} | nothing]
    )
    fits = pd.DataFrame({
        "random_labels": [0.0, 1.0], "images": "as they are", "reached": 0, "test_error": np.nan,
    })  # fmt: skip
    assert report.conclusions({"fits": fits, "rademacher": signs}) == [
        "Networks diverged in some condition: nothing can be said of random labels.",
        "All networks diverged on random signs: their capacity is not measured.",
    ]
