import numpy as np
import pytest

from genjax.data import Examples, StreamedExamples, load
from genjax.data.cifar_variants import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    corruption_set,
)
from genjax.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
LABELS = np.tile(np.arange(10), 2)
WHOLE = (50_000, 32, 32, 3)


def write_pair(folder, images, labels, stem="cifar10.1_v6"):
    np.save(folder / f"{stem}_data.npy", images)
    np.save(folder / f"{stem}_labels.npy", labels)
    return f"npy:{folder}/{stem}_data.npy,{folder}/{stem}_labels.npy"


def write_corruption(folder, corruption="fog", classes=10):
    """The published layout; only the first and the last image of each severity are not black."""
    pixels = np.lib.format.open_memmap(
        folder / f"{corruption}.npy", mode="w+", dtype=np.uint8, shape=WHOLE
    )
    for severity in range(1, 6):
        pixels[10_000 * (severity - 1)] = 10 * severity
        pixels[10_000 * severity - 1] = 10 * severity + 1
    labels = np.tile(RNG.permutation(np.arange(10_000) % classes), 5)
    np.save(folder / "labels.npy", labels)
    return labels[:10_000]


class TestNpy:
    def test_cifar10_1(self, tmp_path):
        data = load(write_pair(tmp_path, PIXELS, LABELS.astype(np.int32)))
        assert isinstance(data, Examples)
        np.testing.assert_array_equal(data.images, PIXELS / np.float32(255))
        np.testing.assert_array_equal(data.labels, LABELS)
        assert data.class_names == CIFAR10_CLASSES
        assert data.is_test is not None
        assert data.is_test.all()

    def test_other_files_have_numbered_classes(self, tmp_path):
        data = load(write_pair(tmp_path, PIXELS[..., 0], LABELS % 3, "mine"))
        assert data.class_names == ("0", "1", "2")
        assert data.image_shape == (32, 32, 1)
        assert data.is_test is None

    def test_streamed_is_the_same(self, tmp_path, monkeypatch):
        spec = write_pair(tmp_path, PIXELS, LABELS)
        memory, stream = load(spec), load(spec, stream=True)
        assert isinstance(stream, StreamedExamples)
        assert stream.fingerprint == memory.fingerprint
        monkeypatch.setattr("genjax.data.cifar_variants.STREAM_ABOVE", 4 * PIXELS.size - 1)
        assert isinstance(load(spec), StreamedExamples)
        assert isinstance(load(spec, stream=False), Examples)
        monkeypatch.setattr("genjax.data.cifar_variants.STREAM_ABOVE", 4 * PIXELS.size)
        assert isinstance(load(spec), Examples)

    def test_images_in_memory_do_not_change_with_the_file(self, tmp_path):
        images = PIXELS.astype(np.float32) / 255
        spec = write_pair(tmp_path, images, LABELS)
        data = load(spec)
        assert isinstance(data, Examples)
        changed = np.load(tmp_path / "cifar10.1_v6_data.npy", mmap_mode="r+")
        changed[:] = 0
        changed.flush()
        np.testing.assert_array_equal(data.images, images)

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (PIXELS, LABELS[:19], r"labels.npy' has shape \(19,\); .* each of the 20 images"),
            (PIXELS, LABELS[:, None], r"shape \(20, 1\)"),
            (PIXELS, LABELS.astype(float), "found dtype float64"),
            (PIXELS, LABELS + 1, "allowed are 0 to 9"),
            (PIXELS, np.minimum(LABELS, 8), "class 9 .'truck'. has no example"),
            (PIXELS[0, 0], LABELS, r"shape \(32, 3\)"),
            (PIXELS[:0], LABELS[:0], r"shape \(0, 32, 32, 3\)"),
            (PIXELS.astype(np.int64), LABELS, "found dtype int64"),
            (PIXELS.astype(float), LABELS, "found floats from 0 to 255"),
            (PIXELS, np.array([{}] * 20, object), "labels.npy' holds Python objects"),
            (np.array([PIXELS] * 20, object), LABELS, "data.npy' holds Python objects"),
        ],
    )
    def test_refusals(self, tmp_path, images, labels, message):
        with pytest.raises(DataError, match=message):
            load(write_pair(tmp_path, images, labels))

    def test_damage_is_noticed(self, tmp_path):
        spec = write_pair(tmp_path, PIXELS, LABELS)
        path = tmp_path / "cifar10.1_v6_data.npy"
        content = path.read_bytes()
        np.savez(tmp_path / "a.npz", images=PIXELS)
        archive = (tmp_path / "a.npz").read_bytes()
        pickled = b"\x80\x04cos\nsystem\n."
        for broken in (content[:-1], content[:60], content[:4], b"", archive, pickled):
            path.write_bytes(broken)
            with pytest.raises(
                DataError, match=r"not a \.npy file, or is cut short|cannot be read"
            ):
                load(spec)
        path.unlink()
        with pytest.raises(DataError, match="no such file"):
            load(spec)

    def test_two_files_are_needed(self, tmp_path):
        for rest, count in (("a.npy", 1), ("a.npy,b.npy,c.npy", 3)):
            with pytest.raises(DataError, match=f"found {count} files; needed are two"):
                load(f"npy:{rest}")


