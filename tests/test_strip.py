"""The strip of evidence: it takes any model and changes nothing of it, and it shows what it got."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from helpers import strip
from helpers.logbook import Logbook, read

X, Y = torch.rand(32, 16, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 4


class ByHand:
    """A network without modules."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.weights = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((16, 8), (8, 4))]

    def parameters(self):
        return self.weights

    def __call__(self, x):
        return relu(x @ self.weights[0]) @ self.weights[1]


def module():
    torch.manual_seed(0)
    layers = nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 4)
    return nn.Sequential(*layers)


def train(model, log=None, steps=6, x=X):
    torch.manual_seed(1)
    for _ in range(steps):
        loss = cross_entropy(model(x), Y)
        loss.backward()
        if log:
            strip.record(log, model, x)
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
                p.grad = None
        if log:
            log.step(len(x), loss=loss)


@pytest.mark.parametrize("make", [ByHand, module])
def test_a_recorded_training_is_bit_for_bit_the_same(make, tmp_path):
    free, recorded = make(), make()
    train(free)
    with Logbook(tmp_path) as log:
        train(recorded, log)
    assert all(map(torch.equal, free.parameters(), recorded.parameters()))
    if isinstance(free, nn.Module):
        assert all(map(torch.equal, free.buffers(), recorded.buffers()))


def linear():
    return nn.Sequential(nn.Linear(16, 4))


@pytest.mark.parametrize(("make", "hidden"), [(ByHand, ["layer_1"]), (module, ["layer_1"]), (linear, [])])
def test_layers_and_gradients_of_any_model_are_recorded_and_drawn(make, hidden, tmp_path):
    with Logbook(tmp_path, every={0, 3}) as log:
        train(model := make(), log)
    run = read(tmp_path)
    layers = [tag.partition("_")[2] for tag in run if tag.startswith("activation/")]
    assert layers == [*hidden, "outputs"]
    assert run["loss/train"].steps.tolist() == [0, 3]
    weights = [p for p in model.parameters() if p.ndim > 1]
    assert len([tag for tag in run if tag.startswith("gradient_norm/")]) == len(weights)
    assert run["inputs"].values[0].shape == (12, 12, 3)  # nine tiles of 4 x 4
    figure = strip.draw({"one": run, "two": run})
    assert len(figure.axes) == 2 * len(strip.TITLES)


def test_a_function_is_recorded_with_its_parameters(tmp_path):
    model = ByHand()
    with Logbook(tmp_path) as log:
        loss = cross_entropy(model(X), Y)
        loss.backward()
        strip.record(log, lambda x: model(x), X, parameters=model.weights)
        log.step(len(X), loss=loss)
    assert {"gradient_norm/01_W1", "gradient_norm/02_W2", "activation/01_layer_1"} <= set(read(tmp_path))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_zero_gradients_and_numbers_that_are_not_finite_are_drawn(tmp_path):
    dead, exploding = ByHand(), ByHand()
    dead.weights[0].data = -dead.weights[0].data.abs()
    exploding.weights[0].data *= 1e30
    runs = {}
    for name, model in {"dead": dead, "exploding": exploding}.items():
        with Logbook(tmp_path / name) as log:
            train(model, log)
        runs[name] = read(tmp_path / name)
    figure = strip.draw(runs)
    figure.canvas.draw()
    assert any("exactly 0" in text.get_text() for ax in figure.axes for text in ax.texts)
    assert all(np.isfinite(ax.get_ylim()).all() for ax in figure.axes)
