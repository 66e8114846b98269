"""Sound models pass, models broken in one way are found out, and the caller's things stay bit for bit as they were."""

import copy
import functools
import inspect
import math
import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adam, AdamW, RMSprop

from benchmarks.sound_models import focal, nll_of_probabilities, squared_error
from doctor import checks, sandbox
from doctor.checks import Status

CLASSES, SIDE = 5, 8


def blurred_patterns(count, seed):
    """Draw images (N, 1, 8, 8) between 0 and 1, and their classes: five patterns of blotches, dimmed and noisy."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(CLASSES, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
    labels = torch.randint(CLASSES, (count,), generator=generator)
    light = 0.4 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    images = light * F.interpolate(patterns, SIDE)[labels] + 0.2 * torch.rand(count, 1, SIDE, SIDE, generator=generator)
    return images, labels


IMAGES = (*blurred_patterns(400, 1), *blurred_patterns(100, 2))
VECTORS = (IMAGES[0].flatten(1), IMAGES[1], IMAGES[2].flatten(1), IMAGES[3])
X, Y = VECTORS[:2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sandbox, "STEPS", 40)  # these data are easier than those that the number was chosen for


# ---- models


def mlp(*hidden, act=nn.ReLU, norm=None, dropout=0.0):
    layers, sizes = [], (SIDE * SIDE, *hidden)
    for fan_in, fan_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(fan_in, fan_out), *([norm(fan_out)] if norm else []), act(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], CLASSES))


def drawn(model, init):
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init(module.weight)
            nn.init.zeros_(module.bias)
    return model


def he(model):
    return drawn(model, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def xavier(model, gain=1.0):
    return drawn(model, lambda weight: nn.init.xavier_uniform_(weight, gain))


def zero_head(model):
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return model


def sparse(model):
    for layer in model[:-1]:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, -0.3)
    return model


def with_frozen_backbone():
    model = he(mlp(32, 32))
    optimizer = Adam(model.parameters(), 0.01)
    for _ in range(50):
        sandbox.ordinary_step(model, cross_entropy, optimizer, X, Y)
    model[:-1].requires_grad_(False)
    return model


class LeNet(nn.Module):
    """Convolutions with PyTorch's default initialization, and activations that are plain functions."""

    def __init__(self, act):
        super().__init__()
        self.act, self.conv1, self.conv2 = act, nn.Conv2d(1, 6, 3), nn.Conv2d(6, 12, 3)
        self.fc1, self.fc2 = nn.Linear(48, 32), nn.Linear(32, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.act(self.conv2(self.act(self.conv1(x)))), 2).flatten(1)
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x):
        return torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))


def resnet():
    start = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*start, Block(8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))


def cnn():
    convolution = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten()]
    return nn.Sequential(*convolution, nn.Linear(72, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, CLASSES))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(SIDE, 16), nn.Linear(16, CLASSES)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)

    def forward(self, x):
        return self.head(self.block(self.embed(x.squeeze(1))).mean(1))


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.W1, self.b1 = nn.Parameter(torch.randn(64, 32) / 6), nn.Parameter(torch.zeros(32))
        self.W2, self.b2 = nn.Parameter(torch.randn(32, CLASSES) / 6), nn.Parameter(torch.zeros(CLASSES))

    def forward(self, x):
        return (x @ self.W1 + self.b1).clamp(min=0) @ self.W2 + self.b2


def two_rates(model):
    return SGD([{"params": model[0].parameters(), "lr": 0.01}, {"params": model[1:].parameters()}], lr=0.1)


def trainable(model):
    return SGD([p for p in model.parameters() if p.requires_grad], 0.05)


def sgd(lr, **options):
    return lambda model: SGD(model.parameters(), lr, **options)


def adam(model):
    return Adam(model.parameters(), 1e-3)


def standardized(data):
    return tuple((part - X.mean()) / X.std() if part.is_floating_point() else part for part in data)


