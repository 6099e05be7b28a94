"""Strict settings for every test: explicit rank promotion, two CPU devices, no compilation
cache."""

import gc
import os

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pathlib

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

_MAPPED = pathlib.Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Drop compiled programs when there are many: Linux allows a process 65,530 mappings, each
    program takes dozens, and a compiler that gets no more crashes."""
    yield
    if _MAPPED.exists() and _MAPPED.read_bytes().count(b"\n") > 8000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def getkey():
    """A function that returns a fresh PRNG key at each call, the same ones in every run."""
    state = {"key": jax.random.key(20250319)}

    def fresh():
        state["key"], key = jax.random.split(state["key"])
        return key

    return fresh


@pytest.fixture
def data_dir() -> pathlib.Path:
    """The folder of real data sets, or a skip where there is none."""
    folder = os.environ.get("GENJAX_DATA_DIR")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("GENJAX_DATA_DIR is not set: the real data sets are not at hand")
    return pathlib.Path(folder)
