import gzip
import pathlib
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits

from genjax.data import Examples, StreamedExamples, load, sources
from genjax.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2] * 4)
NAMES = ("ant", "bee", "cow")


def same(a, b):
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)


def idx_bytes(values):
    magic = 0x0800 + values.ndim
    header = b"".join(int(n).to_bytes(4, "big") for n in (magic, *values.shape))
    return header + values.astype(np.uint8).tobytes()


def write_idx(folder, part, images, labels, zipped):
    for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(values)
        name = f"{part}-{kind}-ubyte" + (".gz" if zipped else "")
        (folder / name).write_bytes(gzip.compress(content) if zipped else content)


def write_folder(root, pixels, labels, names=NAMES):
    for position, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(folder / f"{position:03d}.png")


class TestLoad:
    def test_digits_are_scikit_learns(self):
        data = load("digits")
        assert isinstance(data, Examples)
        np.testing.assert_array_equal(data.images[..., 0] * 16, load_digits().images)
        assert data.is_test is None
        assert data.class_names == tuple("0123456789")

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("digit", "did you mean 'digits'"),
            ("digits:x", "takes nothing"),
            ("npz:", "needs a name or a path"),
            ("idx:/nowhere", "is not a folder"),
            ("folder:/nowhere", "is not a folder"),
            ("npz:/nowhere.npz", "no such file"),
            ("tfds:mnisst", "did you mean 'e?mnist'"),
            ("tfds:mnist:9.9.9", "9.9.9"),
        ],
    )
    def test_unknown_sources(self, spec, message, tmp_path):
        with pytest.raises(DataError, match=message):
            load(spec, data_dir=tmp_path)

    def test_only_files_and_records_stream(self):
        with pytest.raises(DataError, match="stream"):
            load("digits", stream=True)


