"""Sparse networks: errors over sparsity, and differences to winning tickets."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments import over_seeds
from genjax.statistics.chance import holm

KINDS = ("winning ticket", "mask with a new start", "random mask")


def tables(found: Mapping[str, np.ndarray], level: float) -> dict[str, pd.DataFrame]:
    """Return `networks`, `errors` (means over seeds) and `differences` (paired by seed)."""
    rows = [
        (turn, found["kept"][turn], KINDS[k], seed, found["train"][at], found["test"][at])
        for at in np.ndindex(found["test"].shape)
        for turn, k, seed in [at]
    ]
    columns = ["round", "kept", "kind", "seed", "train_error", "test_error"]
    networks = pd.DataFrame(rows, columns=columns)
    differences = []
    for turn, kept in enumerate(found["kept"][1:], 1):
        winning, others = found["test"][turn, 0], {"dense network": found["test"][0, 0]}
        others |= {KINDS[k]: found["test"][turn, k] for k in (1, 2)}
        for name, other in others.items():
            apart = over_seeds.paired(other, winning, level)
            differences.append({"round": turn, "kept": kept, "against": name, **apart})
    differences = pd.DataFrame(differences)
    differences["holm_p"] = differences.groupby("against")["p"].transform(
        lambda p: holm(p.to_numpy())
    )
    values = ("train_error", "test_error")
    return {
        "errors": over_seeds.means(networks, ("round", "kept", "kind"), values, level),
        "differences": differences,
        "networks": networks,
    }
