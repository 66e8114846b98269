"""Counted quantiles and histograms are those of the numbers themselves, to the width of a cell."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor import measure
from helpers import quantities
from helpers.quantities import Distribution

numbers = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=200)


@settings(deadline=None)
@given(numbers)
def test_quantiles_lie_within_a_cell_of_the_neighboring_entries(values):
    entries = np.array(values, np.float32)
    found = Distribution(torch.from_numpy(entries)).quantiles()
    low, high = (np.quantile(entries, quantities.LEVELS, method=m).astype(float) for m in ("lower", "higher"))
    assert (found >= low - np.abs(low) / 127 - 1e-40).all() and (found <= high + np.abs(high) / 127 + 1e-40).all()


@pytest.mark.parametrize("scale", [1e-3, 1, 1e5])
def test_quantiles_of_many_numbers_are_right_to_one_part_in_128(scale):
    tensor = scale * torch.randn(200, 500, generator=torch.Generator().manual_seed(0))
    expected = np.quantile(tensor.numpy(), quantities.LEVELS)
    assert Distribution(tensor).quantiles() == pytest.approx(expected, rel=1 / 128, abs=1e-3 * scale)


def test_quantiles_of_very_many_numbers_are_right_to_five_standard_errors():
    tensor = torch.randn(256, 3072, generator=torch.Generator().manual_seed(0))
    expected = np.quantile(tensor.numpy(), quantities.LEVELS)
    assert Distribution(tensor).quantiles() == pytest.approx(expected, abs=5 * 0.015 + 1 / 128)
    tensor[100, 1] = np.nan  # one that is not counted
    assert not Distribution(tensor).finite


def test_shares_are_those_of_a_histogram_and_zeros_are_a_number_of_their_own():
    tensor = torch.randn(300, 100, generator=torch.Generator().manual_seed(1)).relu()
    edges = np.linspace(-0.6, 4, 19)  # none at 0
    expected = np.histogram(tensor.numpy(), edges)[0] / tensor.numel()
    assert Distribution(tensor).shares(edges) == pytest.approx(expected, abs=3e-4)
    assert Distribution(tensor).quantiles((0.1, 0.3)).tolist() == [0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_quantiles_and_the_rest_a_histogram(value):
    tensor = torch.tensor([1.0, value, 3.0, 3.0])
    distribution = Distribution(tensor)
    assert not distribution.finite and np.isnan(distribution.quantiles()).all()
    assert distribution.shares(np.array([0, 2, 4])) == pytest.approx([1 / 3, 2 / 3])


def test_an_empty_tensor_has_no_distribution():
    distribution = Distribution(torch.zeros(0, 3))
    assert np.isnan(distribution.quantiles()).all() and not distribution.shares(np.array([0, 1])).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_kinds_of_numbers_count_as_well(dtype):
    assert Distribution(torch.arange(12).view(3, 4).to(dtype)).quantiles((0.0, 1.0)) == pytest.approx([0, 11], rel=0.01)


def test_summary_has_what_the_modules_measure():
    random = torch.Generator().manual_seed(0)
    weights = {"fc": [torch.randn(4, 3, generator=random) for _ in range(3)]}
    net_values = {"relu": [torch.randn(8, 4, generator=random) for _ in range(2)]}
    activations = {"relu": [values.relu() for values in net_values["relu"]]}
    activations["relu"][1][:, 0] = 0
    summary = quantities.summarize(weights, net_values, activations, [2, 1], [3, 2], {"norm": [(1, 2), (3, 4)]})
    assert summary.losses.tolist() == [[2, 1], [3, 2]] and summary.shapes == {"fc": (4, 3)}
    assert summary.update_ratio[0, 1] == pytest.approx(measure.update_ratio(*weights["fc"][1:]).item())
    assert summary.net_rms[0, 0] == pytest.approx(net_values["relu"][0].square().mean().sqrt().item())
    assert summary.dead[0, 1] >= 0.25
    series = summary.series()
    assert {name: array.shape for name, array in series.items()} == {
        "losses": (2, 2),
        "weights": (1, 3, 5),
        "net_values": (1, 2, 5),
        "outputs": (1, 2, 5),
        "net_rms": (1, 2),
        "output_rms": (1, 2),
        "dead": (1, 2),
        "update_ratio": (1, 2),
        "norm_input": (1, 2),
        "norm_output": (1, 2),
    }
    assert series["norm_input"].tolist() == [[1, 3]] and series["norm_output"].tolist() == [[2, 4]]