class TestNpz:
    def test_round_trip(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS, class_names=np.array(NAMES))
        data = load(f"npz:{tmp_path}/a.npz")
        same(data, Examples(PIXELS, LABELS, NAMES, "mine"))
        assert data.class_names == NAMES
        assert data.is_test is None

    def test_second_file_is_the_test_part(self, tmp_path):
        for name in ("a", "b"):
            np.savez(tmp_path / f"{name}.npz", images=PIXELS, labels=LABELS)
        data = load(f"npz:{tmp_path}/a.npz,{tmp_path}/b.npz")
        assert data.is_test is not None
        assert data.is_test.tolist() == [False] * 12 + [True] * 12
        assert data.class_names == ("0", "1", "2")

    def test_parts_must_be_alike(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=PIXELS, labels=LABELS)
        np.savez(tmp_path / "b.npz", images=PIXELS[:, :4], labels=LABELS)
        with pytest.raises(DataError, match="both must be alike"):
            load(f"npz:{tmp_path}/a.npz,{tmp_path}/b.npz")

    def test_pickled_code_is_never_run(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, images=PIXELS, labels=np.array([{"a": 1}] * 12, dtype=object))
        with pytest.raises(DataError, match="pickled code"):
            load(f"npz:{path}")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"images": PIXELS}, "lacks labels; found images"),
            ({"images": PIXELS, "labels": LABELS[:3]}, "one label per image"),
            ({"images": PIXELS, "labels": LABELS, "class_names": LABELS}, "class_names"),
            ({"images": PIXELS, "labels": LABELS * 2}, "class 1"),
        ],
    )
    def test_refusals(self, tmp_path, arrays, message):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=message):
            load(f"npz:{tmp_path}/a.npz")

    def test_damage_is_noticed(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, images=PIXELS, labels=LABELS)
        content = path.read_bytes()
        (tmp_path / "short.npz").write_bytes(content[: len(content) // 2])
        flipped = bytearray(content)
        flipped[400] ^= 0xFF
        (tmp_path / "flipped.npz").write_bytes(flipped)
        np.save(tmp_path / "bare.npy", PIXELS)
        for name in ("short.npz", "flipped.npz", "bare.npy"):
            with pytest.raises(DataError, match="npz"):
                load(f"npz:{tmp_path}/{name}")


class TestIdx:
    @pytest.mark.parametrize("zipped", [True, False])
    def test_round_trip(self, tmp_path, zipped):
        write_idx(tmp_path, "train", PIXELS[:9, ..., 0], LABELS[:9], zipped)
        write_idx(tmp_path, "t10k", PIXELS[9:, ..., 0], LABELS[9:], zipped)
        data = load(f"idx:{tmp_path}")
        same(data, Examples(PIXELS[..., 0], LABELS, NAMES, "mine"))
        assert data.is_test is not None
        np.testing.assert_array_equal(data.is_test, np.arange(12) >= 9)

    def test_one_pair_is_enough(self, tmp_path):
        write_idx(tmp_path, "train", PIXELS[..., 0], LABELS, True)
        assert load(f"idx:{tmp_path}").is_test is None

    def test_refusals(self, tmp_path):
        with pytest.raises(DataError, match="neither train"):
            load(f"idx:{tmp_path}")
        write_idx(tmp_path, "train", PIXELS[..., 0], LABELS[:4], False)
        with pytest.raises(DataError, match=r"has 12 images, .* 4 labels"):
            load(f"idx:{tmp_path}")
        images = tmp_path / "train-images-idx3-ubyte"
        content = images.read_bytes()
        images.write_bytes(content[:-7])
        with pytest.raises(DataError, match="holds 353 values; its header says 360"):
            load(f"idx:{tmp_path}")
        images.write_bytes(content[:9])
        with pytest.raises(DataError, match="holds 0 values"):
            load(f"idx:{tmp_path}")
        images.write_bytes(b"\0\0\x08\x01" + content[4:])
        with pytest.raises(DataError, match=r"begins with 0x00000801; expected .* 0x00000803"):
            load(f"idx:{tmp_path}")
        images.write_bytes(gzip.compress(content)[:-20])
        with pytest.raises(DataError, match="cannot be read"):
            load(f"idx:{tmp_path}")
        images.unlink()
        with pytest.raises(DataError, match="lacks the file train-images"):
            load(f"idx:{tmp_path}")


class TestFolder:
    def test_streamed_and_in_memory_are_the_same(self, tmp_path):
        write_folder(tmp_path, PIXELS, LABELS)
        memory = load(f"folder:{tmp_path}")
        stream = load(f"folder:{tmp_path}", stream=True)
        assert isinstance(memory, Examples)
        assert isinstance(stream, StreamedExamples)
        order = np.argsort(LABELS, kind="stable")
        same(memory, Examples(PIXELS[order], LABELS[order], NAMES, "mine"))
        assert memory.class_names == stream.class_names == NAMES
        assert memory.fingerprint == stream.fingerprint
        same(memory, stream.take(np.arange(12)))

    def test_large_sets_stream_by_themselves(self, tmp_path, monkeypatch):
        write_folder(tmp_path, PIXELS, LABELS)
        monkeypatch.setattr("genjax.data.folder.STREAM_ABOVE", 4 * PIXELS.size - 1)
        assert isinstance(load(f"folder:{tmp_path}"), StreamedExamples)
        monkeypatch.setattr("genjax.data.folder.STREAM_ABOVE", 4 * PIXELS.size)
        assert isinstance(load(f"folder:{tmp_path}"), Examples)

    def test_grey_files_have_one_channel(self, tmp_path):
        write_folder(tmp_path, PIXELS[..., :1], LABELS)
        assert load(f"folder:{tmp_path}").image_shape == (6, 5, 1)

    def test_numbered_folders_are_in_the_order_of_their_numbers(self, tmp_path):
        names = [str(i) for i in range(12)]
        write_folder(tmp_path, PIXELS, np.arange(12), names)
        data = load(f"folder:{tmp_path}")
        assert data.class_names == tuple(names)
        same(data, Examples(PIXELS, np.arange(12), tuple(names), "mine"))

    def test_train_and_test_folders(self, tmp_path):
        write_folder(tmp_path / "train", PIXELS[:9], LABELS[:9])
        write_folder(tmp_path / "test", PIXELS[9:], LABELS[9:])
        data = load(f"folder:{tmp_path}")
        assert data.is_test is not None
        assert data.is_test.tolist() == [False] * 9 + [True] * 3
        (tmp_path / "test" / "dog").mkdir()
        with pytest.raises(DataError, match="class 'dog' is not in both"):
            load(f"folder:{tmp_path}")

    def test_refusals(self, tmp_path):
        with pytest.raises(DataError, match="has no subfolder"):
            load(f"folder:{tmp_path}")
        write_folder(tmp_path, PIXELS, LABELS)
        (tmp_path / "dog").mkdir()
        with pytest.raises(DataError, match="dog' has no image file"):
            load(f"folder:{tmp_path}")
        odd = tmp_path / "dog" / "odd.png"
        Image.fromarray(PIXELS[0, :4]).save(odd)
        with pytest.raises(DataError, match=r"odd.png' is 5x4 pixels, the first image 5x6; all"):
            load(f"folder:{tmp_path}")
        Image.fromarray(PIXELS[0, ..., 0].astype(np.uint16) * 256).save(odd)
        with pytest.raises(DataError, match="pixel mode I;16"):
            load(f"folder:{tmp_path}")
        odd.write_bytes(b"no image")
        with pytest.raises(DataError, match="cannot be read as an image"):
            load(f"folder:{tmp_path}")
        cut = (tmp_path / "ant" / "000.png").read_bytes()[:-60]
        odd.write_bytes(cut)
        with pytest.raises(DataError, match="is damaged"):
            load(f"folder:{tmp_path}")


class TestTfds:
    def test_preparing_without_tensorflow_names_the_extra(self, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(DataError, match=r"genjax-benchmark\[tfds\]"):
            load("tfds:cifar10", data_dir=tmp_path)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("ag_news_subset", "needed are an 'image' and a class 'label'"),
            ("caltech101", "needed is one size for all"),
        ],
    )
    def test_sets_without_equal_images_and_labels_are_refused(self, tmp_path, name, message):
        builder = tfds.builder(name, data_dir=tmp_path)
        with pytest.raises(DataError, match=message):
            sources._check_features(builder)

    @pytest.mark.data
    def test_prepared_records_equal_the_idx_files(self, data_dir):
        ours = load("tfds:mnist", data_dir=data_dir / "tfds")
        assert isinstance(ours, Examples)
        assert ours.is_test is not None
        assert ours.is_test.all()
        assert len(ours) == 10_000

        # The builder shuffles the records: compare them as sets. It reads files of the same names
        # for MNIST and Fashion-MNIST; the records at hand were prepared from the latter.
        def rows(data):
            pairs = zip(data.images, data.labels, strict=True)
            return sorted(bytes([label]) + image.tobytes() for image, label in pairs)

        official = []
        for name in ("fashion_mnist", "mnist"):
            both = load(f"idx:{data_dir}/{name}")
            official.append(rows(both.take(both.is_test)))
        assert rows(ours) in official
        stream = load("tfds:mnist:3.0.1", data_dir=data_dir / "tfds", stream=True)
        assert isinstance(stream, StreamedExamples)
        same(stream.take([7, 9_999, 3]), ours.take([7, 9_999, 3]))


@pytest.mark.data
class TestRealFiles:
    @pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
    def test_idx(self, data_dir, name):
        data = load(f"idx:{data_dir}/{name}")
        assert data.is_test is not None
        assert data.is_test.sum() == 10_000
        assert data.image_shape == (28, 28, 1)
        first, first_test = data.labels[:5].tolist(), data.labels[60_000:60_005].tolist()
        expected = {
            "mnist": ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4]),
            "fashion_mnist": ([9, 0, 0, 3, 0], [9, 2, 1, 1, 6]),
        }
        assert (first, first_test) == expected[name]

    def test_cifar10(self, data_dir):
        folder = data_dir / "cifar10"
        data = load(f"npz:{folder}/train_5k.npz,{folder}/test.npz")
        assert data.is_test is not None
        assert isinstance(data, Examples)
        means = data.images[data.is_test].mean((0, 1, 2), dtype=np.float64)
        np.testing.assert_allclose(means, [0.4942, 0.4851, 0.4504], atol=5e-5)
        assert data.class_names[3] == "cat"

    def test_calligraphy(self, data_dir):
        data = load(f"npz:{data_dir}/calligraphy/unseen.npz")
        assert data.image_shape == (64, 64, 1)
        assert np.bincount(data.labels).tolist() == [500] * 5

    def test_omniglot_alphabet(self, data_dir, tmp_path):
        with zipfile.ZipFile(data_dir / "omniglot" / "images_background_small1.zip") as archive:
            wanted = [n for n in archive.namelist() if "/Balinese/" in n]
            archive.extractall(tmp_path, wanted)
        folder = pathlib.Path(tmp_path) / "images_background_small1" / "Balinese"
        data = load(f"folder:{folder}")
        assert isinstance(data, Examples)
        assert data.image_shape == (105, 105, 1)
        assert set(np.bincount(data.labels)) == {20}
        assert set(np.unique(data.images)) == {0.0, 1.0}
