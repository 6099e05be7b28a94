"""Parts of the data that short experiments share."""

from types import SimpleNamespace

import numpy as np

from experiments import study
from genjax import data


def test_limited_parts_are_taken_from_their_parts():
    asked = {"source": "digits", "folder": "", "fractions": (0.5, 0.2, 0.3)}

    def parts(train, test):
        found = SimpleNamespace(**asked, train_examples=train, test_examples=test)
        return study.load(SimpleNamespace(data=found, seed=0))

    def rows(examples):
        return {image.tobytes() for image in examples.images}

    whole, few = parts(0, 0), parts(100, 50)
    assert [len(part.labels) for part in few] == [100, len(whole.validation.labels), 50]
    assert rows(few.train) <= rows(whole.train)
    assert rows(few.test) <= rows(whole.test)
    assert not rows(few.train) & rows(few.test)
    assert sum(len(part.labels) for part in whole) == len(data.load("digits"))
    assert np.bincount(few.train.labels).min() >= 9
