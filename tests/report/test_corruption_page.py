"""Corruption errors in words, figures and one page; published means recomputed."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from genjax.errors import InvalidInputError
from genjax.report import corruption, corruption_published, figures_corruption, storage

SSIM = [1.0, 0.9, 0.7]


def outcomes(errors, images=400, reasons=()):
    """Outcomes with exactly these errors [shift][level]; the first images are the wrong ones."""
    names = list(errors)
    place = np.arange(images)
    wrong = np.array([[place < round(e * images) for e in row] for row in errors.values()], float)
    reason = np.full(wrong.shape[:2], "", object)
    for shift, level, text in reasons:
        wrong[shift, level], reason[shift, level] = np.nan, text
    numbers = {name: (("shift", "ssim"), np.ones(reason.shape)) for name in (
        "strength", "ssim_achieved", "ssim_spread"
    )}  # fmt: skip
    return xr.Dataset(
        {"wrong": (("shift", "ssim", "image"), wrong), "reason": (("shift", "ssim"), reason)}
        | numbers,
        coords={"shift": names, "ssim": SSIM},
    )


def said(errors, **options):
    return corruption.conclusions(corruption.analyse("net", outcomes(errors, **options)))


def test_the_worst_shift_leads():
    first, second, third, clean, mean, rises = said(
        {"blur": [0.1, 0.2, 0.3], "noise": [0.1, 0.4, 0.8], "jpeg": [0.1, 0.3, 0.5]}
    )
    assert first.startswith("At equal SSIM noise hurts most: mean error 0.600 [")
    assert "0.200 [" in first
    assert first.endswith("more than the next, jpeg (paired over images).")
    assert second.startswith("blur hurts least, with a mean error of 0.250 [")
    assert third.startswith("At the same SSIM of 0.70 errors range from 0.300 [")
    assert third.endswith("(noise): equal similarity is not equal harm.")
    assert clean.startswith("Untouched, the network errs on 0.100 [")
    assert clean.endswith("of 400 images.")
    assert mean.startswith("Its mean corruption error over 3 shifts and 2 levels is 0.417 [")
    assert rises == "Error never falls as SSIM falls (3 shifts)."


def test_shifts_that_are_alike_are_not_ordered():
    equal = said({"blur": [0.1, 0.3, 0.4], "noise": [0.1, 0.3, 0.4]})
    assert "has the largest mean error" in equal[0]
    assert equal[0].endswith("but cannot be told apart from noise.")
    assert not any("hurts most" in s or "not equal harm" in s for s in equal)


def test_falls_and_what_was_left_out_are_said():
    sentences = said(
        {"blur": [0.3, 0.2, 0.4], "noise": [0.1, 0.3, 0.4]},
        reasons=[(1, 2, "targets: shift 'noise' cannot reach 0.7.")],
    )
    assert "Error falls somewhere as SSIM falls for 1 of 2 shifts: blur (by at most 0.100)." in (
        sentences
    )
    assert sentences[-1] == "Left out: noise at SSIM 0.70 (shift 'noise' cannot reach 0.7)."
    assert "over SSIM 0.90" in sentences[0], "the only level that both reach"


def test_without_a_common_level_nothing_is_compared():
    reasons = [(0, 1, "no."), (1, 2, "no.")]
    found = corruption.analyse(
        "net", outcomes({"a": [0.1, 0.2, 0.3], "b": [0.1, 0.2, 0.3]}, reasons=reasons)
    )
    assert found.mean is None
    assert "they cannot be compared" in corruption.conclusions(found)[0]


def test_one_shift_alone():
    first, *_ = said({"blur": [0.1, 0.2, 0.4]})
    assert first.startswith("Under blur the network has a mean error of 0.300 [")


def test_the_mean_is_that_of_all_cells_and_its_interval_keeps_images_together():
    found = corruption.analyse("net", outcomes({"a": [0.1, 0.2, 0.3], "b": [0.1, 0.4, 0.7]}))
    assert found.mean is not None
    value, low, high = found.mean
    assert value == pytest.approx(0.4)
    # An image's share of wrong cells, as often as it is wrong: by hand.
    shares = np.repeat([1, 0.75, 0.5, 0.25, 0], [80, 40, 40, 120, 120])
    assert shares.mean() == pytest.approx(0.4)
    half = 1.96 * shares.std() / np.sqrt(400)
    np.testing.assert_allclose([low, high], [0.4 - half, 0.4 + half], atol=0.006)


@pytest.mark.parametrize("narrow", [False, True])
def test_lines_and_points_are_the_table(narrow):
    errors = {name: [0.1, 0.2 + k / 20, 0.3] for k, name in enumerate("abcdefg")}
    table = corruption.analyse("net", outcomes(errors)).table
    (panel,) = figures_corruption.error_by_similarity(table, narrow=narrow).axes
    drawn = [line.get_ydata().tolist() for line in panel.lines]
    np.testing.assert_allclose(drawn, list(errors.values()))
    assert panel.xaxis_inverted()
    looks = {(line.get_color(), line.get_linestyle()) for line in panel.lines}
    assert len(looks) == 7, "no two shifts look alike"
    with pytest.raises(InvalidInputError, match="found no row"):
        figures_corruption.error_by_similarity(table[:0])


# Published networks ------------------------------------------------------------------------------


def write_published(folder, accuracies, printed, networks=("A_B", "C")):
    columns = pd.MultiIndex.from_product([["fog", "snow"], [1, 2]])
    pd.DataFrame(accuracies, networks, columns).to_csv(folder / "cifar10_c_unaggregated.csv")
    rows = [
        {"dataset": "cifar10", "threat": "corruptions", "model": n, "clean_acc": 95.0} for n in
        ("AB", "C")
    ]  # fmt: skip
    rows = [{**row, "corruptions_acc": p} for row, p in zip(rows, printed, strict=True)]
    rows.append({**rows[0], "threat": "Linf", "corruptions_acc": None})
    pd.DataFrame(rows).to_csv(folder / "model_info.csv", index=False)


def test_means_are_recomputed_and_held_against_what_was_printed(tmp_path):
    write_published(tmp_path, [[0.9, 0.8, 0.7, 0.6], [0.5] * 4], [75.0, 50.005])
    found = corruption_published.read_published(tmp_path, "cifar10")
    assert found.benchmark == "CIFAR-10-C"
    assert found.cells == 4
    np.testing.assert_allclose(found.table["error"], [0.25, 0.5])
    np.testing.assert_allclose(found.table["clean_error"], 0.05)
    assert (found.table["low"] < found.table["error"]).all()
    assert (found.table["error"] < found.table["high"]).all()
    assert "recomputed for 2 networks of CIFAR-10-C, is the published accuracy within 0.01" in (
        corruption_published.agreement(found)
    )
    write_published(tmp_path, [[0.9, 0.8, 0.7, 0.6], [0.5] * 4], [75.0, 50.02])
    sentence = corruption_published.agreement(
        corruption_published.read_published(tmp_path, "cifar10")
    )
    assert sentence.endswith(
        "by more than 0.01 points for 1, by up to 0.0200 percentage points (C)."
    )
    write_published(tmp_path, [[0.9, 0.8, 0.7, 0.6], [0.5] * 4], [75.0, np.nan])
    sentence = corruption_published.agreement(
        corruption_published.read_published(tmp_path, "cifar10")
    )
    assert "by more than 0.01 points for 1" in sentence, "a number that is missing does not agree"


def test_bad_tables_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="did you mean 'cifar10'"):
        corruption_published.read_published(tmp_path, "cifar11")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        corruption_published.read_published(tmp_path, "cifar10")
    write_published(tmp_path, [[0.9] * 4] * 2, [90.0, 90.0], networks=("A_B", "D"))
    with pytest.raises(InvalidInputError, match="the first that differs is 'c'"):
        corruption_published.read_published(tmp_path, "cifar10")
    (tmp_path / "model_info.csv").write_text("model,dataset\n")
    with pytest.raises(InvalidInputError, match="columns dataset, threat, model"):
        corruption_published.read_published(tmp_path, "cifar10")


@pytest.mark.data
@pytest.mark.parametrize(("dataset", "networks"), [("cifar10", 23), ("cifar100", 13)])
def test_published_means_come_out(data_dir, dataset, networks):
    folder = data_dir / "published" / "robustbench"
    found = corruption_published.read_published(folder, dataset)
    assert len(found.table) == networks
    assert (found.table["error"] - found.table["printed"]).abs().max() <= 1.0001e-4
    assert "is the published accuracy within 0.01 points for every one" in (
        corruption_published.agreement(found)
    )


def test_the_page_holds_everything(tmp_path):
    published = corruption_published.Published(
        "CIFAR-10-C",
        75,
        pd.DataFrame(
            [{"network": "A<B", "clean_error": 0.05, "error": 0.2, "low": 0.19, "high": 0.21}]
        ).assign(printed=0.2),
    )
    errors = {"blur": [0.1, 0.2, 0.3], "noise": [0.1, 0.4, 0.8]}
    found = corruption.analyse(
        "net", outcomes(errors, reasons=[(0, 2, "no.")]), published=published
    )
    output = storage.OutputFolder(tmp_path)
    written = corruption.write(output, found, {}, title="net under shifts")
    text = written["page"].read_text()
    for sentence in corruption.conclusions(found):
        assert sentence.replace("'", "&#39;") in text
    assert "A&lt;B" in text
    assert "do not rank" in text
    assert text.count("<svg") == 4, "two figures in two layouts"
    assert len(pd.read_csv(written["errors"])) == 5
    assert pd.read_csv(written["published"])["printed"].tolist() == [0.2]
    short = corruption.short_summary(found)
    assert short.columns == ["shift", "SSIM 1.00", "SSIM 0.90", "SSIM 0.70"]
    assert short.rows[0][3] == "-"
