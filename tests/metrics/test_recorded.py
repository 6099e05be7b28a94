"""Measures read off the training record, against sums over the arrays themselves."""

import jax
import numpy as np
import pytest
import xarray as xr

from genjax import data, errors, training
from genjax.metrics import recorded
from genjax.training import segment


@pytest.fixture(scope="module")
def population():
    models = [training.ModelConfig("mlp", {"widths": (w,)}) for w in (4, 6)]
    models.append(training.ModelConfig("cnn", {"channels": (2, 3)}))
    config = training.SweepConfig(
        models, [training.TrainingConfig(max_steps=4, record_every=2)], {}, seeds=3
    )
    return training.sweep(config, data.load("digits"), jax.random.key(0))


def cells_of(population):
    """Cells whose error tells where it stands: seed / 10 + size / 100 + class / 1000."""
    sizes = {"mlp": [310.0, 460.0], "cnn": [float(population.groups[2].cost.parameters), np.nan]}
    seed, size, ssim, share, label = np.meshgrid(
        range(3), range(2), (0.8, 1.0), (0, 1), range(3), indexing="ij"
    )
    error = seed / 10 + size / 100 + label / 1000 + 0 * ssim + share
    error[..., 0, 2] = np.nan  # a class that does not count in the first share
    dims = ("seed", "size", "ssim", "novel_share", "class")
    one = xr.DataArray(error, dims=dims, coords={"seed": range(3), "ssim": [0.8, 1.0]})
    both = xr.concat([one, one + 0.5], dim="family").expand_dims(protocol=["clean"])
    coords = {"family": ["mlp", "cnn"], "parameters": (("family", "size"), [*sizes.values()])}
    return xr.Dataset({"error": both}).assign_coords(coords)


def test_norms_are_sums_of_squares_of_the_weights(population):
    group = population.groups[2]
    found = recorded.recorded_measures(group)
    for k in range(3):
        one, start = (
            jax.tree.leaves(jax.tree.map(lambda x, k=k: x[k], tree))
            for tree in (group.params, group.init_params)
        )
        weights = [(w, s) for w, s in zip(one, start, strict=True) if w.ndim > 1]
        assert len(weights) < len(one)  # biases are left out
        norm = sum(float((w.astype(np.float64) ** 2).sum()) for w, _ in weights)
        moved = sum(float(((w - s).astype(np.float64) ** 2).sum()) for w, s in weights)
        np.testing.assert_allclose(found["parameter_norm"][k], norm, rtol=1e-12)
        np.testing.assert_allclose(found["distance_from_init"][k], moved, rtol=1e-6)
    assert found["parameters"].tolist() == [group.cost.parameters] * 3
    assert found["steps"].tolist() == [4.0] * 3
    np.testing.assert_array_equal(found["train_loss"], group.last("loss").astype(np.float64))


def test_a_diverged_network_has_no_measures(population):
    group = population.groups[0]
    status = group.status.copy()
    status[1] = segment.DIVERGED
    found = recorded.recorded_measures(group._replace(status=status))
    for values in found.values():
        assert np.isnan(values[1])
    assert np.isfinite(found["parameter_norm"][[0, 2]]).all()


def test_the_table_joins_every_network_with_its_own_errors(population):
    whole = recorded.measured_table(population, cells_of(population))
    assert {"hp.widths", "hp.channels", "hp.learning_rate"} <= set(whole)
    table = recorded.by_family_and_size(whole)
    assert table["hp.family"].tolist() == ["mlp"] * 6 + ["cnn"] * 3
    assert table["hp.size"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert [name for name in table if name.startswith("hp.")] == ["hp.family", "hp.size"]
    base = table["seed"] / 10 + table["hp.size"] / 100 + 0.5 * (table["family"] == "cnn")
    np.testing.assert_allclose(table["metric.clean_error"], base + 0.0005)
    np.testing.assert_allclose(table["metric.practical_error"], base + (0.0005 + 1.001) / 2)
    assert (
        np.isfinite(table[[n for n in table if n.startswith("measure.")]]).to_numpy()[:, :-1].all()
    )


def test_cells_of_another_population_are_refused(population):
    cells = cells_of(population)
    with pytest.raises(errors.InvalidInputError, match="nothing of mlp with 310 parameters"):
        recorded.measured_table(population, cells.sel(family=["cnn"]))
    with pytest.raises(errors.InvalidInputError, match="nothing of mlp with 310 parameters"):
        recorded.measured_table(population, cells.assign_coords(parameters=cells.parameters + 1))
