"""Capacity against the values of the PGDL competition and against counts by hand."""

import math

import jax
import numpy as np
import pandas as pd
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity.capacity import vc_bound

TASK_1 = "published/pgdl/task1.csv"


def vgg_kernel_sizes(blocks, dense_layers, width):
    """Kernel sizes of PGDL task 1: two 3x3 convolutions per block, width doubling up to `width`."""
    channels, sizes = 3, []
    for block in range(blocks):
        wide = width >> (blocks - 1 - block)
        sizes += [9 * channels * wide, 9 * wide * wide]
        channels = wide
    features = (32 >> blocks) ** 2 * channels
    for _ in range(dense_layers):
        sizes.append(features * 128)
        features = 128
    return [*sizes, features * 10]


@pytest.mark.data
def test_vc_bound_is_that_of_pgdl_for_its_architectures(data_dir):
    rows = pd.read_csv(data_dir / TASK_1)
    for row in rows.to_dict("records"):
        sizes = vgg_kernel_sizes(
            row["hp.num_conv_blocks"], row["hp.num_dense_layers"], row["hp.convwidth"]
        )
        np.testing.assert_allclose(vc_bound(sizes, 1024), row["measure.vc_dim"], rtol=1e-13)
    assert len(rows) == 96


@pytest.mark.data
def test_vc_bound_inverts_to_whole_numbers_of_weights(data_dir):
    published = pd.read_csv(data_dir / TASK_1)["measure.vc_dim"].to_numpy()
    weights = {}
    for depth in (4, 5, 8, 9):
        count = (published - depth) / (2 * depth * math.log(22 * depth * 1024))
        whole = np.abs(count - np.round(count)) < 1e-6
        weights[depth] = sorted(set(np.round(count[whole]).astype(int).tolist()))
    assert weights == {
        4: [8986624, 19151616],
        5: [9003008, 19168000],
        8: [1670080, 5624448],
        9: [1686464, 5640832],
    }


def test_counts_of_an_mlp_are_those_by_hand(groups, measure_data):
    found = complexity.measure_group(
        groups["mlp"], measure_data, ["capacity"], key=jax.random.key(0)
    )
    kernels = [64 * 16, 16 * 16, 16 * 10]
    assert found.values["parameters"].tolist() == [sum(kernels) + 16 + 16 + 10] * 4
    expected = 3 + 6 * math.log(22 * 3 * 64) * sum(kernels)
    np.testing.assert_allclose(found.values["vc_dimension"], expected, rtol=1e-6)


def test_counts_of_a_cnn_leave_biases_out(groups, measure_data):
    group = groups["cnn"]
    found = complexity.measure_group(group, measure_data, ["vc_dimension"], key=jax.random.key(0))
    kernels = [v.size // 4 for v in jax.tree.leaves(group.params) if v.ndim > 2]
    expected = len(kernels) + 2 * len(kernels) * math.log(22 * len(kernels) * 64) * sum(kernels)
    np.testing.assert_allclose(found.values["vc_dimension"], expected, rtol=1e-6)


@pytest.mark.parametrize(("sizes", "pixels"), [([], 4), ([3, 0], 4), ([3], 0)])
def test_nothing_to_count_is_refused(sizes, pixels):
    with pytest.raises(InvalidInputError, match="vc_bound"):
        vc_bound(sizes, pixels)
