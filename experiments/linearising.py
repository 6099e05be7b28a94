"""Networks and their linearisations over width: means, slopes, differences."""

from typing import Any

import numpy as np
import pandas as pd

from experiments import over_seeds
from genjax.intervals import mean_interval
from genjax.metrics.complexity import linearised

ERRORS = ("network_error", "linear_error", "kernel_error")
MEASURED = ("distance", "drift", "agreement", "network_train_error", "linear_train_error")


def tables(config: Any, networks: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return `widths` (means), `slopes` (of log against log) and `differences` of test errors."""
    slopes, differences = [], []
    for quantity in ("distance", "drift"):
        wide = networks.pivot(index="width", columns="seed", values=quantity).to_numpy()
        wide = wide[:, np.isfinite(wide).all(axis=0)]
        own = linearised.log_slope(np.array(config.widths, float), wide)
        value = own.mean() if len(own) else np.nan
        low, high = mean_interval(own, config.level) if len(own) else (np.nan, np.nan)
        slopes.append((quantity, value, low, high, len(own)))
    for width in config.widths:
        own: Any = networks[networks["width"] == width]
        for other in ("linear_error", "kernel_error"):
            apart = over_seeds.paired(
                own["network_error"].to_numpy(), own[other].to_numpy(), config.level
            )
            differences.append({"width": width, "against": other, **apart})
    columns = ["quantity", "value", "low", "high", "seeds"]
    return {
        "widths": over_seeds.means(networks, ("width",), (*MEASURED, *ERRORS), config.level),
        "slopes": pd.DataFrame(slopes, columns=columns),
        "differences": pd.DataFrame(differences),
        "networks": networks,
    }
