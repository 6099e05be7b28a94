"""The terminal: plain lines in a log, a bar on a terminal, aligned tables."""

import io
import itertools
import re

import pytest
from rich.console import Console

from genjax.report import terminal


@pytest.fixture
def log():
    return Console(file=io.StringIO(), width=60)


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), width=120, force_terminal=True)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def lines(console):
    return console.file.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_every_ten_seconds(log, clock):
    with terminal.progress("training", console=log) as on_progress:
        for done in range(1, 41):
            clock[0] += 0.5
            on_progress(done, 80, "cnn")
    assert lines(log) == [
        "cnn: 20/80 networks, 2 networks/s, 10 s elapsed, 30 s left",
        "cnn: 40/80 networks, 2 networks/s, 20 s elapsed, 20 s left",
    ]
    assert "\x1b" not in log.file.getvalue()


def test_the_end_is_always_said_and_said_once(log, clock):
    with terminal.progress("measuring", "cells", console=log) as on_progress:
        clock[0] += 4
        on_progress(2, 2, "")
    assert lines(log) == ["measuring: 2/2 cells, 30.0 cells/min, 4 s elapsed"]


def test_the_last_state_is_said_when_the_work_fails(log, clock):
    def interrupted():
        with terminal.progress("training", console=log) as on_progress:
            clock[0] += 1
            on_progress(3, 10, "mlp")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert lines(log) == ["mlp: 3/10 networks, 3 networks/s, 1 s elapsed, 2 s left"]


def test_a_new_stage_has_its_own_rate(log, clock):
    with terminal.progress("run", console=log) as on_progress:
        clock[0] += 5
        on_progress(10, 10, "mlp")
        clock[0] += 1
        on_progress(0, 4, "cnn")
        clock[0] += 2
        on_progress(4, 4, "cnn")
    assert [line.split(",")[0] for line in lines(log)] == [
        "mlp: 10/10 networks",
        "cnn: 4/4 networks",
    ]
    assert "2 networks/s, 2 s elapsed" in lines(log)[-1]


def test_nothing_is_said_of_nothing(log):
    with terminal.progress("training", console=log):
        pass
    assert lines(log) == []


def test_on_a_terminal_there_is_a_bar_with_count_and_rate(screen):
    with terminal.progress("training", console=screen) as on_progress:
        for done in range(1, 5):
            on_progress(done, 4, "cnn [1/2]")
    text = screen.file.getvalue()
    assert "cnn [1/2]" in text  # brackets are text, not markup
    assert "4/4" in text
    assert "networks/s" in text


def test_summary_table_aligns_numbers_and_keeps_brackets(log):
    rows = [["cnn [bold]", 0.25, 12], ["mlp", float("nan"), 1234]]
    terminal.summary_table("errors [all]", ["family", "error", "n"], rows, console=log)
    found = lines(log)
    assert found[0] == "errors [all]"
    assert "cnn [bold]" in found[2]
    assert re.fullmatch(r"mlp +- +1234", found[3])
    assert len({len(line) for line in found[1:]}) == 1  # right edges agree


def test_a_wide_table_is_not_cut_in_a_log(log):
    names = [f"a rather long column {i}" for i in range(6)]
    terminal.summary_table("t", names, [list(range(6))], console=log)
    assert all(name in lines(log)[1] for name in names)


def test_summary_table_on_a_terminal_has_a_rule(screen):
    terminal.summary_table("errors", ["family"], [["cnn"]], console=screen)
    assert "─" in screen.file.getvalue()


def test_paths_are_never_broken(log):
    long = "/results/" + "x" * 100 + "/report[1].html"
    terminal.paths({"page": long, "run card": "run.json"}, console=log)
    assert lines(log) == [f"page      {long}", "run card  run.json"]


def test_durations_have_no_sixty_seconds():
    found = [terminal.duration(s) for s in (0, 59.4, 59.6, 3599.6, 3600, 86399)]
    assert found == ["0 s", "59 s", "1 min 00 s", "1 h 00 min", "1 h 00 min", "23 h 59 min"]
    assert all(a <= b for a, b in itertools.pairwise(map(len, found[3:])))


def test_a_new_stage_counts_its_time_from_the_end_of_the_one_before(monkeypatch):
    now = iter([0.0, 0.0, 20.0, 20.0, 30.0, 30.0, 30.0, 30.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    log = io.StringIO()
    with terminal.progress("work", "steps", console=Console(file=log), quiet_seconds=5.0) as told:
        told(10, 10, "first")
        told(1, 10, "second")
    assert "second: 1/10 steps, 6.0 steps/min, 10 s elapsed" in log.getvalue()
