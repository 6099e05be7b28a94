"""The statistics of relations against loops over groups, and all of them on a large table.

    python benchmarks/relations.py [--networks=10000 --measures=40] [--small=700] [--output=FILE]

Granulated tau against scipy in pandas groups, conditional mutual information against crosstabs of
pandas groups: in one process, on the same table, equal to 1e-9. The loops take minutes on the large
table, so they are timed on smaller ones.
"""

import argparse
import itertools
import resource
import time

import numpy as np
import pandas as pd
import timing
from scipy import stats

from genjax.statistics import conditional_information, granulated, networks, relate

HYPER, LEVELS, SEEDS = 7, 3, 5


def population(count: int, measures: int, seed: int = 0) -> networks.MeasuredNetworks:
    """A grid of 3^7 configurations with 5 seeds each, cut off after `count` networks."""
    rng = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(range(LEVELS), repeat=HYPER)))
    grid = np.repeat(rng.permutation(grid), SEEDS, axis=0)[:count]
    seeds = np.tile(np.arange(SEEDS), LEVELS**HYPER)[: len(grid)]
    target = grid @ rng.normal(size=HYPER) + rng.normal(size=len(grid))
    loadings = rng.normal(size=(HYPER, measures))
    values = grid @ loadings + rng.normal(size=(len(grid), measures))
    values += rng.random(measures) * target[:, None]
    return networks.from_arrays(values, target, grid, seeds)


def frame(given: networks.MeasuredNetworks) -> pd.DataFrame:
    """The same as a table."""
    table = pd.DataFrame(given.levels, columns=list(given.hyper_names))
    table["seed"], table["gap"] = given.seeds, given.target
    return pd.concat(
        [table, pd.DataFrame(given.measures, columns=list(given.measure_names))], axis=1
    )


def loop_granulated(given: networks.MeasuredNetworks) -> np.ndarray:
    """Psi of every measure: pandas groups, scipy's tau in each."""
    table = frame(given)
    psi = np.zeros((HYPER, len(given.measure_names)))
    for i, axis in enumerate(given.hyper_names):
        others = [name for name in given.hyper_names if name != axis]
        taus = []
        for _, group in table.groupby([*others, "seed"], sort=False):
            if len(group) > 1:
                columns = (group[name].to_numpy() for name in given.measure_names)
                gap = group["gap"].to_numpy()
                taus.append([stats.kendalltau(column, gap).statistic for column in columns])
        psi[i] = np.mean(taus, axis=0)
    return psi.mean(0)


def _table_information(table: np.ndarray) -> tuple[float, float]:
    """Mutual information of a 2x2 table and entropy of its target, in bits."""
    joint = table / table.sum()
    of_target, of_measure = joint.sum(1), joint.sum(0)
    product = np.outer(of_target, of_measure)
    kept = joint > 0
    information = float((joint[kept] * np.log2(joint[kept] / product[kept])).sum())
    return information, float(-(of_target * np.log2(of_target + 1e-12)).sum())


def loop_information(given: networks.MeasuredNetworks) -> np.ndarray:
    """PGDL's score of every measure: pandas groups, a crosstab of signs for every two of them."""
    table, scores = frame(given), []
    for measure in given.measure_names:
        found = []
        for chosen in itertools.combinations(given.hyper_names, 2):
            groups = [group for _, group in table.groupby(list(chosen), sort=False)]
            information, entropy = 0.0, 0.0
            for one, other in itertools.product(groups, repeat=2):
                up = one["gap"].to_numpy()[:, None] > other["gap"].to_numpy()
                more = one[measure].to_numpy()[:, None] > other[measure].to_numpy()
                codes = 2 * up.ravel() + more.ravel()
                counts = pd.Series(codes).value_counts().reindex(range(4), fill_value=0)
                parts = _table_information(counts.to_numpy().reshape(2, 2))
                information += parts[0]
                entropy += parts[1]
            found.append(information / entropy)
        scores.append(min(found))
    return np.array(scores)


def main():
    """Compare, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("networks", 10_000), ("measures", 40), ("small", 700), ("draws", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output")
    options = parser.parse_args()
    large = population(options.networks, options.measures)
    small = population(options.small, min(options.measures, 4))
    middle = population(2 * options.small, options.measures)
    rows = []
    contests = {
        "granulated tau": (
            lambda: granulated.granulated_tau(middle).value,
            lambda: loop_granulated(middle),
            middle,
        ),
        "conditional information": (
            lambda: conditional_information.conditional_information(small, version="pgdl").value,
            lambda: loop_information(small),
            small,
        ),
    }
    for name, (ours, loop, given) in contests.items():
        seconds, value = timing.timed(ours, 5)
        slow, expected = timing.timed(loop, 1)
        np.testing.assert_allclose(value, expected, atol=1e-9)
        size = f"{len(given.target)} networks x {len(given.measure_names)} measures"
        rows.append(
            {"what": name, "size": size, "seconds": seconds, "loop": slow, "ratio": slow / seconds}
        )
        print(f"{name}, {size}: {1e3 * seconds:.1f} ms, loop {slow:.1f} s, {slow / seconds:,.0f}x")
    before = time.perf_counter()
    relate(
        frame(large).rename(columns={"gap": "target"}),
        target="target",
        seed_column="seed",
        draws=options.draws,
    )
    whole = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"everything, {options.draws} draws: {whole:.1f} s, peak memory {peak:.2f} GiB")
    everything = {
        "networks": options.networks,
        "measures": options.measures,
        "draws": options.draws,
        "seconds": whole,
        "peak_gibibytes": peak,
    }
    timing.write(options.output, rows=rows, everything=everything)


if __name__ == "__main__":
    main()