class TestCorruptionSet:
    @pytest.mark.parametrize("severity", [1, 3, 5])
    def test_one_severity(self, tmp_path, severity):
        labels = write_corruption(tmp_path)
        data = load(f"cifar_c:{tmp_path}/fog:{severity}")
        assert isinstance(data, Examples)
        expected = np.zeros((10_000, 32, 32, 3), np.uint8)
        expected[0], expected[-1] = 10 * severity, 10 * severity + 1
        np.testing.assert_array_equal(data.images, expected / np.float32(255))
        np.testing.assert_array_equal(data.labels, labels)
        assert data.class_names == CIFAR10_CLASSES
        assert data.is_test is not None
        assert data.is_test.all()
        assert data.name == f"cifar_c:{tmp_path}/fog:{severity}"

    def test_labels_are_those_of_the_severity(self, tmp_path):
        write_corruption(tmp_path)
        labels = np.repeat(np.arange(5), 10_000)[:, None] + np.arange(10)
        labels = (labels[:, 0] + np.tile(np.arange(10_000), 5)) % 10
        np.save(tmp_path / "labels.npy", labels)
        data = corruption_set(tmp_path, "fog", 4, stream=True)
        np.testing.assert_array_equal(data.labels, (np.arange(10_000) + 3) % 10)

    def test_streamed(self, tmp_path):
        labels = write_corruption(tmp_path, "snow", classes=100)
        data = load(f"cifar_c:{tmp_path}/snow:2", stream=True)
        assert isinstance(data, StreamedExamples)
        assert data.class_names == CIFAR100_CLASSES
        np.testing.assert_array_equal(data.labels, labels)
        part = data.take([9_999, 0, 1])
        assert (part.images.max((1, 2, 3)) * 255).round().tolist() == [21, 20, 0]
        assert (part.images.min((1, 2, 3)) * 255).round().tolist() == [21, 20, 0]

    def test_unknown_names_and_severities(self, tmp_path):
        write_corruption(tmp_path)
        with pytest.raises(DataError, match="unknown name 'fogg'; did you mean 'fog'"):
            corruption_set(tmp_path, "fogg", 1)
        for severity in (0, 6, -1):
            with pytest.raises(DataError, match=f"found {severity}; allowed are 1 to 5"):
                corruption_set(tmp_path, "fog", severity)
        for rest in ("fog", "fog:", "fog:two", "fog:1.0"):
            with pytest.raises(DataError, match="needed is FOLDER/CORRUPTION:SEVERITY"):
                load(f"cifar_c:{tmp_path}/{rest}")
        with pytest.raises(DataError, match=r"snow.npy' cannot be read: no such file"):
            load(f"cifar_c:{tmp_path}/snow:1")

    @pytest.mark.parametrize(
        ("file", "values", "message"),
        [
            ("fog", PIXELS, r"uint8 \(20, 32, 32, 3\); needed is uint8 \(50000, 32, 32, 3\)"),
            ("fog", np.zeros((50_000, 2), np.uint8), r"\(50000, 2\)"),
            ("fog", np.array([{}]), "fog.npy' holds Python objects"),
            ("labels", np.zeros(10_000, int), r"int64 \(10000,\); needed are 50000 integers"),
            ("labels", np.zeros(50_000), "labels float64"),
            ("labels", np.array([{}] * 50_000), "labels.npy' holds Python objects"),
            ("labels", np.full(50_000, 100), "allowed are 0 to 99"),
            ("labels", np.full(50_000, -1), "found -1"),
        ],
    )
    def test_refusals(self, tmp_path, file, values, message):
        write_corruption(tmp_path)
        np.save(tmp_path / f"{file}.npy", values)
        with pytest.raises(DataError, match=message):
            corruption_set(tmp_path, "fog", 1)

    def test_floats_of_the_right_shape_are_refused(self, tmp_path):
        write_corruption(tmp_path)
        path = tmp_path / "fog.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=WHOLE)  # A sparse file.
        with pytest.raises(DataError, match="images float32"):
            corruption_set(tmp_path, "fog", 1)


class TestNames:
    def test_corruptions_are_those_of_tensorflow_datasets(self):
        import tensorflow_datasets as tfds

        configs = tfds.builder_cls("cifar10_corrupted").builder_configs
        published = {config.rpartition("_")[0] for config in configs}
        # That builder calls two of them by other names.
        renamed = {"frosted_glass_blur": "glass_blur", "elastic": "elastic_transform"}
        assert {renamed.get(name, name) for name in published} == {
            *CORRUPTIONS,
            *EXTRA_CORRUPTIONS,
        }
        assert (len(set(CORRUPTIONS)), len(EXTRA_CORRUPTIONS)) == (15, 4)

    @pytest.mark.data
    def test_classes_are_those_of_the_real_files(self, data_dir):
        assert load(f"npz:{data_dir}/cifar10/test.npz").class_names == CIFAR10_CLASSES
        assert load(f"npz:{data_dir}/cifar100/test.npz").class_names == CIFAR100_CLASSES
