"""Checkpoints: exact resume after an interruption and a real kill, corrupt and foreign files."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest
from PIL import Image

from genjax import data, errors
from genjax.training import checkpoint, sweep

KEY = jax.random.key(5)


def leaves(population):
    return [np.asarray(v) for v in jax.tree.leaves(population.groups[0].params)]


class InterruptedByTestError(Exception):
    pass


def interrupt_after(records):
    calls = []

    def progress(*arguments):
        calls.append(arguments)
        if len(calls) > records:
            raise InterruptedByTestError

    return progress


def test_resume_gives_the_numbers_of_an_uninterrupted_run(tmp_path, few_digits, small_sweep):
    config = small_sweep(max_steps=50, hyper={"dropout_rate": (0.2,)})
    whole = sweep(config, few_digits, KEY)
    options = {"checkpoints": tmp_path, "checkpoint_seconds": 0.0}
    with pytest.raises(InterruptedByTestError):
        sweep(config, few_digits, KEY, on_progress=interrupt_after(3), **options)
    assert checkpoint.latest(tmp_path / "group_000").name == "step_000000020"
    resumed = sweep(config, few_digits, KEY, **options)
    for a, b in zip(leaves(whole), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.groups[0].history.loss, resumed.groups[0].history.loss)
    seen = []
    again = sweep(config, few_digits, KEY, on_progress=lambda *a: seen.append(a), **options)
    assert len(seen) == 1  # nothing is trained twice
    np.testing.assert_array_equal(leaves(again)[0], leaves(whole)[0])


KILLED = """
    import os, signal, sys
    os.environ["JAX_NUM_CPU_DEVICES"] = "2"
    import jax
    from genjax import data
    from genjax.training import ModelConfig, SweepConfig, TrainingConfig, sweep

    rules = TrainingConfig(max_steps=40, record_every=10, batch_size=32, stop="steps")
    config = SweepConfig([ModelConfig("mlp", {"widths": (8,)})], [rules], {}, 2)

    def progress(done, total, text):
        if len(sys.argv) > 2 and done >= 60:
            os.kill(os.getpid(), signal.SIGKILL)

    population = sweep(config, data.load("digits"), jax.random.key(0), checkpoints=sys.argv[1],
                       checkpoint_seconds=0.0, on_progress=progress)
    print(float(abs(population.groups[0].params["output"]["kernel"]).sum()).hex())
"""


def test_resume_after_a_real_kill(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(KILLED))

    def run(folder, *extra):
        command = [sys.executable, str(program), str(folder), *extra]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    killed = run(tmp_path / "a", "kill")
    assert killed.returncode == -signal.SIGKILL
    # The kill came at step 30, before that checkpoint: the one of step 20 is whole.
    assert [p.name for p in (tmp_path / "a/group_000").glob("step_*0")] == ["step_000000020"]
    resumed, whole = run(tmp_path / "a"), run(tmp_path / "b")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout


def test_foreign_checkpoint_is_refused_before_training(tmp_path, few_digits, small_sweep):
    sweep(small_sweep(), few_digits, KEY, checkpoints=tmp_path)
    for config, examples in (
        (small_sweep(batch_size=16), few_digits),
        (small_sweep(), few_digits.take(np.arange(150))),
    ):
        with pytest.raises(errors.CheckpointError, match="another configuration or data set"):
            sweep(config, examples, KEY, checkpoints=tmp_path)


def test_corrupt_checkpoint_is_named(tmp_path, few_digits, small_sweep):
    config = small_sweep()
    sweep(config, few_digits, KEY, checkpoints=tmp_path)
    path = checkpoint.latest(tmp_path / "group_000")
    for file in path.rglob("*"):
        if file.is_file():
            file.write_bytes(b"not a checkpoint")
    with pytest.raises(errors.CheckpointError, match="corrupt or not a checkpoint"):
        sweep(config, few_digits, KEY, checkpoints=tmp_path)


def test_unwritable_folder_is_named(tmp_path, few_digits, small_sweep):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(errors.OutputError, match="cannot be written"):
        sweep(small_sweep(), few_digits, KEY, checkpoints=blocked / "inside")


def folder_of_images(folder: pathlib.Path, examples):
    for i, (image, label) in enumerate(zip(examples.images, examples.labels, strict=True)):
        target = folder / str(label) / f"{i:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(image[:, :, 0] * 255)).save(target)


def test_streamed_training_resumes_exactly(tmp_path, few_digits, small_sweep):
    folder_of_images(tmp_path / "images", few_digits.take(np.arange(90)))
    streamed = data.load(f"folder:{tmp_path / 'images'}", stream=True)
    assert isinstance(streamed, data.StreamedExamples)
    config = small_sweep(max_steps=10, record_every=3, batch_size=20)
    whole = sweep(config, streamed, KEY)
    options = {"checkpoints": tmp_path / "ck", "checkpoint_seconds": 0.0}
    with pytest.raises(InterruptedByTestError):
        sweep(config, streamed, KEY, on_progress=interrupt_after(2), **options)
    resumed = sweep(config, streamed, KEY, **options)
    for a, b in zip(leaves(whole), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.all(np.diff(whole.groups[0].history.loss[:, 0]) < 0.5)


def test_checkpoints_follow_the_clock(tmp_path, few_digits, small_sweep):
    started = time.monotonic()
    sweep(small_sweep(), few_digits, KEY, checkpoints=tmp_path, checkpoint_seconds=3600.0)
    assert time.monotonic() - started < 3600
    assert [p.name for p in (tmp_path / "group_000").iterdir()] == ["step_000000030"]
    assert os.listdir(tmp_path) == ["group_000"]


def test_threads_may_save_at_once(tmp_path):
    """Models are trained side by side: their checkpoints must not meet."""

    def save(place):
        for step in (1, 2, 3):
            tree = {"w": np.full(3, 10.0 * place + step)}
            checkpoint.save(tmp_path / f"group_{place}", step, tree, "one")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(4)))
    for place in range(4):
        found = checkpoint.latest(tmp_path / f"group_{place}")
        step, tree = checkpoint.restore(found, {"w": np.zeros(3)}, "one")
        assert step == 3
        np.testing.assert_array_equal(tree["w"], 10.0 * place + 3)
