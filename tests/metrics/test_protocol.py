import dataclasses
import itertools

import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.protocol import CLEAN, NEAREST_MEAN, NEAREST_NEIGHBOUR, PAPER, ladder

BUDGET = {
    "learning_rate",
    "weight_decay",
    "l2",
    "batch_size",
    "epochs",
    "patience",
    "stop_error",
    "standardise",
    "keep",
}


def differences(a, b):
    fields = {field.name for field in dataclasses.fields(a)} - {"name", "description"}
    return {field for field in fields if getattr(a, field) != getattr(b, field)}


def test_the_paper_preset_holds_the_constants_of_the_script():
    assert (PAPER.head, PAPER.shots, PAPER.label_space) == ("linear_probe", None, "growing")
    assert (PAPER.learning_rate, PAPER.weight_decay, PAPER.batch_size) == (1e-4, 0.01, 32)
    assert (PAPER.epochs, PAPER.patience, PAPER.stop_error) == (10, 5, 0.005)
    assert (PAPER.early_stopping, PAPER.novel_augmentation) == ("test", True)
    assert (PAPER.novel_order, PAPER.preset) == ("listed", "paper")


def test_no_clean_protocol_reads_the_test_split_or_augments_it():
    for protocol in (CLEAN, NEAREST_MEAN, NEAREST_NEIGHBOUR):
        assert protocol.early_stopping != "test"
        assert not protocol.novel_augmentation
        assert (protocol.novel_order, protocol.preset) == ("per_seed", "clean")


def test_every_rung_of_the_ladder_changes_one_choice():
    rungs = ladder()
    assert rungs[0] == PAPER
    assert rungs[-1] == CLEAN
    assert len({rung.name for rung in rungs}) == len(rungs)
    for before, after in itertools.pairwise(rungs):
        changed = differences(before, after)
        assert changed
        assert len(changed) == 1 or changed <= BUDGET
        assert after.description


def test_the_ladder_follows_the_protocols_it_is_given():
    scaled = dataclasses.replace(PAPER, learning_rate=1e-2)
    fixed = dataclasses.replace(
        scaled, name="fixed", early_stopping="validation", label_space="fixed"
    )
    names = [rung.name for rung in ladder(scaled, fixed)]
    assert names == ["paper", "stopping", "fixed"]
    assert "'fixed' instead of 'growing'" in ladder(scaled, fixed)[-1].description


def test_a_ladder_needs_two_probes_that_differ():
    with pytest.raises(InvalidInputError, match="do not"):
        ladder(PAPER, NEAREST_MEAN)
    with pytest.raises(InvalidInputError, match="same choices"):
        ladder(CLEAN, CLEAN)


def test_protocols_are_static_options():
    same = dataclasses.replace(CLEAN, description="other words")
    assert hash(same) == hash(CLEAN)
    assert same == CLEAN
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLEAN.epochs = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "linear_prob"}, "did you mean 'linear_probe'"),
        ({"early_stopping": "tset"}, "did you mean 'test'"),
        ({"label_space": "open"}, "label_space: unknown name 'open'"),
        ({"epochs": 0}, "epochs: 0"),
        ({"patience": -1}, "patience: -1"),
        ({"learning_rate": float("nan")}, "learning_rate: nan"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1"),
        ({"l2": float("inf")}, "l2: inf"),
        ({"shots": 5}, "shots: 5"),
        ({"head": "nearest_class_mean"}, "does not train"),
        ({"head": "nearest_neighbour", "early_stopping": "none", "shots": 0}, "shots: 0"),
    ],
)
def test_what_a_protocol_refuses(change, message):
    with pytest.raises(InvalidInputError, match=message):
        dataclasses.replace(CLEAN, **change)
