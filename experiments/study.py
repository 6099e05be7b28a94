"""What short experiments share: check, open the folder, keep what is computed, write the page.

An experiment is two functions: `prepare(config)` loads and refuses, `compute(config, ready, work)`
trains and measures and says what it found. Everything else is here.
"""

import datetime
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from experiments import commandline, configuration, fields, stages
from genjax import data, errors, report
from genjax.data import Examples, splits
from genjax.report import page, provenance
from genjax.report.page import Section
from genjax.report.storage import OutputFolder

KEPT = "measured"
PAGE = "report.html"


class Begun(NamedTuple):
    """When a run began.

    Attributes:
        started: time of day.
        clock: monotonic seconds.
    """

    started: datetime.datetime
    clock: float


def begin() -> Begun:
    """Return the time."""
    return Begun(datetime.datetime.now(datetime.UTC), time.monotonic())


class Parts(NamedTuple):
    """Examples of an experiment.

    Attributes:
        train: to train on.
        validation: to choose by.
        test: to judge by.
    """

    train: Examples
    validation: Examples
    test: Examples


class Study(NamedTuple):
    """What was found.

    Attributes:
        sentences: the conclusions, computed from the numbers, most important first.
        sections: of the page.
        tables: name -> table, each written as CSV.
        headline: title, columns and rows of the table on the terminal.
    """

    sentences: Sequence[str]
    sections: Sequence[Section]
    tables: Mapping[str, pd.DataFrame]
    headline: tuple[str, Sequence[str], Sequence[Sequence[Any]]]


class Work(NamedTuple):
    """Where an experiment works.

    Attributes:
        output: the folder.
        mark: of configuration and data; what was kept under another mark is computed anew.
    """

    output: OutputFolder
    mark: str

    def kept(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Return arrays that an interrupted run of this configuration computed, or compute them.

        Args:
            name: of the file, below `measured/`.
            compute: returns arrays of numbers or text.
        """
        if self.output.exists(f"{KEPT}/{name}.nc"):
            stored = self.output.read_netcdf(f"{KEPT}/{name}")
            if stored.attrs.get("mark") == self.mark:
                return {str(key): value.to_numpy() for key, value in stored.items()}
        found = {key: np.asarray(value) for key, value in compute().items()}
        arrays = {
            key: ([f"{key}_{axis}" for axis in range(value.ndim)], value)
            for key, value in found.items()
        }
        self.output.write_netcdf(f"{KEPT}/{name}", xr.Dataset(arrays, attrs={"mark": self.mark}))
        return found


def load(config: Any) -> Parts:
    """Return the examples that `config.data` names, split, and cut to its limits (0: all).

    Raises:
        GenjaxError: naming the field, what was found and what is allowed.
    """
    examples = data.load(config.data.source, data_dir=config.data.folder or None, stream=False)
    assert isinstance(examples, Examples)  # not streamed
    parts = splits.stratified(
        examples, tuple(config.data.fractions), seed=config.seed, is_test=examples.is_test
    )
    limits = (config.data.train_examples, 0, config.data.test_examples)
    named = zip(("train", "validation", "test"), parts, limits, strict=True)
    return Parts(
        *(at_most(examples, part, limit, name, config.seed) for name, part, limit in named)
    )


def at_most(examples: Examples, part: np.ndarray, limit: int, name: str, seed: int) -> Examples:
    """Return the examples of a part, or a stratified choice of as many as `limit` (0: all).

    Args:
        examples: all.
        part: positions in them.
        limit: value of the field `data.NAME_examples`.
        name: of the part.
        seed: of the choice.

    Raises:
        SplitError: the part has fewer.
    """
    if limit < 0 or limit > len(part):
        raise errors.SplitError(
            f"data.{name}_examples: found {limit}; allowed are 0 (all) to {len(part)}."
        )
    if limit:
        part = part[splits.nested_subsets(examples.labels[part], [limit], seed=seed)[0]]
    return examples.take(np.sort(part))


def opened(plain: Mapping[str, Any], known: Mapping[str, Any]) -> OutputFolder | None:
    """Return the folder of a run, its card saying that it is partial; None if it is complete.

    Args:
        plain: the configuration.
        known: of the run card, what is known at the start.
    """
    output = OutputFolder(commandline.FLAGS.output or f"results/{plain['name']}")
    if not commandline.FLAGS.overwrite and output.prepare(plain) == "complete":
        print(commandline.COMPLETE.format(output.path))
        return None
    if commandline.FLAGS.overwrite:
        output.prepare(plain, overwrite=True)
        stages.forget(output)
    output.write_run_card(provenance.run_card(plain, **known, wall_times={}))
    return output


def run(
    title: str,
    like: Any,
    prepare: Callable[[Any], Any],
    compute: Callable[[Any, Any, Work], Study],
    fingerprint: Callable[[Any], str],
) -> None:
    """Run an experiment from its flags to its page.

    Args:
        title: of the page.
        like: configuration whose fields are allowed.
        prepare: checks everything and loads; nothing long.
        compute: does the work.
        fingerprint: of what `prepare` returned.
    """
    config, begun = commandline.FLAGS.config, begin()
    plain = configuration.as_plain(config)
    fields.check_names(config, like)
    if "level" in config and not 0 < config.level < 1:
        raise errors.InvalidInputError(
            f"level: found {config.level}; allowed are levels of confidence between 0 and 1."
        )
    ready = prepare(config)
    data_mark = fingerprint(ready)
    known = {
        "data_fingerprint": data_mark,
        "seeds": list(range(config.seeds)) if "seeds" in config else [config.seed],
        "command": " ".join(sys.argv),
        "started": begun.started,
    }
    output = opened(plain, known)
    if output is None:
        return
    work = Work(output, f"{provenance.config_hash(plain)} {data_mark}")
    found = compute(config, ready, work)
    seconds = {"all": time.monotonic() - begun.clock}
    card = provenance.run_card(plain, **known, wall_times=seconds, status="complete")
    written = _write(output, title, found, card)
    for sentence in found.sentences:
        print(f"- {sentence}")
    report.terminal.summary_table(*found.headline)
    report.terminal.paths(written)


def _write(
    output: OutputFolder, title: str, found: Study, card: Mapping[str, Any]
) -> dict[str, Any]:
    written = {name: output.write_csv(name, table) for name, table in found.tables.items()}
    text = page.render(title, found.sentences, found.sections, card)
    output.write_text(PAGE, text)
    written["page"] = output.path / PAGE
    written["run card"] = output.write_run_card(card)
    return written
