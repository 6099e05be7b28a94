"""How stacks are laid over devices, and how their programs are compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.training import execution


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_programs_that_compile_fast_compute_the_same(batch):
    form = execution.choose()._replace(batch=batch)
    xs = np.linspace(0.1, 2, 4 * len(jax.devices()), dtype=np.float32)

    def function(scale, x):
        return jnp.tanh(scale * x) + jnp.sum(jnp.sin(x + jnp.arange(5.0)))

    plain, fast = (
        execution.spread(function, form, shared=1, compile_fast=fast)(0.7, xs)
        for fast in (False, True)
    )
    np.testing.assert_allclose(fast, plain, rtol=1e-6)
    np.testing.assert_allclose(plain, [function(0.7, x) for x in xs], rtol=1e-6)


def test_an_unknown_compiler_option_is_left_out(monkeypatch):
    def refuse(*_, **__):
        def call(_):
            raise jax.errors.JaxRuntimeError("No such compile option")

        return call

    execution.fast_compilation.cache_clear()
    monkeypatch.setattr(execution.jax, "jit", refuse)
    assert execution.fast_compilation("cpu") is None
    execution.fast_compilation.cache_clear()


def test_filled_repeats_the_last_network_and_cut_removes_it():
    form = execution.choose()
    count = 2 * len(jax.devices()) - 1
    stacked = {"a": np.arange(count), "b": np.ones((count, 2))}
    filled = execution.filled(stacked, count, form)
    assert filled["a"].shape[0] == execution.padded(count, form)
    assert int(np.asarray(filled["a"])[-1]) == count - 1
    np.testing.assert_array_equal(execution.cut(filled, count)["a"], stacked["a"])
