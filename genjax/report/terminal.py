"""What a run says on the terminal: a progress bar, a short table, the paths of what was written.

Where the output is not a terminal (a log file, a pipe) there are plain lines and no control
characters.
"""

import io
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import rich.box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

QUIET_SECONDS = 10.0
"""Without a terminal, at most one line of progress in this many seconds."""


class progress:  # noqa: N801  (a context manager, used like a function: `with progress(...)`)
    """Show how far something is: text, bar, count, rate, elapsed time and time left.

    The object is called as `on_progress(done, total, text)`, in any rhythm; `done` may be a
    fraction of what is counted. A smaller `done` or another `total` than before starts a new bar,
    so that several stages can follow each other.

    Args:
        description: what is going on, until the first call brings a text.
        unit: what is counted, in the plural.
        console: where to write; standard error by default, which leaves standard output to results.
        quiet_seconds: seconds between two plain lines where there is no terminal.

    Example:
        >>> import io
        >>> log = io.StringIO()
        >>> with progress("training", "steps", console=Console(file=log)) as on_progress:
        ...     on_progress(10, 10, "cnn")
        >>> log.getvalue().startswith("cnn: 10/10 steps")
        True
    """

    def __init__(
        self,
        description: str,
        unit: str = "networks",
        *,
        console: Console | None = None,
        quiet_seconds: float | int = QUIET_SECONDS,
    ):
        self._text = description
        self._unit = unit
        self._console = console or Console(stderr=True)
        self._quiet_seconds = quiet_seconds
        self._bars: Progress | None = None
        self._task: Any = None
        self._done, self._total = 0.0, 0.0
        self._began = self._said = self._called = time.monotonic()
        self._unsaid = False

    def __enter__(self) -> "progress":
        self._began = self._said = self._called = time.monotonic()
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                _RateColumn(self._unit),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bars.start()
            self._task = self._bars.add_task(self._text, total=None)
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave the last state on the screen, also when the work was interrupted."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        elif self._unsaid:
            self._say()

    def __call__(self, done: float | int, total: float | int, text: str = "") -> None:
        """Show that `done` of `total` is done; `text` says of what."""
        restarts = done < self._done or (self._total and total != self._total)
        if restarts and self._unsaid:
            self._say()
        self._done, self._total = float(done), float(total)
        self._text = text or self._text
        if restarts:
            # What a first report counts was done since the last report of the stage before.
            self._began = self._called if done else time.monotonic()
        self._called = time.monotonic()
        if self._bars is not None:
            if restarts:
                self._task = self._bars.add_task(self._text, total=total)
            self._bars.update(self._task, completed=done, total=total, description=self._text)
            return
        self._unsaid = True
        if time.monotonic() - self._said >= self._quiet_seconds:
            self._say()

    def _say(self) -> None:
        """Write one plain line."""
        self._said, self._unsaid = time.monotonic(), False
        seconds = self._said - self._began
        line = f"{self._text}: {self._done:g}/{self._total:g} {self._unit}"
        if seconds > 0 and self._done:
            rate = self._done / seconds
            line += f", {_rate(rate, self._unit)}, {duration(seconds)} elapsed"
            if self._done < self._total:
                line += f", {duration((self._total - self._done) / rate)} left"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    console: Console | None = None,
) -> None:
    """Print a short table; columns of numbers are aligned at their right edge.

    Args:
        title: what the table shows.
        columns: their names.
        rows: cells; numbers are written by `number`, everything else by `str`.
        console: where to write; standard output by default.

    Example:
        >>> console = Console(width=40, force_terminal=False)
        >>> summary_table("errors", ["family", "error"], [["cnn", 0.25]], console=console)
        errors
        family  error
        cnn      0.25
    """
    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=_box(console), pad_edge=False
    )
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(number(cell)) for cell in row))
    _print_lines(table, console)


def paths(written: Mapping[str, Any], *, console: Console | None = None) -> None:
    """List what was written, one line each: what it is, and its path in full.

    Args:
        written: what it is -> path.
        console: where to write; standard output by default.

    Example:
        >>> paths({"page": "results/run1/report.html"}, console=Console(width=30))
        page  results/run1/report.html
    """
    console = console or Console()
    width = max((len(what) for what in written), default=0)
    for what, path in written.items():
        # Not wrapped: a path that is broken over two lines cannot be copied.
        line = f"{what:<{width}}  {path}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def number(value: Any) -> str:
    """Write a number with four significant digits, anything else as it is; NaN is a dash.

    Example:
        >>> [number(v) for v in (0.123456, 1234567.0, 12, float("nan"), "cnn")]
        ['0.1235', '1.235e+06', '12', '-', 'cnn']
    """
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def duration(seconds: float | int) -> str:
    """Write a time as seconds, minutes or hours.

    Example:
        >>> duration(4.2), duration(75), duration(7325)
        ('4 s', '1 min 15 s', '2 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _RateColumn(ProgressColumn):
    """How many per second, over the last half minute."""

    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(_rate(speed, self._unit) if speed else "")


def _rate(per_second: float | int, unit: str) -> str:
    """Write a rate; what takes longer than a second is counted per minute."""
    if per_second >= 1:
        return f"{per_second:,.0f} {unit}/s"
    return f"{60 * per_second:.1f} {unit}/min"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _box(console: Console | None) -> rich.box.Box | None:
    return rich.box.SIMPLE_HEAD if (console or Console()).is_terminal else None


def _print_lines(table: Table, console: Console | None) -> None:
    """Print a table; into a log as wide as it needs, and without blanks at the ends of lines."""
    console = console or Console()
    if console.is_terminal:
        console.print(table)
        return
    wide = Console(file=io.StringIO(), width=max(console.width, 240))
    wide.print(table)
    for line in cast(io.StringIO, wide.file).getvalue().splitlines():
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
