import numpy as np
import pytest

from genjax.errors import SplitError
from genjax.metrics.heads import class_masks, novel_shares

SEEN, NOVEL, COUNTS = [7, 1, 4], [9, 0, 2, 5], [0, 1, 3, 4]


def test_the_listed_order_enters_class_by_class():
    masks = class_masks(SEEN, NOVEL, COUNTS, num_classes=10)
    assert masks.shape == (1, 4, 10)
    for mask, count in zip(masks[0], COUNTS, strict=True):
        assert set(np.flatnonzero(mask)) == set(SEEN) | set(NOVEL[:count])


def test_each_seed_turns_the_order_and_keeps_it_nested():
    masks = class_masks(SEEN, NOVEL, COUNTS, num_classes=10, order_seeds=range(40))
    assert masks.shape == (40, 4, 10)
    assert masks[:, :, SEEN].all()
    assert not masks[:, :, [3, 6, 8]].any()
    np.testing.assert_array_equal(masks.sum(-1) - len(SEEN), np.tile(COUNTS, (40, 1)))
    assert (masks[:, 1:] >= masks[:, :-1]).all()
    # Balanced: at every share every novel class is in play for equally many seeds.
    for share, count in enumerate(COUNTS):
        assert (masks[:, share][:, NOVEL].sum(axis=0) == 40 * count // len(NOVEL)).all()


def test_a_seed_gives_the_same_order_in_any_population():
    many = class_masks(SEEN, NOVEL, COUNTS, num_classes=10, order_seeds=[5, 11, 3])
    alone = class_masks(SEEN, NOVEL, COUNTS, num_classes=10, order_seeds=[11])
    np.testing.assert_array_equal(many[1], alone[0])


def test_shares_of_the_paper():
    shares = novel_shares(50, [0, 10, 20, 30, 40, 50])
    np.testing.assert_allclose(shares, [0, 1 / 6, 2 / 7, 3 / 8, 4 / 9, 1 / 2], rtol=1e-15)


@pytest.mark.parametrize(
    ("seen", "novel", "counts", "message"),
    [
        (SEEN, NOVEL, [0, 5], "5 novel classes asked for, only 4 exist"),
        (SEEN, NOVEL, [-1], "cannot be negative"),
        (SEEN, NOVEL, [], "counts: empty"),
        ([], NOVEL, [0], "seen: no class"),
        (SEEN, [7], [0], "class 7 is also a seen class"),
        (SEEN, [2, 2], [0], "class 2 is listed more than once"),
        ([10], [2], [0], "class 10 found, allowed are 0 to 9"),
    ],
)
def test_refusals(seen, novel, counts, message):
    with pytest.raises(SplitError, match=message):
        class_masks(seen, novel, counts, num_classes=10)


def test_no_novel_class_at_all():
    masks = class_masks([0, 1], [], [0], num_classes=2, order_seeds=[0, 1])
    assert masks.all()
    assert masks.shape == (2, 1, 2)
