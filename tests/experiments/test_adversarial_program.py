"""Attacks and adversarial training, as a program."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

CONFIG = "--config=experiments/configs/adversarial.py:smoke"


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adversarial") / "out"
    code, out, err = run("adversarial", CONFIG, f"--output={folder}")
    assert code == 0, err
    return folder, out


def test_errors_under_attack_are_told_and_drawn(folder):
    path, out = folder
    assert "Plainly trained networks err on" in out
    for name in ("attacks", "shifts"):
        assert (path / "figures" / f"{name}.png").stat().st_size > 5_000
    assert (
        "Networks trained on attacks minus those trained plainly"
        in (path / "report.html").read_text()
    )
    errors = pd.read_csv(path / "errors.csv")
    assert len(errors) == 2 * 2 * 3 * 2
    wide = errors.pivot(index=["radius", "seed", "epsilon"], columns="attack", values="error")
    assert (wide["pgd"] >= wide["fgsm"]).all()
    assert (wide["strongest"] >= wide[["fgsm", "pgd"]].max(axis=1)).all()
    none = wide.xs(0.0, level="epsilon")
    np.testing.assert_array_equal(none["pgd"], none["fgsm"])
    assert (pd.read_csv(path / "attacks.csv")["weaker on images"] == 0).all()


def test_changes_are_paired_by_seed(folder):
    path, _ = folder
    errors, changes = (pd.read_csv(path / f"{name}.csv") for name in ("errors", "changes"))
    own = errors[(errors["attack"] == "strongest") & (errors["epsilon"] == 0.1)]
    wide = own.pivot(index="seed", columns="radius", values="error")
    test = scipy.stats.ttest_rel(wide[0.1], wide[0.0])
    (row,) = changes[changes["images"] == "strongest 0.1"].to_dict("records")
    np.testing.assert_allclose(
        [row["value"], row["low"], row["high"]],
        [(wide[0.1] - wide[0.0]).mean(), *test.confidence_interval(0.95)],
        rtol=1e-9,
    )


def test_a_second_run_has_nothing_to_do(folder, run):
    code, out, err = run("adversarial", CONFIG, f"--output={folder[0]}")
    assert (code, "complete" in out) == (0, True), err


def test_what_cannot_be_attacked_is_refused(refused, tmp_path):
    cases = {
        "attacks: unknown name 'pdg'": ["--config.attacks=('fgsm', 'pdg')"],
        "radii: found (0.1, 0.2)": ["--config.radii=(0.1, 0.2)"],
        "compared_at: found 0.3": ["--config.compared_at=0.3"],
        "shifts: unknown name 'blur'": ["--config.shifts=('blur',)"],
        "levels: found (0.8, 0.9)": ["--config.levels=(0.8, 0.9)"],
    }
    for s, a in cases.items():
        assert s in refused("adversarial", CONFIG, *a, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_training_meets_the_attack_that_its_network_shall_bear():
    import jax
    import jax.numpy as jnp

    from experiments import hardening
    from genjax import data, models
    from genjax.metrics import robustness

    digits = data.load("digits").take(range(50))
    base = models.create("mlp", image_shape=(8, 8, 1), num_classes=10, widths=(8,))
    network = hardening.hardened(base, steps=3)
    key = jax.random.key(0)
    parameters, statistics = network.init(jax.random.key(1))
    images = hardening.with_labels(digits).images
    for radius in (0.0, 0.2):
        parameters[hardening.RADIUS]["value"] = jnp.float32(radius)
        found, _ = network.train_apply(parameters, statistics, images, key, None)
        own, _ = base.init(jax.random.key(1))
        attacked = robustness.pgd(
            base.apply, own, digits.images, digits.labels, radius, jax.random.split(key)[0],
            steps=3,
        )  # fmt: skip
        np.testing.assert_allclose(found, base.apply(own, attacked.images), atol=1e-5)
