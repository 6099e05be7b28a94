"""Sentences about relations: what they claim is what the numbers say, for none, one and many."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from genjax.report import relation_words as words
from genjax.report.phrases import MINUS, bracket, count, join, signed, significant
from genjax.statistics.networks import from_arrays
from genjax.statistics.relations import Chance, Relations
from genjax.statistics.verdict import ANTI_PREDICTS, CHANCE, PREDICTS, THROUGH

NAN = math.nan
NO_ROWS = pd.DataFrame(columns=["what", "name", "networks", "reason"])
LEVELS = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], 3, axis=0)


def row(name, tau, verdict, *, half=0.1, **values):
    """A measure with an interval of tau +- half, and no other statistic unless given."""
    made = {"measure": name, "verdict": verdict, "sign_error_max": NAN}
    for statistic in ("kendall", "spearman", "granulated", "partial_spearman", "sign_error_mean"):
        made |= dict.fromkeys([statistic, f"{statistic}_low", f"{statistic}_high"], NAN)
    made |= {"kendall": tau, "kendall_low": tau - half, "kendall_high": tau + half}
    made |= {"statistic_of_means": tau, "n": 12, "configurations": 4}
    for statistic, value in values.items():
        if isinstance(value, tuple):
            made[statistic], made[f"{statistic}_low"], made[f"{statistic}_high"] = value
        else:
            made[statistic] = value
    return made


def make(*rows, chance=None, environments=0, dropped=NO_ROWS, **tables):
    """Relations of 12 networks, 4 configurations and 2 hyper-parameters with these measures."""
    empty = pd.DataFrame()
    tables = {"combination": empty, "worst_case": empty} | tables
    networks = from_arrays(np.zeros((12, len(rows))), np.arange(12.0), LEVELS)
    return Relations(
        table=pd.DataFrame(list(rows)),
        by_hyper=empty,
        environments=pd.DataFrame(index=range(environments)),
        references=empty,
        dropped=dropped,
        chance=chance or Chance("kendall", np.zeros(0), 0, False),
        networks=networks,
        target_name="gap",
        level=0.95,
        **tables,
    )


SCOPE = (
    "(12 networks of 4 configurations, 2 hyper-parameters; brackets hold 95% intervals over "
    "configurations)."
)


def test_overview_of_all_kinds():
    found = words.conclusions(
        make(
            row("a", 0.6, PREDICTS),
            row("b", 0.5, PREDICTS),
            row("c", -0.4, ANTI_PREDICTS),
            row("d", 0.3, THROUGH.format("hp.0")),
            row("e", 0.1, CHANCE),
            row("f", 0.0, CHANCE),
        )
    )
    assert found[0] == (
        "Of 6 measures 2 predict gap, 1 anti-predicts it, 1 relates to it only through a "
        f"hyper-parameter and 2 cannot be told apart from chance {SCOPE}"
    )
    assert found[1:] == [
        "The strongest predictor is a, with Kendall's tau 0.600 [0.500, 0.700].",
        "b (0.500 [0.400, 0.600]) also predicts gap.",
        "d (0.300 [0.200, 0.400]) relates to gap only through hp.0.",
        f"c ({MINUS}0.400 [{MINUS}0.500, {MINUS}0.300]) anti-predicts gap: the larger it is, the "
        "smaller gap tends to be.",
        "e and f cannot be told apart from chance.",
    ]


@pytest.mark.parametrize(
    ("verdict", "one", "all_of_them"),
    [
        (PREDICTS, "a predicts gap", "All 2 measures predict gap"),
        (ANTI_PREDICTS, "a anti-predicts gap", "All 2 measures anti-predict gap"),
        (
            THROUGH.format("width"),
            "a relates to gap only through a hyper-parameter",
            "All 2 measures relate to gap only through a hyper-parameter",
        ),
        (
            CHANCE,
            "a cannot be told apart from chance as a predictor of gap",
            "None of 2 measures can be told apart from chance as a predictor of gap",
        ),
        (
            None,
            "a has no verdict as a predictor of gap",
            "All 2 measures have no verdict as a predictor of gap",
        ),
    ],
)
def test_overview_of_one_kind(verdict, one, all_of_them):
    assert words.conclusions(make(row("a", 0.6, verdict)))[0] == f"{one} {SCOPE}"
    two = make(row("a", 0.6, verdict), row("b", 0.5, verdict))
    assert words.conclusions(two)[0] == f"{all_of_them} {SCOPE}"


def test_the_target_is_named_once_also_if_the_first_kind_does_not_name_it():
    found = make(row("a", 0.1, CHANCE), row("b", 0.0, None))
    assert words.conclusions(found)[0].startswith(
        "Of 2 measures 1 cannot be told apart from chance and 1 has no verdict as a predictor of "
        "gap (12"
    )


def test_no_measure_at_all():
    assert words.conclusions(make()) == ["No measure is left that could be related to gap."]


def test_scope_without_hyper_parameters_and_without_intervals():
    found = make(row("a", 0.6, PREDICTS, kendall=(0.6, NAN, NAN)))
    networks = from_arrays(np.zeros((12, 1)), np.arange(12.0))
    first, second = words.conclusions(found._replace(networks=networks))
    assert first == "a predicts gap (12 networks; no number has an interval)."
    assert second == "a has Kendall's tau 0.600."


BEST = np.linspace(0, 0.4, 41)  # its 95th percentile is 0.38


@pytest.mark.parametrize(("tau", "more"), [(0.39, "more"), (0.37, "not more")])
def test_the_best_against_the_best_by_chance(tau, more):
    chance = Chance("kendall", BEST, 41, False)
    found = words.conclusions(make(row("a", tau, PREDICTS), row("b", 0.0, CHANCE), chance=chance))
    assert found[1] == (
        f"The strongest predictor is a, with Kendall's tau {tau:.3f} [{tau - 0.1:.3f}, "
        f"{tau + 0.1:.3f}]: {more} than the 0.380 that the best of 2 measures reaches by chance "
        "(95th percentile over 41 permutations of configurations)."
    )


def test_negative_tau_spearman_and_exact_permutations():
    rows = [row("a", -0.3, CHANCE, spearman=(-0.42, -0.5, -0.3)), row("b", 0.1, CHANCE)]
    found = words.conclusions(make(*rows, chance=Chance("kendall", BEST, 41, False)))
    assert found[1].startswith(f"The measure with the largest tau is a, with Kendall's tau {MINUS}")
    assert "]: in absolute value not more than the 0.380 that the best of 2" in found[1]
    rows[0] |= {"statistic_of_means": -0.42}
    found = words.conclusions(make(*rows, chance=Chance("spearman", BEST, 5040, True)))
    assert (
        f": its Spearman correlation over configuration means, {MINUS}0.420, is in absolute "
        "value more than the 0.380 that" in found[1]
    )
    assert found[1].endswith("(95th percentile over all 5,040 permutations of configurations).")
    (_, second, *_) = words.conclusions(make(rows[1], chance=Chance("kendall", BEST, 41, False)))
    assert second.startswith("b has Kendall's tau 0.100 [0.000, 0.200]: not more than the 0.380 ")
    assert "that chance alone reaches" in second


def test_what_was_permuted_is_what_is_compared_with_chance():
    """With seeds, tau of the networks may be small where that of their means is not."""
    chance = Chance("kendall", BEST, 41, False)
    seeded = row("a", 0.3, PREDICTS, statistic_of_means=0.6)
    found = words.conclusions(make(seeded, row("b", 0.1, CHANCE), chance=chance))
    assert "]: its tau over configuration means, 0.600, is more than the 0.380 that" in found[1]


def test_a_measure_without_tau_is_never_the_best():
    rows = [row("a", NAN, CHANCE), row("b", 0.2, CHANCE)]
    assert "largest tau is b" in words.conclusions(make(*rows))[1]
    assert len(words.conclusions(make(rows[0]))) == 1


def test_many_names_are_counted():
    rows = [row(f"m{i}", 0.9 - 0.1 * i, PREDICTS) for i in range(8)]
    rows += [row(f"z{i}", 0.0, CHANCE) for i in range(7)]
    found = words.conclusions(make(*rows))
    assert found[2].startswith("m1 (0.800 [0.700, 0.900]), m2 (")
    assert found[2].endswith("m5 (0.400 [0.300, 0.500]) and 2 more also predict gap.")
    assert found[3] == "z0, z1, z2, z3, z4 and 2 more cannot be told apart from chance."


def test_through_names_each_hyper_parameter_once():
    rows = [row(n, 0.5, THROUGH.format(h)) for n, h in (("a", "width"), ("b", "lr"), ("c", "lr"))]
    found = words.conclusions(make(*rows))
    assert found[2] == "a (0.500 [0.400, 0.600]) relates to gap only through width."
    assert found[3] == (
        "b (0.500 [0.400, 0.600]) and c (0.500 [0.400, 0.600]) relate to gap only through lr."
    )


def reversal(granulated, partial, tau=0.5):
    rows = [row("a", tau, PREDICTS, granulated=granulated, partial_spearman=partial)]
    return [s for s in words.conclusions(make(*rows)) if "its sign" in s or "their sign" in s]


def test_simpsons_paradox():
    down, up, open_ = (-0.3, -0.4, -0.2), (0.3, 0.2, 0.4), (-0.3, -0.7, 0.1)
    shown = f"{MINUS}0.300 [{MINUS}0.400, {MINUS}0.200]"
    assert reversal(down, up) == [
        f"a (tau 0.500 [0.400, 0.600], granulated tau {shown}) reverses its sign within single "
        "hyper-parameters (Simpson's paradox)."
    ]
    assert reversal(up, down) == [
        f"a (tau 0.500 [0.400, 0.600], partial Spearman {shown}) reverses its sign with the "
        "controls held fixed (Simpson's paradox)."
    ]
    assert reversal(up, up, tau=-0.5)[0].endswith("(Simpson's paradox).")
    clear = "No measure clearly reverses its sign within single hyper-parameters or with the"
    for pair in ((up, up), (open_, up), (up, open_)):
        assert reversal(*pair)[0].startswith(clear)
    # Where tau itself may be zero, or nothing else is known, nothing is said.
    assert reversal(down, down, tau=0.05) == []
    assert reversal((NAN, NAN, NAN), (NAN, NAN, NAN)) == []
    assert clear in reversal((NAN, -0.4, -0.2), up)[0]
    rows = [row(n, 0.5, PREDICTS, granulated=down) for n in "ab"]
    text = "\n".join(words.conclusions(make(*rows)))
    assert ") and b (" in text
    assert "reverse their sign within single hyper-parameters (Simpson" in text


def sign_errors(*pairs, environments=1234):
    rows = [
        row(f"m{i}", 0.5, PREDICTS, sign_error_mean=mean, sign_error_max=largest)
        for i, (mean, largest) in enumerate(pairs)
    ]
    found = words.conclusions(make(*rows, environments=environments))
    return [s for s in found if "sign error" in s]


def test_worst_environment_and_mean_sign_error():
    mean = (0.2, 0.1, 0.3)
    where = "Over 1,234 environments (two configurations that differ in one hyper-parameter)"
    assert sign_errors((mean, 1.0), ((0.4, 0.3, 0.5), 1.0)) == [
        f"{where} each of 2 measures orders at least one entirely wrong (sign error 1).",
        "The mean sign error of m0 is 0.200 [0.100, 0.300], the smallest of 2; 1 of them is below "
        "0.25 (chance: 0.5).",
    ]
    assert sign_errors(((0.4, NAN, NAN), 1.0), ((0.3, NAN, NAN), 0.75))[0] == (
        f"{where} the largest sign error of m1 is 0.750, the smallest of 2; 1 of them reaches 1."
    )
    worst, means = sign_errors((mean, 0.9), (mean, 0.8), ((0.4, 0.3, 0.5), 0.85))
    assert worst.endswith("m1 is 0.800, the smallest of 3; none of them reaches 1.")
    assert "; 2 of them are below 0.25" in means
    worst, means = sign_errors(((0.4, 0.3, 0.5), 1.0), ((0.3, 0.2, 0.5), 1.0), (mean, 0.99))
    assert worst.endswith("; 2 of them reach 1.")
    assert "none of them is below" in sign_errors(((0.3, NAN, NAN), 1.0), ((0.4, NAN, NAN), 1.0))[1]


def test_sign_errors_of_one_measure_and_of_none():
    assert sign_errors(((0.2, 0.1, 0.3), 1.0), environments=1) == [
        "Over 1 environment (two configurations that differ in one hyper-parameter) m0 orders at "
        "least one entirely wrong (sign error 1).",
        "The mean sign error of m0 is 0.200 [0.100, 0.300] (chance: 0.5).",
    ]
    assert sign_errors(((0.2, 0.1, 0.3), 0.5))[0].endswith("sign error of m0 is 0.500.")
    assert sign_errors(((0.2, 0.1, 0.3), 0.5), environments=0) == []
    assert sign_errors(((NAN, NAN, NAN), NAN)) == []


def test_combination_against_a_constant():
    columns = ["held_out", "networks", "rmse", "bias_only_rmse"]
    table = [["a = 1", 4, 0.1, 0.2], ["a = 2", 4, 0.3, 0.21], ["b = 1", 2, NAN, NAN]]
    found = make(row("a", 0.5, PREDICTS), combination=pd.DataFrame(table, columns=columns))
    assert words.conclusions(found)[-1] == (
        "A regression over all measures together, with one value of one hyper-parameter held out, "
        "misses gap there by 0.2 on average (mean root-mean-square error), a constant by 0.205; "
        "its error is the smaller one in 1 of 2 (no interval)."
    )
    unknown = found._replace(combination=pd.DataFrame(table[2:], columns=columns))
    assert len(words.conclusions(unknown)) == len(words.conclusions(found)) - 1


def test_worst_case_fit_against_a_constant():
    def last(*errors):
        table = pd.DataFrame(
            {
                "measure": ["bias only", "a", "b"][: len(errors)],
                "robust_rmse": errors,
                "worst_environment": ["lr = 1", "lr = 2", "lr = 3"][: len(errors)],
            }
        )
        return words.conclusions(make(row("a", 0.5, PREDICTS), worst_case=table))[-1]

    assert last(0.2, 0.15, 0.1234) == (
        "Of rising affine functions of one measure, that of b has the smallest root-mean-square "
        "error in its worst environment, lr = 3: 0.123 against 0.2 for a constant, both fitted to "
        "the same networks."
    )
    none = (
        "No rising affine function of one measure has a smaller error in its worst environment "
        "than a constant (0.2)."
    )
    assert last(0.2, 0.2, 0.3) == last(0.2, 0.3, 0.4) == last(0.2, 0.2 - 1e-9, 0.2) == none
    assert last(0.2, NAN, 0.1).startswith("Of rising affine functions of one measure, that of b")
    assert last(0.2).startswith("a has Kendall's tau")


def test_what_was_left_out():
    def last(*rows):
        table = pd.DataFrame(list(rows), columns=NO_ROWS.columns)
        return words.conclusions(make(row("a", 0.5, PREDICTS), dropped=table))[-1]

    same = "has the same value for every network"
    assert last(("networks", "gap", 1, "have no finite target")) == (
        "Left out, wholly or in part: 1 network (has no finite target)."
    )
    assert last(
        ("networks", "gap", 3, "have no finite target"),
        ("measure", "b", 12, same),
        ("measure", "c", 12, same),
        ("hyper-parameter", "lr", 12, same),
    ) == (
        "Left out, wholly or in part: 3 networks (have no finite target); measures b and c (each "
        f"{same}); hyper-parameter lr ({same})."
    )
    assert last(("measure", "b", 5, "is not finite")).endswith(
        "measure b (5 networks: is not finite)."
    )
    assert last(("measure", "b", 5, "is lost"), ("measure", "c", 1, "is lost")).endswith(
        "measures b and c (up to 5 networks: each is lost)."
    )
    many = last(*(("measure", f"m{i}", 12, f"reason {i}") for i in range(9)))
    assert many.endswith("measure m3 (reason 3); 5 more kinds.")


def test_verdicts_are_counted():
    rows = [row(str(i), 0.5, THROUGH.format(f"h{i}")) for i in range(3)]
    assert words.verdict_counts(make(*rows, row("x", 0.1, CHANCE))) == {
        PREDICTS: 0,
        ANTI_PREDICTS: 0,
        words.THROUGH_ANY: 3,
        CHANCE: 1,
        words.NO_VERDICT: 0,
    }
    assert words.verdict_kind("something else") == words.NO_VERDICT
    assert words.verdict_kind(NAN) == words.NO_VERDICT


def test_chance_limit_ignores_what_is_not_finite():
    found = make(row("a", 0.5, PREDICTS), chance=Chance("kendall", np.append(BEST, NAN), 42, False))
    assert words.chance_limit(found) == pytest.approx(0.38)
    assert math.isnan(words.chance_limit(make(row("a", 0.5, PREDICTS))))


def test_a_whole_report(relations):
    found = words.conclusions(relations)
    counts = words.verdict_counts(relations)
    assert sum(counts.values()) == 14
    assert found[0].startswith(f"Of 14 measures {counts[PREDICTS]} predict gap, ")
    text = "\n".join(found)
    best = relations.table.iloc[0]
    assert (
        f"The strongest predictor is {best.measure}, with Kendall's tau {best.kendall:.3f}" in text
    )
    assert f"Over {len(relations.environments)} environments" in text
    assert not re.search(r"\bnan\b|  |\.\.|\( |None", text)
    assert all(sentence.endswith(".") for sentence in found)


def test_without_hyper_parameters_nothing_is_said_of_them(bare_relations):
    text = "\n".join(words.conclusions(bare_relations))
    assert "(216 networks; brackets hold" in text
    for absent in ("environment", "reverse", "regression", "nan"):
        assert absent not in text


def test_pieces():
    assert bracket(-0.5, -0.6, 0.00004) == f"{MINUS}0.50000 [{MINUS}0.60000, 0.00004]"
    assert bracket(0.5, NAN, 0.6) == "0.500"
    assert signed(-0.0004) == "0.000"
    assert significant(0.0) == "0"
    assert significant(1234567.0) == "1.23e+06"
    assert significant(999.96) == "1,000"
    assert join(["a"], most=1) == "a"
    assert join(["a", "b"], most=1) == "a and 1 more"
    assert count(1, "network") == "1 network"
