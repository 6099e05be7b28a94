import numpy as np
import pytest

from genjax.data import Examples, StreamedExamples
from genjax.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2] * 4)
NAMES = ("ant", "bee", "cow")


def same(a, b):
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)


class TestExamples:
    def test_bytes_become_shares_of_255(self):
        data = Examples(PIXELS, LABELS, NAMES, "mine")
        assert data.images.dtype == np.float32
        assert data.labels.dtype == np.int32
        np.testing.assert_array_equal(data.images, PIXELS.astype(np.float32) / 255)
        assert (len(data), data.num_classes, data.image_shape) == (12, 3, (6, 5, 3))

    def test_grey_images_get_a_channel(self):
        data = Examples(PIXELS[..., 0] / 255.0, LABELS, NAMES, "mine")
        assert data.images.shape == (12, 6, 5, 1)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (PIXELS[0, :, :, 0], LABELS, "found 2 dimensions"),
            (PIXELS[:0], LABELS[:0], "empty shape"),
            (PIXELS.astype(np.int32), LABELS, "found dtype int32"),
            (PIXELS.astype(np.float64), LABELS, r"floats from 0 to 255; allowed are \[0, 1\]"),
            (-(PIXELS / 255.0), LABELS, "floats from -1"),
            (np.where(PIXELS > 3, PIXELS / 255.0, np.nan), LABELS, "not finite"),
            (PIXELS, LABELS[:5], "found 5 of them for 12 images"),
            (PIXELS, LABELS * 1.0, "found dtype float64"),
            (PIXELS, LABELS[:, None], r"shape \(12, 1\)"),
            (PIXELS, LABELS - 1, "found -1 at position 0; allowed are 0 to 2"),
            (PIXELS, LABELS + 1, "found 3 at position 2; allowed are 0 to 2"),
            (PIXELS, LABELS % 2, r"class 2 \('cow'\) has no example"),
        ],
    )
    def test_refusals(self, images, labels, message):
        with pytest.raises(DataError, match=message):
            Examples(images, labels, NAMES, "mine")

    def test_is_test_must_be_a_mask(self):
        with pytest.raises(DataError, match="is_test"):
            Examples(PIXELS, LABELS, NAMES, "mine", LABELS)

    def test_fingerprint_sees_pixels_labels_and_names(self):
        data = Examples(PIXELS, LABELS, NAMES, "mine")
        assert len(data.fingerprint) == 16
        assert data.fingerprint == Examples(PIXELS, LABELS, NAMES, "other name").fingerprint
        changed = PIXELS.copy()
        changed[0, 0, 0, 0] ^= 1
        others = [
            Examples(changed, LABELS, NAMES, "mine"),
            Examples(PIXELS, LABELS[::-1].copy(), NAMES, "mine"),
            Examples(PIXELS, LABELS, ("ant", "bee", "dog"), "mine"),
            Examples(PIXELS.reshape(12, 5, 6, 3), LABELS, NAMES, "mine"),
        ]
        assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 5

    def test_take_keeps_order_classes_and_test_marks(self):
        is_test = LABELS == 1
        data = Examples(PIXELS, LABELS, NAMES, "mine", is_test)
        part = data.take([4, 0, 4])
        np.testing.assert_array_equal(part.images, data.images[[4, 0, 4]])
        assert part.labels.tolist() == [1, 0, 1]
        assert part.is_test is not None
        assert part.is_test.tolist() == [True, False, True]
        assert part.num_classes == 3
        same(data.take(is_test), data.take(np.flatnonzero(is_test)))

    @pytest.mark.parametrize("indices", [[], [12], [-1], [0.5], [[1]]])
    def test_take_refuses(self, indices):
        with pytest.raises(DataError, match="indices"):
            Examples(PIXELS, LABELS, NAMES, "mine").take(indices)


class TestBatches:
    @pytest.fixture(params=["memory", "stream"])
    def data(self, request):
        if request.param == "memory":
            return Examples(PIXELS, LABELS, NAMES, "mine")
        return StreamedExamples(PIXELS.__getitem__, LABELS, NAMES, "mine", (6, 5, 3))

    def test_stored_order(self, data):
        batches = list(data.batches(5))
        assert [len(batch.labels) for batch in batches] == [5, 5, 2]
        np.testing.assert_array_equal(np.concatenate([b.labels for b in batches]), LABELS)
        images = np.concatenate([b.images for b in batches])
        np.testing.assert_array_equal(images, PIXELS.astype(np.float32) / 255)

    def test_every_epoch_holds_every_example_once_in_a_new_order(self, data):
        batches = list(data.batches(4, seed=1, epochs=2))
        assert len(batches) == 6
        epochs = [np.concatenate([b.images for b in batches[i : i + 3]]) for i in (0, 3)]
        for images in epochs:
            found = np.sort(images.reshape(12, -1)[:, 0])
            np.testing.assert_array_equal(found, np.sort(PIXELS[:, 0, 0, 0].astype("f4") / 255))
        assert not np.array_equal(*epochs)

    def test_remainder_is_dropped_when_asked(self, data):
        batches = list(data.batches(5, seed=0, epochs=3, drop_remainder=True))
        assert [len(batch.labels) for batch in batches] == [5] * 6

    def test_batch_size_must_fit(self, data):
        with pytest.raises(DataError, match="batch_size"):
            data.batches(0)
        with pytest.raises(DataError, match="batch_size"):
            data.batches(13, drop_remainder=True)

    def test_streamed_examples_are_those_in_memory(self):
        memory = Examples(PIXELS, LABELS, NAMES, "mine", LABELS == 2)
        stream = StreamedExamples(PIXELS.__getitem__, LABELS, NAMES, "mine", (6, 5, 3), LABELS == 2)
        pairs = zip(
            memory.batches(5, seed=3, epochs=2), stream.batches(5, seed=3, epochs=2), strict=True
        )
        for ours, theirs in pairs:
            same(ours, theirs)
        assert memory.fingerprint == stream.fingerprint
        same(memory.take([3, 1]), stream.take([3, 1]))
        assert len(stream) == 12
        assert stream.num_classes == 3
