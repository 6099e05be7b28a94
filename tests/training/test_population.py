"""Networks that were trained elsewhere: what is not known of them is missing, not made up."""

import jax
import numpy as np
import pandas as pd
import pytest

from genjax import data, errors, models, training
from genjax.metrics import recorded
from genjax.training import Population, population, segment

STORED = {"w": np.arange(48, dtype=np.float32).reshape(16, 3), "b": np.ones(3, np.float32)}


def foreign(name="mine", unfolded=None):
    def apply(params, images):
        return images.reshape(len(images), -1) @ params["w"] + params["b"][None]

    made = models.from_function(apply, STORED, name=name, image_shape=(4, 4, 1), num_classes=3)
    return made._replace(unfolded=unfolded)


@pytest.fixture(scope="module")
def elsewhere():
    return population.trained_elsewhere([foreign("a"), foreign("b")])


@pytest.fixture(scope="module")
def here():
    rules = training.TrainingConfig(max_steps=2, record_every=1)
    config = training.SweepConfig([training.ModelConfig("mlp", {"widths": (4,)})], [rules], {}, 2)
    return training.sweep(config, data.load("digits"), jax.random.key(0))


def test_one_group_per_network_with_its_own_parameters(elsewhere):
    assert [group.network.name for group in elsewhere.groups] == ["a", "b"]
    for group in elsewhere.groups:
        for name, leaf in group.network_params(0).items():
            np.testing.assert_array_equal(leaf, STORED[name])
        assert group.training is group.hyper is group.init_params is None
        assert np.isnan(group.last("loss")).all()
        assert group.status.tolist() == [population.ELSEWHERE]
    assert elsewhere.alive() == 2
    assert population.ELSEWHERE not in range(len(segment.STATUS_NAMES))


def test_parameters_are_counted_before_folding():
    whole = population.trained_elsewhere(
        [foreign(unfolded=({"w": np.ones(7), "scale": np.ones(2)}, {"mean": np.ones(9)}))]
    )
    assert whole.groups[0].cost.parameters == 9
    assert np.isnan(whole.groups[0].cost.flops)


def test_the_table_has_no_columns_of_what_is_not_known(elsewhere, here):
    table = elsewhere.table()
    assert set(table) == {
        *("network", "group", "family", "model", "seed", "metric.parameters", "metric.status"),
        *(name for name in table if name.startswith("hp.")),
    }
    assert not {"hp.learning_rate", "hp.optimizer"} & set(table)
    assert table["metric.status"].tolist() == ["trained elsewhere"] * 2
    assert table["metric.parameters"].tolist() == [51, 51]
    assert not table.isna().any().any()
    mixed = Population((*here.groups, *elsewhere.groups), {}).table()
    assert list(mixed)[: len(list(here.table()))] == list(here.table())
    assert mixed["metric.train_loss"].isna().tolist() == [False, False, True, True]
    assert mixed["hp.learning_rate"].isna().tolist() == [False, False, True, True]
    pd.testing.assert_frame_equal(
        mixed.iloc[:2][list(here.table())], here.table(), check_dtype=False
    )


def test_measures_are_those_of_the_parameters(elsewhere, here):
    found = recorded.recorded_measures(elsewhere.groups[0])
    assert {name: values.tolist() for name, values in found.items()} == {
        "parameters": [51.0],
        "parameter_norm": [float((STORED["w"].astype(np.float64) ** 2).sum())],
    }
    assert "distance_from_init" in recorded.recorded_measures(here.groups[0])


def test_no_network_is_no_population():
    with pytest.raises(errors.InvalidInputError, match="networks: found none"):
        population.trained_elsewhere([])