SOUND = {  # name -> model, loss, optimizer, data
    "ReLU": (lambda: he(mlp(32, 32)), cross_entropy, sgd(0.1), VECTORS),
    "tanh": (lambda: xavier(mlp(32, 32, act=nn.Tanh)), cross_entropy, sgd(0.1, momentum=0.9), VECTORS),
    "deep tanh": (lambda: xavier(mlp(*[24] * 7, act=nn.Tanh), 5 / 3), cross_entropy, sgd(0.02), VECTORS),
    "sigmoid": (lambda: mlp(32, act=nn.Sigmoid), cross_entropy, sgd(0.5), VECTORS),
    "GELU and LayerNorm": (
        lambda: mlp(32, 32, act=nn.GELU, norm=nn.LayerNorm),
        cross_entropy,
        lambda model: AdamW(model.parameters(), 1e-3, weight_decay=0.1),
        VECTORS,
    ),
    "batch normalization after biases": (lambda: mlp(32, 32, norm=nn.BatchNorm1d), cross_entropy, sgd(0.1), VECTORS),
    "convolutions": (cnn, cross_entropy, adam, IMAGES),
    "LeNet, slow": (lambda: LeNet(torch.tanh), cross_entropy, sgd(1e-3), IMAGES),
    "LeNet, Adam": (lambda: LeNet(F.relu), cross_entropy, adam, IMAGES),
    "skip connections, zero at start": (resnet, cross_entropy, sgd(0.1, momentum=0.9), IMAGES),
    "attention": (Attention, cross_entropy, adam, IMAGES),
    "linear": (mlp, cross_entropy, sgd(0.1), VECTORS),
    "linear, zero at start": (lambda: zero_head(mlp()), cross_entropy, sgd(1.0), VECTORS),
    "head zero at start": (lambda: zero_head(mlp(32)), cross_entropy, adam, VECTORS),
    "log_softmax twice": (lambda: nn.Sequential(mlp(32), nn.LogSoftmax(1)), cross_entropy, adam, VECTORS),
    "log_softmax": (lambda: nn.Sequential(mlp(32), nn.LogSoftmax(1)), nn.NLLLoss(), adam, VECTORS),
    "loss of probabilities": (lambda: nn.Sequential(mlp(32), nn.Softmax(1)), nll_of_probabilities, adam, VECTORS),
    "frozen backbone": (with_frozen_backbone, cross_entropy, trainable, VECTORS),
    "sparse": (lambda: sparse(he(mlp(64, 64))), cross_entropy, sgd(0.1), VECTORS),
    "small": (lambda: mlp(6), cross_entropy, sgd(0.3), VECTORS),
    "large steps": (lambda: he(mlp(32)), cross_entropy, sgd(0.1, momentum=0.9, nesterov=True), VECTORS),
    "RMSprop": (lambda: he(mlp(32)), cross_entropy, lambda model: RMSprop(model.parameters(), 1e-3), VECTORS),
    "weight decay": (lambda: he(mlp(32)), cross_entropy, sgd(0.1, weight_decay=0.01), VECTORS),
    "dropout 0.8": (lambda: he(mlp(128, 128, dropout=0.8)), cross_entropy, adam, VECTORS),
    "standardized inputs": (lambda: he(mlp(32, 32)), cross_entropy, sgd(0.05), standardized(VECTORS)),
    "float64": (
        lambda: he(mlp(32)).double(),
        cross_entropy,
        sgd(0.1),
        tuple(part.double() if part.is_floating_point() else part for part in VECTORS),
    ),
    "two rates": (lambda: he(mlp(32, 32)), cross_entropy, two_rates, VECTORS),
    "label smoothing": (lambda: he(mlp(32)), nn.CrossEntropyLoss(label_smoothing=0.2), sgd(0.1), VECTORS),
    "focal loss": (lambda: he(mlp(32)), focal, adam, VECTORS),
    "by hand": (ByHand, cross_entropy, sgd(0.1), VECTORS),
    "squared error": (lambda: he(mlp(32)), squared_error, adam, VECTORS),
    "slow to leave the first guess": (
        lambda: drawn(mlp(*[32] * 7), lambda weight: nn.init.uniform_(weight, -0.1, 0.1)),
        cross_entropy,
        adam,
        (*(part.flatten(1) if part.is_floating_point() else part for part in blurred_patterns(8000, 3)), *VECTORS[2:]),
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models_raise_no_alarm(name):
    torch.manual_seed(0)
    model, loss_fn, optimizer, data = SOUND[name]
    model = model()
    table = checks.run(model, loss_fn, data, optimizer(model), own_step, own_evaluation, l2)
    assert not len(table[table.verdict == "fires"]), table
    reasons = table[table.verdict == "not run"].set_index("check").advice
    without_probabilities = {"initial loss"} if loss_fn == squared_error else set()
    assert set(reasons.index) <= {"saturation", "dead units"} | without_probabilities, reasons.to_dict()


def test_an_optimizer_that_wants_a_closure_raises_no_alarm():
    torch.manual_seed(0)
    model = he(mlp(32))
    table = checks.run(model, cross_entropy, VECTORS, LBFGS(model.parameters(), 0.1, max_iter=5))
    assert not len(table[table.verdict == "fires"]), table
    assert not table.advice.str.contains("It stopped").any(), table


def own_step(model, loss_fn, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def own_evaluation(model, inputs, targets):
    model.eval()
    with torch.no_grad():
        return (model(inputs).argmax(1) == targets).float().mean()


# ---- models broken in one way


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


class Doubled(torch.autograd.Function):
    """A backward pass by hand that forgets a factor."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Weakened(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1e-7 * gradient


def then(function, *after):
    """Return a maker of networks with `function` behind their output, and perhaps modules after it."""
    return lambda: nn.Sequential(he(mlp(32, 32)), Function(function), *after)


def first_then(function):
    return lambda: nn.Sequential(Function(function), he(mlp(32, 32)))


def scaled(model, factor, which=slice(None)):
    for layer in [module for module in model if isinstance(module, nn.Linear)][which]:
        layer.weight.data *= factor
    return model


def with_negative_weights():
    model = he(mlp(32, 32))
    model[0].weight.data.abs_().neg_()
    return model


def with_an_unused_parameter():
    model = he(mlp(32, 32))
    model[0].unused = nn.Parameter(torch.ones(3))
    return model


def with_averages_that_never_learn():
    return nn.Sequential(nn.BatchNorm1d(64, momentum=0.0), he(mlp(32)))


def first_layer_stands_still(model):
    return SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[1:].parameters()}], lr=0.1)


def never_zeroed(model, loss_fn, optimizer, inputs, targets):
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def zeroed_before_the_step(model, loss_fn, optimizer, inputs, targets):
    loss_fn(model(inputs), targets).backward()
    optimizer.zero_grad()
    optimizer.step()


def without_a_step(model, loss_fn, optimizer, inputs, targets):
    loss_fn(model(inputs), targets).backward()


def two_passes_a_step(model, loss_fn, optimizer, inputs, targets):
    optimizer.zero_grad()
    for half_inputs, half_targets in zip(inputs.chunk(2), targets.chunk(2), strict=True):
        (loss_fn(model(half_inputs), half_targets) / 2).backward()
    optimizer.step()


def evaluation_in_training_mode(model, inputs, targets):
    return cross_entropy(model(inputs), targets).item()


def l2(model, strength):
    return strength * sum((p**2).sum() for p in model.parameters())


SHUFFLED = Y[torch.randperm(len(Y), generator=torch.Generator().manual_seed(0))]
FEW = torch.cat([(Y != 0).nonzero().flatten(), (Y == 0).nonzero().flatten()[:3]])
DEFAULT = {"model": lambda: he(mlp(32, 32)), "loss_fn": cross_entropy, "data": VECTORS, "optimizer": sgd(0.1)}
SLOW = {"gradient check", "zero inputs", "train eval gap", "overfit tiny", "label frequency"}
BROKEN = {  # name -> what differs from DEFAULT, the check that is made for it, what fires as a consequence
    "pixels from 0 to 255": ({"data": (X * 255, Y)}, "input scale", {"initial loss", "update ratio"}),
    "classes counted from 1": ({"data": (X, Y + 1)}, "label range", set()),
    "a class of three": ({"data": (X[FEW], Y[FEW])}, "label balance", set()),
    "labels shuffled": ({"data": (X, SHUFFLED)}, "labels fit inputs", set()),
    "tested on training data": ({"data": (X, Y, X[:100], Y[:100])}, "duplicates", set()),
    "test scaled in another way": ({"data": (X, Y, 255 * VECTORS[2], VECTORS[3])}, "train test moments", set()),
    "view mixes up the batch": ({"model": first_then(lambda x: x.view(-1, 16).repeat(1, 4))}, "output shape", set()),
    "samples are centred together": ({"model": then(lambda x: x - x.mean(0))}, "samples independent", set()),
    "sign of the loss": (
        {"loss_fn": lambda outputs, targets: -cross_entropy(outputs, targets)},
        "loss function",
        {"update ratio"},
    ),
    "sign of a squared error": (
        {"loss_fn": lambda outputs, targets: -squared_error(outputs, targets)},
        "loss function",
        {"update ratio"},
    ),
    "summed loss": ({"loss_fn": nn.CrossEntropyLoss(reduction="sum")}, "loss is mean", {"update ratio"}),
    "softmax twice": ({"model": then(lambda x: x.softmax(1))}, "softmax before loss", set()),
    "last weights too large": ({"model": lambda: scaled(he(mlp(32, 32)), 10, slice(-1, None))}, "initial loss", set()),
    "penalty subtracted": ({"penalty": lambda model, strength: -l2(model, strength)}, "regularization", set()),
    "negative weights": (
        {"model": with_negative_weights},
        "dead units",
        {"signal", "gradient flow", "parameters move", "update ratio"},
    ),
    "first weights too large": (
        {"model": lambda: scaled(xavier(mlp(32, 32, act=nn.Tanh)), 30, slice(1))},
        "saturation",
        set(),
    ),
    "eight sigmoids": ({"model": lambda: xavier(mlp(*[32] * 8, act=nn.Sigmoid))}, "signal", set()),
    "no activation function": ({"model": lambda: mlp(32, 32, act=nn.Identity)}, "nonlinearity", set()),
    "backward without its factor": ({"model": then(Doubled.apply, nn.Linear(5, 5))}, "gradient check", set()),
    "gradients weakened on their way": (
        {
            "model": lambda: nn.Sequential(
                nn.Linear(64, 32), Function(Weakened.apply), nn.ReLU(), nn.Linear(32, CLASSES)
            )
        },
        "gradient flow",
        set(),
    ),
    "dropout without its switch": ({"model": then(lambda x: F.dropout(x, 0.5))}, "eval repeatable", set()),
    "a layer not in the optimizer": ({"optimizer": lambda model: sgd(0.1)(model[2:])}, "parameters move", set()),
    "gradients not zeroed": ({"train_step": never_zeroed}, "gradients zeroed", set()),
    "rate too low": ({"optimizer": sgd(1e-6)}, "update ratio", set()),
    "rate too high": ({"optimizer": sgd(30.0)}, "update ratio", set()),
    "rate far too high": ({"optimizer": sgd(1e4)}, "label frequency", {"update ratio"}),
    "outputs cannot grow": ({"model": then(torch.tanh)}, "overfit tiny", set()),
    "inputs not used": (
        {"model": first_then(torch.zeros_like)},
        "zero inputs",
        {"input scale", "dead units", "signal", "gradient flow", "parameters move", "update ratio"},
    ),
    "averages not learned": (
        {"model": with_averages_that_never_learn, "data": (X * 100 + 500, Y)},
        "train eval gap",
        set(),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_fault_is_found_by_its_check(name):
    torch.manual_seed(0)
    changes, check, consequences = BROKEN[name]
    given = DEFAULT | changes
    model = given.pop("model")()
    given["optimizer"] = given["optimizer"](model)
    others = [name for name in checks.CHECKS if name == check or name not in SLOW]
    table = checks.run(model, **given, only=others)
    fired = set(table[table.verdict == "fires"].check)
    assert check in fired and fired <= {check} | consequences, table
    assert table.set_index("check").advice[check]


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("input_scale", {"data": (X / 500, Y)}),
        ("input_scale", {"data": (X[:1].expand(400, -1), Y)}),
        ("input_scale", {"data": (X.index_fill(0, torch.tensor([3]), math.nan), Y)}),
        ("label_range", {"data": (X, Y - 1)}),
        ("label_balance", {"data": (X[Y == 1], Y[Y == 1])}),
        ("train_test_moments", {"data": (X + 2 * torch.bernoulli(X), *VECTORS[1:])}),
        ("output_shape", {"model": lambda: nn.Linear(64, 1), "data": (X, Y.float())}),
        ("samples_independent", {"model": then(lambda x: x.log_softmax(0))}),
        ("softmax_before_loss", {"model": then(lambda x: x.softmax(1)), "loss_fn": nn.NLLLoss()}),
        ("regularization", {"penalty": lambda model, strength: l2(model, strength).item()}),
        ("regularization", {"penalty": lambda model, strength: l2(model, 1.0)}),
        ("nonlinearity", {"model": lambda: nn.Sequential(mlp(32, act=nn.Identity), nn.LogSoftmax(1))}),
        ("nonlinearity", {"model": lambda: nn.Sequential(mlp(32, act=nn.Identity), nn.Softmax(1))}),
        ("gradient_check", {"model": then(torch.detach, nn.Linear(5, 5))}),
        ("eval_repeatable", {"model": lambda: mlp(32, norm=nn.BatchNorm1d), "evaluate": evaluation_in_training_mode}),
        ("eval_repeatable", {"model": lambda: mlp(32, dropout=0.5), "evaluate": evaluation_in_training_mode}),
        ("parameters_move", {"optimizer": lambda model: sgd(0.1)(he(mlp(32)))}),
        ("parameters_move", {"train_step": zeroed_before_the_step}),
        ("update_ratio", {"optimizer": lambda model: sgd(0.1)(he(mlp(32)))}),
        ("zero_inputs", {"model": with_negative_weights}),
    ],
)
def test_more_faults_are_found(check, changes):
    assert one(check, **changes).fires


def test_every_check_has_its_fault():
    assert {check for _, check, _ in BROKEN.values()} == set(checks.CHECKS)


def one(name, **changes):
    """Return the verdict of a single check, on a network like those above."""
    torch.manual_seed(0)
    given = DEFAULT | {"train_step": None, "evaluate": None, "penalty": None} | changes
    given["model"] = given["model"]()
    given["optimizer"] = given["optimizer"] and given["optimizer"](given["model"])
    check = getattr(checks, name)
    return check(**{key: given[key] for key in inspect.signature(check).parameters})


# ---- what single checks tell apart


def test_numbers_are_those_of_theory():
    assert one("softmax_before_loss", model=then(lambda x: x.softmax(1))).number == pytest.approx(
        math.log(1 + (CLASSES - 1) / math.e), rel=0.01
    )
    assert one("initial_loss", model=lambda: zero_head(mlp(32))).number == pytest.approx(math.log(CLASSES))
    assert "= ln 5" in one("initial_loss").expected
    assert one("loss_is_mean", loss_fn=nn.CrossEntropyLoss(reduction="sum")).number == pytest.approx(2)
    assert one("gradient_check").number < 1e-6
    assert one("gradient_check", model=then(Doubled.apply, nn.Linear(5, 5))).number == pytest.approx(0.5, rel=1e-3)


def test_a_sum_has_the_initial_loss_of_a_sum():
    verdict = one("initial_loss", loss_fn=nn.CrossEntropyLoss(reduction="sum"))
    assert not verdict.fires and verdict.number > 100


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": lambda model: sgd(0.1)(model[2:])}, "0.weight is not in the optimizer"),
        ({"optimizer": first_layer_stands_still}, "0.weight has learning rate 0"),
        ({"model": with_an_unused_parameter}, "0.unused gets no gradient"),
        ({"model": with_negative_weights}, "0.weight has gradient 0"),
        ({"train_step": without_a_step}, "0.weight has a gradient, but does not change"),
    ],
)
def test_reasons_why_a_parameter_does_not_move(changes, reason):
    assert reason in one("parameters_move", **changes).advice


def test_frozen_layers_are_remarked_upon():
    verdict = one("parameters_move", model=with_frozen_backbone, optimizer=trainable)
    assert verdict.verdict == "passes" and verdict.advice == "4 parameters are frozen."


def test_a_slow_optimizer_is_told_from_a_broken_model():
    slow = one("overfit_tiny", optimizer=sgd(1e-5))
    assert slow.verdict == "passes" and "slow" in slow.advice and "Adam" in slow.advice
    assert "lower the learning rate" in one("overfit_tiny", optimizer=sgd(30.0)).advice
    assert "Adam" in one("overfit_tiny", model=then(torch.tanh)).advice


def test_update_ratio_is_that_of_the_real_step():
    model = he(mlp(32))
    optimizer = sgd(0.1, momentum=0.9)(model)
    for _ in range(3):
        before = model[0].weight.detach().clone()
        ratios = sandbox.update_ratios(model, lambda: own_step(model, cross_entropy, optimizer, X[:32], Y[:32]))
        change = (model[0].weight.detach() - before).norm() / before.norm()
    assert ratios["0.weight"] == pytest.approx(change.item())
    assert list(ratios) == ["0.weight", "3.weight"]


def test_gradients_may_be_summed_over_passes():
    assert one("gradients_zeroed", train_step=two_passes_a_step).verdict == "passes"


def test_a_loop_that_does_not_use_what_it_is_given():
    verdict = one("gradients_zeroed", train_step=lambda *arguments: None)
    assert verdict.verdict == "not run" and "saw no backward pass" in verdict.advice


def test_weights_in_the_loss_count_for_balance():
    weights = torch.tensor([30.0, 1, 1, 1, 1])
    assert one("label_balance", data=(X[FEW], Y[FEW])).fires
    assert not one("label_balance", data=(X[FEW], Y[FEW]), loss_fn=nn.CrossEntropyLoss(weights)).fires


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated")
def test_gradients_through_spectral_norm_are_right(norm):
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(64, 16)), nn.ReLU(), nn.Linear(16, 5))
    verdict = one("gradient_check", model=lambda: model)
    assert verdict.verdict is Status.PASSES and verdict.number < 1e-6


class Coarse(nn.Module):
    """A model that computes a part in another type, as under autocast or in a layer that casts to float."""

    def __init__(self, dtype):
        super().__init__()
        self.layers, self.dtype = mlp(16), dtype

    def forward(self, x):
        return self.layers(x).to(self.dtype).to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gradients_in_a_coarser_type_are_not_judged(dtype):
    verdict = one("gradient_check", model=lambda: Coarse(dtype))
    assert verdict.verdict is Status.NOT_RUN and str(dtype) in verdict.advice


class Autocast(Coarse):
    def forward(self, x):
        with torch.autocast("cpu", self.dtype):
            return self.layers(x)


def test_autocast_raises_no_alarm():
    model = Autocast(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert not one("gradient_check", model=lambda: model).fires
    assert not one("gradient_check", model=lambda: model).fires


def test_a_model_of_chance_is_not_judged_by_its_gradients():
    class Chance(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.generator = mlp(16), np.random.default_rng(0)

        def forward(self, x):
            return self.layers(x) * self.generator.random()

    verdict = one("gradient_check", model=Chance)
    assert verdict.verdict is Status.NOT_RUN and "No two passes give the same loss" in verdict.advice


@pytest.mark.parametrize("check", ["zero_inputs", "overfit_tiny"])
@pytest.mark.parametrize("width", [2, 5, 20])
def test_logistic_regression_on_separable_data_raises_no_alarm(check, width):
    for seed in range(4):
        torch.manual_seed(seed)
        inputs = torch.randn(500, width)
        data = inputs, (inputs @ torch.randn(width, 1) > 0).float()
        verdict = one(check, model=lambda: nn.Linear(width, 1), loss_fn=nn.BCEWithLogitsLoss(), data=data)
        assert verdict.verdict is Status.PASSES, (seed, verdict)


def test_logistic_regression_on_shuffled_labels_is_found():
    torch.manual_seed(0)
    data = torch.randn(2000, 5), (torch.rand(2000, 1) > 0.5).float()
    assert one("zero_inputs", model=lambda: nn.Linear(5, 1), loss_fn=nn.BCEWithLogitsLoss(), data=data).fires


@pytest.mark.parametrize(
    ("loss_fn", "ignored"),
    [
        (nn.CrossEntropyLoss(), -100),
        (cross_entropy, -100),
        (nn.CrossEntropyLoss(ignore_index=255), 255),
        (functools.partial(cross_entropy, ignore_index=0), 0),
    ],
)
def test_samples_that_the_loss_ignores_are_no_class(loss_fn, ignored):
    labels = torch.where(torch.arange(len(Y)) % 3 > 0, Y, ignored)
    model = he(mlp(32))
    rows = checks.run(model, loss_fn, (X, labels), adam(model), only=[*CLASSIFICATION, "overfit tiny"])
    assert set(rows.verdict) == {"passes"}, rows


def test_linear_and_high_dimensional_relations_of_labels_are_seen():
    x = torch.randn(1000, 100, generator=torch.Generator().manual_seed(0))
    assert not checks.labels_fit_inputs((x, (x[:, 0] > 0).long())).fires  # neighbours hardly see this one
    x = 4 * torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    assert not checks.labels_fit_inputs((x, x.floor().long().sum(1) % 2)).fires  # no line separates a chessboard


def test_inputs_of_few_values_are_no_duplicates():
    x = torch.randint(3, (400, 3), generator=torch.Generator().manual_seed(0)).float()
    assert not checks.duplicates((x[:300], Y[:300], x[300:], Y[300:])).fires


def test_penalty_passes():
    assert one("regularization", penalty=l2).verdict == "passes"


# ---- tables


def test_shapes_layer_by_layer():
    table = checks.shapes(cnn(), IMAGES[0])
    assert list(table.columns) == ["name", "module", "input", "output", "parameters"]
    assert table.loc[0].tolist() == ["0", "Conv2d", "(8, 1, 8, 8)", "(8, 8, 6, 6)", 80]
    assert table.output.iloc[-1] == "(8, 5)"


def test_activations_are_seen_in_modules_and_functions_alike():
    model = ByHand()
    same = nn.Sequential(nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Linear(32, CLASSES))
    with torch.no_grad():
        for parameter, value in zip(same.parameters(), (model.W1.T, model.b1, model.W2.T, model.b2), strict=True):
            parameter.copy_(value)
    tables = [checks.activations(net, X) for net in (model, same)]
    assert tables[0].place.tolist() == ["into matmul 1", "out of clamp 1", "into matmul 2"]
    assert tables[1].place.tolist() == ["into linear 1", "out of relu 1", "into linear 2"]
    numbers = [table.drop(columns=["kind", "place"]) for table in tables]
    pd.testing.assert_frame_equal(*numbers, rtol=1e-4)
    hidden = (X @ model.W1).clamp(min=0).detach()
    assert tables[0]["dead_units"][1] == (hidden == 0).all(0).float().mean().item()
    assert tables[0].zero_fraction[1] == pytest.approx((hidden == 0).float().mean().item())
    assert tables[0]["std"][1] == pytest.approx(hidden.std().item(), rel=1e-3)


def test_gradients_layer_by_layer():
    table = checks.gradients(zero_head(mlp(32)), cross_entropy, VECTORS)
    assert table.parameter.tolist() == ["0.weight", "3.weight"] and (table.gradient > 0).all()


# ---- what cannot be judged, and why


def reasons(**given):
    table = checks.run(**({"loss_fn": cross_entropy} | given))
    assert not len(table[table.verdict == "fires"]), table
    return table[table.verdict == "not run"].set_index("check").advice


def test_without_an_optimizer_those_that_need_it_say_so():
    found = reasons(model=he(mlp(32, act=nn.Tanh)), data=VECTORS)
    assert found[["parameters move", "gradients zeroed", "update ratio"]].eq("It needs the optimizer.").all()
    assert set(found.index) == {"parameters move", "gradients zeroed", "update ratio", "regularization"}
    found = reasons(model=he(mlp(32)), data=VECTORS[:2], only=["duplicates", "train test moments"])
    assert "test_inputs" in found["duplicates"] and "test_inputs" in found["train test moments"]


CLASSIFICATION = {
    *("label range", "label balance", "labels fit inputs", "loss function", "softmax before loss"),
    *("initial loss", "label frequency"),
}


@pytest.mark.parametrize("kind", ["regression", "several outputs", "yes or no"])
def test_other_targets(kind):
    torch.manual_seed(0)
    loss_fn = nn.BCEWithLogitsLoss() if kind == "yes or no" else nn.MSELoss()
    targets = X @ torch.randn(64, 3) / 8 if kind == "several outputs" else (Y == 2).float()[:, None]
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, targets.shape[1]))
    found = reasons(model=model, loss_fn=loss_fn, data=(X, targets), optimizer=adam(model))
    assert set(found.index) >= CLASSIFICATION
    assert all("class" in reason for reason in found[list(CLASSIFICATION)])
    assert not found.str.contains("It stopped").any(), found.to_dict()


def test_tokens_as_inputs():
    torch.manual_seed(0)
    tokens = torch.randint(50, (300, 6))
    model = nn.Sequential(nn.Embedding(50, 16), nn.Flatten(), nn.Linear(96, 16), nn.ReLU(), nn.Linear(16, 3))
    found = reasons(model=model, data=(tokens, tokens[:, 0] % 3), optimizer=adam(model))
    assert not found.str.contains("It stopped").any(), found.to_dict()
    floats = ["input scale", "labels fit inputs", "samples independent", "nonlinearity", "zero inputs"]
    assert found[floats].str.contains("torch.int64").all()


def test_an_error_stops_one_check_only():
    def refuses(model, strength):
        raise ArithmeticError("first line\nsecond line")

    chosen = ["regularization", "overfit tiny"]
    table = checks.run(he(mlp(32)), cross_entropy, VECTORS, penalty=refuses, only=chosen).set_index("check")
    assert table.verdict["regularization"] == "not run"
    assert table.advice["regularization"] == "It stopped with ArithmeticError: first line second line"
    assert table.verdict["overfit tiny"] == "passes"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X[:0], Y[:0]), "0 inputs and 0 targets"),
        ((X, Y[:-1]), "400 inputs and 399 targets"),
        ((X, Y, X[:5], Y[:4]), "5 inputs and 4 targets"),
        ((X, Y, X), "data must be"),
        (X, "data must be"),
        ((X, Y.tolist()), "data must be"),
        (torch.utils.data.DataLoader([{"x": x, "y": y} for x, y in zip(X, Y, strict=True)]), "data must be"),
    ],
)
def test_wrong_data(data, message):
    for call in (
        lambda: checks.run(mlp(), cross_entropy, data),
        lambda: checks.initial_loss(mlp(), cross_entropy, data),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_loader_will_do():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=64, shuffle=True)
    assert checks.initial_loss(he(mlp(32)), cross_entropy, loader).number == pytest.approx(
        checks.initial_loss(he(mlp(32)), cross_entropy, VECTORS).number, rel=10
    )
    assert len(sandbox.Data.of(loader).inputs) == len(X)


# ---- how it shows, and what it leaves alone


def test_verdicts_are_shown_whole():
    verdict = one("initial_loss", model=lambda: scaled(he(mlp(32)), 30))
    assert repr(verdict).startswith("initial loss fires: ") and "(expected: about 1.609 = ln 5)" in repr(verdict)
    table = checks.run(he(mlp(32)), cross_entropy, (X * 255, Y), only=["input scale", "label range", "initial loss"])
    longest = max(table.advice, key=len)
    assert len(longest) > 60 and longest in table._repr_html_()
    assert longest in " ".join(repr(table).split())
    fires = table[table.verdict == "fires"]
    assert fires.advice.iloc[0] in fires._repr_html_()
    assert "passes" in repr(table[["check", "verdict"]])


class Stateful(nn.Module):
    """Keeps its last output, changes its input in place, and draws from three random states."""

    def __init__(self):
        super().__init__()
        self.net = mlp(16, norm=nn.BatchNorm1d, dropout=0.5)

    def forward(self, x):
        x += 0.001 * random.random() + 0.001 * np.random.rand()  # noqa: NPY002
        self.last = self.net(x)
        return self.last


def test_the_callers_things_stay_as_they_are():
    torch.manual_seed(3)
    model, seen = Stateful(), []
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        own_step(model, cross_entropy, optimizer, X[:32].clone(), Y[:32])
    model.net[1].eval()
    model.register_forward_hook(lambda *arguments: seen.append(arguments))
    data = tuple(part.clone() for part in VECTORS)

    def state():
        tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters()), *data, torch.get_rng_state()]
        momenta = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
        modes = [module.training for module in model.modules()]
        states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        return copy.deepcopy([*tensors, *momenta]), modes, states, model.last

    tensors, *rest = state()
    given = {"train_step": own_step, "evaluate": own_evaluation, "penalty": l2}
    with torch.no_grad():
        first = checks.run(model, cross_entropy, data, optimizer, **given)
        checks.shapes(model, data[0]), checks.activations(model, data[0]), checks.gradients(model, cross_entropy, data)
        single = checks.overfit_tiny(model, cross_entropy, data, optimizer)
    after, *rest_after = state()
    assert all(map(torch.equal, tensors, after)) and rest[:2] == rest_after[:2] and rest[2] is rest_after[2]
    assert optimizer.param_groups[0]["weight_decay"] == 0 and not seen
    assert not any(module._forward_hooks for module in model.modules() if module is not model)
    assert not first.advice.str.contains("It stopped").any(), first
    assert single.number == first.set_index("check").number["overfit tiny"]


def test_hooks_of_torch_go_on_working_in_the_copy():
    layer = nn.utils.spectral_norm(nn.Linear(64, CLASSES))
    assert checks.parameters_move(layer, cross_entropy, VECTORS, sgd(0.1)(layer)).verdict == "passes"
