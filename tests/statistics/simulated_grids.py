"""Populations on a grid with known noise, for simulations of coverage."""

import numpy as np

from genjax.statistics.networks import from_arrays


def simulated(generator, shape, seeds, effect, shared, by_configuration, by_seed):
    levels = np.array(list(np.ndindex(*shape)))
    scale = 2 * levels / (np.array(shape) - 1) - 1
    count = len(levels)
    common, own, other = generator.normal(size=(3, count))
    alone = np.sqrt(1 - shared**2)
    target = effect * scale @ [1.0, 0.5, 0.3][: len(shape)]
    measure = effect * scale @ [1.0, 0.5, -0.3][: len(shape)]
    target = target + by_configuration * (shared * common + alone * own)
    measure = measure + by_configuration * (shared * common + alone * other)
    noise = by_seed * generator.normal(size=(2, count * seeds))
    return from_arrays(
        (np.repeat(measure, seeds) + noise[0])[:, None],
        np.repeat(target, seeds) + noise[1],
        np.repeat(levels, seeds, axis=0),
        np.tile(np.arange(seeds), count),
    )
