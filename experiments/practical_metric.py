"""The practical generalization metric: of a population trained here, or of somebody else's grid.

Question: how do error and kappa move with model size, robustness and share of novel classes, and
what do the trade-off point and the bounds of Huang, Yu and Zhang (2025) make of it?
"""

import datetime
import hashlib
import io
import pathlib
import sys

import pandas as pd
from absl import flags

from experiments import benchmark, commandline
from genjax import errors, report
from genjax.metrics import practical
from genjax.statistics.analysis import GridAnalysis, analyse_grid, grid_dataset

FLAGS = flags.FLAGS


def read_bytes(path: str) -> bytes:
    """Return the content of a file.

    Raises:
        InvalidInputError: it cannot be read.
    """
    try:
        return pathlib.Path(path).expanduser().read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise errors.InvalidInputError(f"grid: '{path}' cannot be read ({reason}).") from error


def read_grids(path: str) -> dict[str, practical.Grid]:
    """Read a CSV with size, ssim, novel_share and the six statistics; an optional column `family`.

    Raises:
        InvalidInputError: the file cannot be read, or is not a full grid.
    """
    try:
        table = pd.read_csv(io.BytesIO(read_bytes(path)))
    except ValueError as error:  # what pandas' own refusals derive from
        if isinstance(error, errors.GenjaxError):
            raise
        first = str(error).splitlines()[0]
        raise errors.InvalidInputError(
            f"grid: '{path}' cannot be read as CSV ({first})."
        ) from error
    if "family" not in table.columns:
        return {pathlib.Path(path).stem: practical.from_table(table)}
    if bool(table["family"].isna().to_numpy().any()):
        row = int(table["family"].isna().to_numpy().argmax()) + 1
        raise errors.InvalidInputError(f"grid: column 'family', row {row}: found no name.")
    return {
        str(name): _family_grid(str(name), part.drop(columns="family"))
        for name, part in table.groupby("family", sort=False)
    }


def _family_grid(name: str, part: pd.DataFrame) -> practical.Grid:
    try:
        return practical.from_table(part)
    except errors.InvalidInputError as error:
        raise errors.InvalidInputError(
            f"grid: among the rows of family '{name}', {error}"
        ) from error


def from_grid(path: str) -> None:
    """Analyse somebody else's grid: everything that needs no replicates."""
    grids = read_grids(path)
    digest = hashlib.sha256(read_bytes(path)).hexdigest()[:16]
    config = {"grid": path, "grid_digest": digest, "name": "practical_metric"}
    stem = pathlib.Path(path).stem
    output = report.storage.OutputFolder(FLAGS.output or f"results/practical_metric_{stem}")
    if output.prepare(config, overwrite=FLAGS.overwrite) == "complete":
        print(benchmark.COMPLETE.format(output.path))
        return
    found = {name: analyse_grid(grid) for name, grid in grids.items()}
    output.write_netcdf("practical.nc", grid_dataset(grids))
    solves = [grid.sensitivity.assign(family=name) for name, grid in found.items()]
    output.write_parquet("sensitivity.parquet", pd.concat(solves, ignore_index=True))
    card = report.provenance.run_card(
        config,
        data_fingerprint=digest,
        seeds=[],
        wall_times={},
        command=" ".join(sys.argv),
        status="complete",
        started=datetime.datetime.now(datetime.UTC),
    )
    title = f"{benchmark.TITLE}: {pathlib.Path(path).name}"
    written = report.practical.write_grids(output, found, card, title=title)
    written["trade-off"] = output.write_json("trade_off", summary(found))
    written["run card"] = output.write_run_card(card)
    for name, grid in found.items():
        for sentence in report.words.grid_conclusions(name, grid):
            print(f"- {sentence}")
    report.terminal.paths(written)


def summary(found: dict[str, GridAnalysis]) -> dict[str, dict[str, float]]:
    """Return trade-off point, bounds, and what is prior of every family, by name."""
    return {
        name: {
            "ssim": grid.point.ssim,
            "novel_share": grid.point.novel_share,
            "size": grid.point.size,
            "generalization_bound": grid.bounds.generalization,
            "diversity_bound": grid.bounds.diversity,
            **{f"data_free_{k}": v for k, v in grid.data_free.coordinates().items()},
            **{f"prior_share_{k}": v for k, v in grid.prior.items()},
        }
        for name, grid in found.items()
    }


def define_flags() -> None:
    """Define what every program has, and the grid."""
    commandline.define_flags()
    flags.DEFINE_string("grid", None, "CSV of somebody else's grid; nothing is trained then.")


def main() -> None:
    """Read a grid where one is given, train a population otherwise."""
    if FLAGS.grid is not None:
        from_grid(FLAGS.grid)
    else:
        benchmark.main()


if __name__ == "__main__":
    define_flags()
    commandline.launch("practical_metric", main)
