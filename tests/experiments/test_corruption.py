"""Corruption errors from the command line, on a tiny network."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from resnet8 import digits, weights
from safetensors.numpy import save_file

from genjax import data, models
from genjax.data import shifts, splits
from genjax.metrics.shift_errors import shift_errors

LEVELS, SHIFTS = [1.0, 0.8, 0.05], ["contrast", "jpeg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, digits sorted by class as CIFAR-10's file is, and published tables."""
    path = tmp_path_factory.mktemp("corruption")
    save_file(weights(), path / "small.safetensors")
    arrays = digits(200)
    order = np.argsort(arrays["labels"], kind="stable")
    np.savez(path / "digits.npz", **{name: array[order] for name, array in arrays.items()})
    columns = pd.MultiIndex.from_product([["fog", "snow"], [1, 2]])
    table = pd.DataFrame([[0.9, 0.8, 0.7, 0.6]], ["A"], columns)
    table.to_csv(path / "cifar10_c_unaggregated.csv")
    (path / "model_info.csv").write_text(
        "dataset,threat,model,clean_acc,corruptions_acc\ncifar10,corruptions,A,95,75\n"
    )
    return path


@pytest.fixture(scope="module")
def arguments(folder):
    return [
        f"--weights={folder / 'small.safetensors'}",
        f"--data=npz:{folder / 'digits.npz'}",
        "--model=resnet_cifar:depth=8",
        "--examples=60",
        f"--levels={','.join(map(str, LEVELS))}",
        f"--shifts={','.join(SHIFTS)}",
        f"--published={folder}",
    ]


@pytest.fixture(scope="module")
def measured(run, folder, arguments):
    """One run: (output folder, stdout, stderr)."""
    output = folder / "results"
    code, out, err = run("corruption", *arguments, f"--output={output}")
    assert code == 0, err
    return output, out, err


def test_the_numbers_are_those_of_the_library(measured, folder):
    output, _, _ = measured
    whole = data.load(f"npz:{folder / 'digits.npz'}")
    (chosen,) = splits.nested_subsets(whole, [60], seed=0)
    examples = whole.take(chosen)
    assert set(np.bincount(examples.labels)) <= {5, 6, 7}
    assert isinstance(examples, data.Examples)
    loaded = models.load_weights(folder / "small.safetensors", "resnet_cifar")
    expected = [
        shift_errors(
            loaded.network,
            loaded.params,
            examples,
            [shifts.create(name)],
            levels,
            jax.random.key(0),
        )
        for name, levels in (("contrast", LEVELS), ("jpeg", LEVELS[:2]))
    ]
    found = pd.read_csv(output / "shift_errors.csv")
    expected = pd.concat(expected, ignore_index=True)
    exact = ["shift", "ssim", "examples"]
    pd.testing.assert_frame_equal(found[exact], expected[exact])
    # Programs compiled in two processes round differently: a tie may fall to the other side.
    rest = [name for name in found if name not in exact]
    np.testing.assert_allclose(found[rest], expected[rest], rtol=1e-3, atol=0.03)
    assert found["wrong"].nunique() > 1, "a constant error would prove little"


def test_what_came_out_is_said(measured):
    output, out, err = measured
    assert "- Left out: jpeg at SSIM 0.05 (shift 'jpeg' cannot reach" in out
    assert "recomputed for 1 network of CIFAR-10-C, is the published accuracy within" in out
    assert f"page       {output / 'report.html'}" in out
    assert "jpeg: 6/6 levels" in err
    assert "\x1b" not in out + err
    text = (output / "report.html").read_text()
    assert "resnet_cifar(depth=8) under shifts of npz:" in text
    assert json.loads((output / "run.json").read_text())["status"] == "complete"


BAD_INPUT = {
    "an unknown shift": (["--shifts=contrast,jpg"], "unknown name 'jpg'; did you mean 'jpeg'?"),
    "a shift that must be trained": (["--shifts=autoencoder"], "the option 'images' is missing"),
    "levels that are none": (["--levels=1,x"], "levels: found '1,x'; allowed are numbers above 0"),
    "a level above one": (["--levels=1.5"], "levels: found '1.5'"),
    "fewer examples than classes": (["--examples=3"], "every part needs every class"),
    "no published tables": (["--published=/nowhere"], "'/nowhere/cifar10_c_unaggregated.csv'"),
    "no weights": (["--weights=/nowhere.safetensors"], "'/nowhere.safetensors' cannot be read"),
}


def interrupted(source, target, run=None):
    """A copy of a folder as a kill after the first shift leaves it, that shift always wrong."""
    shutil.copytree(source, target)
    card = json.loads((target / "run.json").read_text())
    (target / "run.json").write_text(json.dumps({**card, "status": "partial"}))
    (target / "report.html").unlink()
    (target / "shifts" / "jpeg.nc").unlink()
    first = target / "shifts" / "contrast.nc"
    saved = xr.load_dataset(first, engine="h5netcdf")
    saved["wrong"][:] = 1
    saved.assign_attrs(run=run or saved.attrs["run"]).to_netcdf(first, engine="h5netcdf")
    return target


@pytest.fixture(scope="module")
def further(run, measured, folder, arguments):
    """Runs after the first one: case -> (exit code, stdout, stderr)."""
    output, _, _ = measured
    killed = interrupted(output, folder / "killed")
    stale = interrupted(output, folder / "stale", run="another")
    cases = {
        case: [*changed, f"--output={folder / 'refused'}"]
        for case, (changed, _) in BAD_INPUT.items()
    }
    cases["again"] = [f"--output={output}"]
    cases["another seed"] = [f"--output={output}", "--seed=1"]
    cases["killed"] = [f"--output={killed}"]
    cases["stale"] = [f"--output={stale}"]
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    found = {case: run("corruption", *arguments, *changed) for case, changed in cases.items()}
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    return found


def test_the_same_command_does_nothing_and_another_one_is_refused(measured, further):
    code, out, _ = further["again"]
    assert code == 0
    assert out.startswith(f"complete: {measured[0]} holds this very run")
    code, _, err = further["another seed"]
    assert code == 2
    assert "another configuration: seed was 0 and is now 1" in err


def test_a_killed_run_goes_on_with_the_next_shift(measured, further, folder):
    whole = pd.read_csv(measured[0] / "shift_errors.csv")
    code, _, err = further["killed"]
    assert code == 0, err
    found = pd.read_csv(folder / "killed" / "shift_errors.csv")
    first = found["shift"] == "contrast"
    assert (found.loc[first, "error"] == 1).all(), "read, not measured again"
    pd.testing.assert_frame_equal(found[~first], whole[~first])
    # What another run left under the same name is not taken for this one's.
    code, _, err = further["stale"]
    assert code == 0, err
    pd.testing.assert_frame_equal(pd.read_csv(folder / "stale" / "shift_errors.csv"), whole)


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(further, folder, case):
    code, out, err = further[case]
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert BAD_INPUT[case][1] in err
    assert not (folder / "refused").exists()
