"""Sets of tensorflow-datasets as its builders would leave them, read by the real reading path."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.core import example_serializer

from genjax.data import Examples, StreamedExamples, load, sources
from genjax.data.cifar_variants import CIFAR10_CLASSES, CIFAR100_CLASSES
from genjax.errors import DataError

RNG = np.random.default_rng(0)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return io.BytesIO(file.getvalue())


def prepare(name, folder, splits, names=None):
    """Write ArrayRecord files and metadata where the builder called `name` would.

    Args:
        name: with its configuration, if any.
        folder: as given to `load`.
        splits: split -> list of shards, each a list of examples.
        names: feature -> names of its classes, which some builders read from what they download.
    """
    builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    for feature, values in (names or {}).items():
        builder.info.features[feature].names = list(values)
    pathlib.Path(builder.data_path).mkdir(parents=True)
    serializer = example_serializer.ExampleSerializer(builder.info.features.get_serialized_info())
    infos = []
    for split, shards in splits.items():
        info = tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard) for shard in shards],
            num_bytes=0,
            filename_template=builder._get_filename_template(split),
        )
        for path, shard in zip(info.filepaths, shards, strict=True):
            writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
            for example in shard:
                encoded = builder.info.features.encode_example(example)
                writer.write(serializer.serialize_example(encoded))
            writer.close()
        infos.append(info)
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    builder.info.write_to_directory(builder.data_path)


def made(count, shape=(32, 32, 3), num_classes=10, **further):
    """Random images, one label of each class in turn from a random first one, and records."""
    pixels = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = (np.arange(count) + RNG.integers(num_classes)) % num_classes
    records = [
        {"image": png(image), "label": int(label), **further}
        for image, label in zip(pixels, labels, strict=True)
    ]
    return pixels, labels, records


def check(data, pixels, labels, num_test):
    assert isinstance(data, Examples)
    np.testing.assert_array_equal(data.images, np.concatenate(pixels) / np.float32(255))
    np.testing.assert_array_equal(data.labels, np.concatenate(labels))
    assert data.is_test is not None
    assert data.is_test.tolist() == [False] * (len(data) - num_test) + [True] * num_test


class TestPreparedSets:
    @pytest.mark.parametrize(
        ("name", "shape", "further"),
        [
            ("mnist", (28, 28, 1), {}),
            ("fashion_mnist", (28, 28, 1), {}),
            ("kmnist", (28, 28, 1), {}),
            ("cifar10", (32, 32, 3), {"id": "train_00001"}),
            ("svhn_cropped", (32, 32, 3), {"id": "1"}),
        ],
    )
    def test_train_and_test(self, tmp_path, name, shape, further):
        first, first_labels, first_records = made(24, shape, **further)
        last, last_labels, last_records = made(11, shape, **further)
        shards = [first_records[:10], first_records[10:]]
        splits = {"train": shards, "test": [last_records]}
        if name == "svhn_cropped":
            splits["extra"] = [made(5, shape, **further)[2]]  # Not one of the two: left out.
        prepare(name, tmp_path, splits)
        data = load(f"tfds:{name}", data_dir=tmp_path)
        check(data, [first, last], [first_labels, last_labels], num_test=11)
        stream = load(f"tfds:{name}", data_dir=tmp_path, stream=True)
        assert isinstance(stream, StreamedExamples)
        assert stream.fingerprint == data.fingerprint

    def test_names_of_classes_that_the_builder_downloads(self, tmp_path):
        _, _, records = made(10, id="a")
        prepare("cifar10", tmp_path, {"test": [records]}, {"label": CIFAR10_CLASSES})
        assert load("tfds:cifar10", data_dir=tmp_path).class_names == CIFAR10_CLASSES

    def test_fine_labels_are_read_beside_coarse_ones(self, tmp_path):
        train, train_labels, records = made(100, num_classes=100, id="a", coarse_label=19)
        test, test_labels, test_records = made(101, num_classes=100, id="b", coarse_label=3)
        coarse = [f"coarse{i}" for i in range(20)]
        splits = {"train": [records], "test": [test_records]}
        prepare("cifar100", tmp_path, splits, {"label": CIFAR100_CLASSES, "coarse_label": coarse})
        data = load("tfds:cifar100", data_dir=tmp_path)
        check(data, [train, test], [train_labels, test_labels], num_test=101)
        assert data.class_names == CIFAR100_CLASSES

    @pytest.mark.parametrize("name", ["cifar10_corrupted/fog_3", "cifar10_1/v6"])
    def test_configuration_with_a_test_split_only(self, tmp_path, name):
        test, labels, records = made(20)
        prepare(name, tmp_path, {"test": [records]})
        data = load(f"tfds:{name}", data_dir=tmp_path)
        check(data, [test], [labels], num_test=20)
        assert data.name == f"tfds:{name}"
        assert data.class_names == CIFAR10_CLASSES
        version = tfds.builder(name, data_dir=tmp_path).info.version
        versioned = load(f"tfds:{name}:{version}", data_dir=tmp_path)
        assert versioned.fingerprint == data.fingerprint

    def test_configurations_are_kept_apart(self, tmp_path):
        labels, pixels = {}, {}
        for name in ("fog_1", "fog_2"):
            pixels[name], labels[name], records = made(10)
            prepare(f"cifar10_corrupted/{name}", tmp_path, {"test": [records]})
        for name in ("fog_1", "fog_2"):
            data = load(f"tfds:cifar10_corrupted/{name}", data_dir=tmp_path)
            check(data, [pixels[name]], [labels[name]], num_test=10)


class TestRefusals:
    def test_unknown_configuration(self, tmp_path):
        with pytest.raises(DataError, match=r"'fogg_3'; did you mean 'fog_3' \(95 are known\)"):
            load("tfds:cifar10_corrupted/fogg_3", data_dir=tmp_path)

    def test_another_configuration_is_prepared(self, tmp_path, monkeypatch):
        prepare("cifar10_corrupted/fog_3", tmp_path, {"test": [made(10)[2]]})
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(DataError, match="'cifar10_corrupted/fog_4' is not prepared"):
            load("tfds:cifar10_corrupted/fog_4", data_dir=tmp_path)

    def test_images_of_several_sizes(self, tmp_path):
        builder = sources._builder("imagenet_v2/matched-frequency", str(tmp_path))
        with pytest.raises(DataError, match=r"'imagenet_v2' have the shape \(None, None, 3\)"):
            sources._check_features(builder)
