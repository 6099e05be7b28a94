"""A battery over every registered measure."""

import jax
import numpy as np
import pytest

from genjax import data
from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import registry
from genjax.metrics.complexity.contract import NEEDS

# The whole catalogue at once: its cost is one program per family of networks.
NAMES = tuple(complexity.catalogue())
FAST = [name for name, one in complexity.catalogue().items() if one.fast]
FAMILIES = ("mlp", "cnn", "resnet", "vit")


class Found(dict):
    """What was measured by family, when a test first asks for it."""

    def __init__(self, groups, measure_data):
        super().__init__()
        self.groups, self.data = groups, measure_data

    def __missing__(self, family):
        key = jax.random.key(1)
        self[family] = complexity.measure_group(self.groups[family], self.data, FAST, key=key)
        return self[family]


@pytest.fixture(scope="module")
def found(groups, measure_data):
    return Found(groups, measure_data)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", FAST)
def test_a_measure_is_finite_or_refuses_by_name(found, family, name):
    values = found[family].values[name]
    said = {i for r in found[family].refused if r.measure == name for i in r.networks}
    assert values.shape == (4,)
    assert set(np.flatnonzero(~np.isfinite(values)).tolist()) == said


def test_names_families_and_requirements_are_known():
    for measure in complexity.catalogue().values():
        assert measure.family in registry.FAMILIES
        assert measure.formula
        assert measure.source
        assert set(registry.requirements(measure)) <= set(NEEDS)
        assert measure.passes >= 0


@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_say_whether_they_are_vacuous(found, family):
    for name in [n for n in FAST if complexity.catalogue()[n].conditions]:
        if name in found[family].info:
            assert "vacuous" in found[family].info[name], name


def test_the_fast_subset_is_cheap():
    assert registry.passes(registry.select(["fast"])) <= 30


@pytest.mark.parametrize("family", FAMILIES)
def test_order_of_examples_and_neighbours_do_not_matter(found, groups, digits, family):
    train, validation = digits
    shuffled = train.take(np.random.default_rng(0).permutation(len(train.labels)))
    other = validation.take(np.random.default_rng(1).permutation(len(validation.labels)))
    mixed = complexity.measure_data(shuffled, other, other)
    again = complexity.measure_group(groups[family], mixed, FAST, key=jax.random.key(1))
    for name in FAST:
        np.testing.assert_array_equal(again.values[name], found[family].values[name], name)


def test_a_second_call_compiles_nothing(found, groups, measure_data, caplog):
    assert found["mlp"].values
    with jax.log_compiles(True), caplog.at_level("WARNING"):
        complexity.measure_group(groups["mlp"], measure_data, FAST, key=jax.random.key(1))
    assert not [r for r in caplog.records if "ompiling" in r.getMessage() and "one" in r.message]


def test_one_bad_network_spoils_no_other(groups, measure_data, found):
    group = groups["mlp"]
    params = jax.tree.map(np.array, group.params)
    jax.tree.leaves(params)[0][2] = np.nan
    bad = complexity.measure_group(
        group._replace(params=params), measure_data, FAST, key=jax.random.key(1)
    )
    for name in FAST:
        if complexity.catalogue()[name].scope == "group":
            continue
        values = found["mlp"].values[name]
        np.testing.assert_array_equal(np.delete(bad.values[name], 2), np.delete(values, 2), name)
        assert np.isnan(bad.values[name][2])


def test_unknown_names_and_foreign_images_are_refused(groups, measure_data):
    with pytest.raises(InvalidInputError, match="parametres"):
        complexity.measure_group(groups["mlp"], measure_data, ["parametres"], key=jax.random.key(0))
    small = data.load("digits").images[:5, :4]
    with pytest.raises(InvalidInputError, match="unlabeled: found images"):
        complexity.measure_group(
            groups["mlp"], measure_data._replace(unlabeled=small), key=jax.random.key(0)
        )
