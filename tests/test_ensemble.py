"""The ensemble against one network at a time, written plainly with autograd."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from helpers import ensemble


@pytest.fixture
def blobs():
    """A small problem in float64: 600 training and 200 validation vectors of 12 numbers, ten classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (800,), generator=generator)
    centres = torch.randn(10, 12, generator=generator, dtype=torch.float64)
    vectors = centres[labels] + 0.7 * torch.randn(800, 12, generator=generator, dtype=torch.float64)
    return vectors[:600], labels[:600], vectors[600:], labels[600:]


def train_plainly(config, seed, blobs):
    """Train one network with autograd; return its validation loss."""
    x, y, val_x, val_y = blobs
    (config,) = ensemble.complete([config])
    sizes = [x.shape[1], *config["hidden"], 10]
    drawn = ensemble.Ensemble(sizes, config["activation"], [config["init"]], [seed], like=x)
    weights = [w[0].clone().requires_grad_() for w in drawn.weights]
    biases = [b[0].clone().requires_grad_() for b in drawn.biases]

    def logits(a):
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            if i > 0:
                a = drawn.function(a)
            a = a @ w + b
        return a

    order = torch.Generator().manual_seed(seed)
    velocities = [torch.zeros_like(p) for p in weights + biases]
    epochs = [torch.randperm(len(x), generator=order) for _ in range(config["epochs"])]
    steps = [batch for epoch in epochs for batch in epoch.split(config["batch_size"])]
    for step, batch in enumerate(steps):
        lr = config["lr"] * (1 - step / len(steps)) if config["falling_rate"] else config["lr"]
        gradients = torch.autograd.grad(cross_entropy(logits(x[batch]), y[batch]), weights + biases)
        with torch.no_grad():
            for i, (p, v, g) in enumerate(zip(weights + biases, velocities, gradients, strict=True)):
                pull = config["weight_decay"] * p if i < len(weights) else 0
                v.mul_(config["momentum"]).sub_(lr * (g + pull))
                p.add_(v)
    return cross_entropy(logits(val_x), val_y).item()


@pytest.mark.parametrize("activation", ensemble.ACTIVATIONS)
@pytest.mark.parametrize("shared", [{}, {"momentum": 0.9, "falling_rate": True}, {"hidden": ()}, {"hidden": (9, 8, 7)}])
def test_each_network_is_trained_as_if_alone(activation, shared, blobs):
    shared = {"activation": activation, "hidden": (11,), "batch_size": 50, "epochs": 2} | shared
    configs = [
        shared | own
        for own in (
            {"lr": 0.05},
            {"lr": 0.01, "weight_decay": 0.1, "init": "xavier"},
            {"lr": 0.02, "init": 0.3},
        )
    ]
    together = ensemble.train(configs, 5, blobs)
    alone = [train_plainly(config, 5, blobs) for config in configs]
    assert [result["val_loss"] for result in together] == pytest.approx(alone, rel=1e-9)


def test_order_and_initial_weights_have_seeds_of_their_own(blobs):
    first, same, other = ensemble.train([{"init_seed": 1}, {"init_seed": 1}, {"init_seed": 2}], 0, blobs)
    (other_order,) = ensemble.train([{"init_seed": 1}], 1, blobs)
    assert first == same
    assert first["val_loss"] != other["val_loss"]
    assert first["val_loss"] != other_order["val_loss"]


def test_a_network_that_diverges_does_not_touch_the_others(blobs):
    diverged, fine = ensemble.train([{"lr": 1e9}, {"lr": 0.05}], 0, blobs)
    (alone,) = ensemble.train([{"lr": 0.05}], 0, blobs)
    assert not diverged["val_loss"] < 100
    assert fine["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-9)


def test_curves_have_an_entry_for_each_epoch_and_end_in_the_figures(blobs):
    (result,) = ensemble.train([{"epochs": 4}], 0, blobs)
    for name in ("train_loss", "val_loss", "val_accuracy"):
        assert len(result[f"{name}_curve"]) == 4
        assert result[f"{name}_curve"][-1] == result[name]


def test_bounds_give_the_variances_of_the_papers():
    assert ensemble.init_bound("he", 784, 100) ** 2 / 3 == pytest.approx(2 / 784)
    assert ensemble.init_bound("xavier", 784, 100) ** 2 / 3 == pytest.approx(2 / 884)
    assert ensemble.init_bound(0.05, 784, 100) == 0.05


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([{"learning_rate": 1}], "no such setting: learning_rate"),
        ([{"hidden": (3,)}, {"hidden": (4,)}], "must agree in 'hidden'"),
        ([{"init": "orthogonal"}], 'init must be "he", "xavier" or a number'),
        ([{"activation": "swish"}], "activation must be one of identity"),
    ],
)
def test_settings_that_do_not_exist_are_named(configs, message, blobs):
    with pytest.raises(ValueError, match=message):
        ensemble.train(configs, 0, blobs)


@pytest.mark.parametrize("activation", ensemble.ACTIVATIONS)
def test_slopes_are_those_of_autograd_also_at_the_kink(activation):
    function, slope = ensemble.ACTIVATIONS[activation]
    z = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    a = function(z)
    assert torch.allclose(slope(a.detach()), torch.autograd.grad(a.sum(), z)[0])
