"""MODELS: sound models of many kinds, each with an optimizer, a loss and a form of the data.

They are what beginners build, and what is unusual but right. Networks are made by functions of the
shape s = (C, H, W) of an image, so that each fits each data set.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from doctor.sandbox import Data

# ---- networks


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Positions(nn.Module):
    """A learned vector for each token, zero at start."""

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(tokens, width))

    def forward(self, x):
        return x + self.vectors


class ByHand(nn.Module):
    """An MLP of matrix products."""

    def __init__(self, s):
        super().__init__()
        pixels = math.prod(s)
        self.W1 = nn.Parameter(torch.randn(pixels, 100) * math.sqrt(2 / pixels))
        self.W2 = nn.Parameter(torch.randn(100, 10) * math.sqrt(2 / 100))
        self.b1, self.b2 = nn.Parameter(torch.zeros(100)), nn.Parameter(torch.zeros(10))

    def forward(self, x):
        return (x.flatten(1) @ self.W1 + self.b1).clamp(min=0) @ self.W2 + self.b2


def mlp(s, *hidden: int, act=nn.ReLU, norm=None, dropout=0.0, outputs=10) -> nn.Sequential:
    layers, sizes = [nn.Flatten()], (math.prod(s), *hidden)
    for fan_in, fan_out in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(fan_in, fan_out), *([norm(fan_out)] if norm else []), act()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def convolution(channels: int, filters: int, norm=None, act=nn.ReLU, size=3, **options) -> list:
    """Return a convolution, perhaps a normalization, and the activation."""
    layer = nn.Conv2d(channels, filters, size, **{"padding": 1} | options)
    return [layer, *([norm(filters)] if norm else []), act()]


def lenet(s, act=nn.ReLU) -> nn.Sequential:
    """Return LeNet with convolutions of 5x5 and 3x3."""
    layers = [*convolution(s[0], 6, None, act, size=5, padding=0), nn.MaxPool2d(2)]
    layers += [*convolution(6, 16, None, act, padding=0), nn.MaxPool2d(2)]
    side = ((s[1] - 4) // 2 - 2) // 2
    return nn.Sequential(*layers, *mlp((16, side, side), 120, 84, act=act))


def cnn(s, norm=None, act=nn.ReLU, pool=nn.MaxPool2d, dropout=0.0) -> nn.Sequential:
    """Return two convolutions with pooling, then two Linear layers."""
    layers = [*convolution(s[0], 16, norm, act), pool(2), *convolution(16, 32, norm, act), pool(2)]
    layers += [nn.Dropout2d(dropout / 2)] if dropout else []
    return nn.Sequential(*layers, *mlp((32, s[1] // 4, s[2] // 4), 64, act=act, dropout=dropout))


def pooled_cnn(s) -> nn.Sequential:
    """Return convolutions with strides, one of them depthwise, then the mean over positions."""
    layers = [*convolution(s[0], 16, stride=2), *convolution(16, 16, groups=16)]
    return nn.Sequential(*layers, *convolution(16, 32, stride=2), nn.AdaptiveAvgPool2d(1), *mlp((32,)))


def resnet(s, zero_gamma=False) -> nn.Sequential:
    """Return a network with two residual blocks, perhaps such that are the identity at start."""
    layers = convolution(s[0], 16, nn.BatchNorm2d, stride=2)
    for _ in range(2):
        body = [*convolution(16, 16, nn.BatchNorm2d), *convolution(16, 16, nn.BatchNorm2d)[:2]]
        if zero_gamma:
            nn.init.zeros_(body[-1].weight)
        layers += [Residual(*body), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), *mlp((16,)))


def residual_mlp(s) -> nn.Sequential:
    layers = [nn.Flatten(), nn.Linear(math.prod(s), 64)]
    for _ in range(6):
        layers.append(Residual(nn.LayerNorm(64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)))
    return nn.Sequential(*layers, nn.LayerNorm(64), *mlp((64,)))


def of_rows(s, *body: nn.Module) -> nn.Sequential:
    """Return a classifier of images as sequences of their rows; `body` gets tokens of width 32."""
    rows = Apply(lambda x: x.transpose(1, 2).flatten(2))
    return nn.Sequential(rows, nn.Linear(s[0] * s[2], 32), *body, *mlp((32,)))


def mean_of_tokens() -> nn.Module:
    return Apply(lambda x: x.mean(1))


def encoder(s, **options) -> nn.Sequential:
    block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **options)
    return of_rows(s, Positions(s[1], 32), block, mean_of_tokens())


def of_patches(s) -> nn.Sequential:
    """Return a small vision transformer: patches of 4x4 pixels, two blocks."""
    patches = [nn.Conv2d(s[0], 32, 4, stride=4), Apply(lambda x: x.flatten(2).transpose(1, 2))]
    options = {"activation": "gelu", "batch_first": True, "norm_first": True, "dropout": 0.0}
    blocks = [nn.TransformerEncoderLayer(32, 4, 64, **options) for _ in range(2)]
    tokens = Positions((s[1] // 4) * (s[2] // 4), 32)
    return nn.Sequential(*patches, tokens, *blocks, nn.LayerNorm(32), mean_of_tokens(), *mlp((32,)))


def recurrent(s, kind) -> nn.Sequential:
    return of_rows(s, kind(32, 32, batch_first=True), Apply(lambda found: found[0][:, -1]))


def mixer(s) -> nn.Sequential:
    """Return a network that mixes tokens, then features."""
    turn = Apply(lambda x: x.transpose(1, 2))
    tokens = Residual(nn.LayerNorm(32), turn, nn.Linear(s[1], 32), nn.GELU(), nn.Linear(32, s[1]), turn)
    features = Residual(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
    return of_rows(s, tokens, features, mean_of_tokens())


def autoencoder(s) -> nn.Sequential:
    return nn.Sequential(mlp(s, 128, 32, 128, outputs=math.prod(s)), nn.Sigmoid())


# ---- initialization


def layers_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]


def drawn(model: nn.Module, init: Callable, **options) -> nn.Module:
    """Draw the weights of all layers, and set biases to 0."""
    for layer in layers_of(model):
        init(layer.weight, **options)
        nn.init.zeros_(layer.bias)
    return model


he = partial(drawn, init=nn.init.kaiming_normal_, nonlinearity="relu")
xavier = partial(drawn, init=nn.init.xavier_uniform_)
xavier_tanh = partial(drawn, init=nn.init.xavier_uniform_, gain=5 / 3)
orthogonal = partial(drawn, init=nn.init.orthogonal_)
uniform = partial(drawn, init=nn.init.uniform_, a=-0.1, b=0.1)


def relu_mlp(s) -> nn.Module:
    return he(mlp(s, 100, 100))


def ending_with(last: Callable) -> Callable:
    return lambda s: nn.Sequential(relu_mlp(s), last(1))


def zero_head(model: nn.Module) -> nn.Module:
    """Set the last layer to 0: the first predictions are undecided."""
    nn.init.zeros_(layers_of(model)[-1].weight)
    nn.init.zeros_(layers_of(model)[-1].bias)
    return model


def sparse(model: nn.Module) -> nn.Module:
    """Give hidden units a threshold, so that most outputs are 0."""
    for layer in layers_of(model)[:-1]:
        nn.init.constant_(layer.bias, -0.5)
    return model


# ---- losses


def weighted(outputs, targets):
    return cross_entropy(outputs, targets, torch.linspace(1, 3, 10))


def focal(outputs, targets):
    loss = cross_entropy(outputs, targets, reduction="none")
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


def nll_of_probabilities(outputs, targets):
    return F.nll_loss((outputs + 1e-9).log(), targets)


def squared_error(outputs, targets):
    return F.mse_loss(outputs, F.one_hot(targets, outputs.shape[1]).to(outputs))


def one_against_all(outputs, targets):
    return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, 10).to(outputs))


# ---- optimizers, made by functions of the model


def of(kind, **options) -> Callable:
    return lambda model: kind([p for p in model.parameters() if p.requires_grad], **options)


def sgd(lr: float, **options) -> Callable:
    return of(optim.SGD, lr=lr, **options)


adam = of(optim.Adam, lr=1e-3)


def head_only(model) -> optim.Optimizer:
    """Freeze all but the last layer."""
    model.requires_grad_(False)
    layers_of(model)[-1].requires_grad_(True)
    return sgd(0.005)(model)


def two_rates(model) -> optim.Optimizer:
    first, *others = layers_of(model)
    others = nn.ModuleList(others).parameters()
    return optim.SGD([{"params": first.parameters(), "lr": 0.01}, {"params": others}], lr=0.1)


# ---- forms of the data


def changed(function: Callable) -> Callable:
    """Return what applies function(inputs, targets) to training and test data."""
    return lambda given: Data(*function(*given[:2]), *function(*given[2:]))


def only(chosen: Callable) -> Callable:
    """Return what keeps the samples with chosen(targets)."""
    return changed(lambda x, y: (x[chosen(y)], y[chosen(y)]))


def standardized(given: Data) -> Data:
    mean, std = given.inputs.mean(), given.inputs.std()
    return changed(lambda x, y: ((x - mean) / std, y))(given)


def few(given: Data) -> Data:
    return Data(given.inputs[:500], given.targets[:500], *given[2:])


as_bytes = changed(lambda x, y: (x * 255, y))
as_doubles = changed(lambda x, y: (x.double(), y))
two_classes = only(lambda y: y < 2)
one_class_rare = only(lambda y: (y > 0) | (torch.arange(len(y)) % 5 == 0))
parity = changed(lambda x, y: (x, (y % 2).to(x)[:, None]))
themselves = changed(lambda x, y: (x, x.flatten(1)))


# ---- the models


@dataclass(frozen=True)
class Sound:
    network: Callable  # of the shape (C, H, W)
    optimizer: Callable  # of the model
    loss: Callable = cross_entropy
    prepare: Callable = Data.of  # of the data, images in [0, 1]
    trained: bool = False  # before it is judged


MODELS = {  # family -> name -> model
    "MLP": {
        "He": Sound(relu_mlp, sgd(0.1)),
        "default initialization": Sound(lambda s: mlp(s, 100, 100), sgd(0.01)),
        "by hand": Sound(ByHand, sgd(0.1)),
        "8 hidden units": Sound(lambda s: mlp(s, 8), sgd(0.1)),
        "800 hidden units": Sound(lambda s: he(mlp(s, 800)), sgd(0.01, momentum=0.9)),
        "sparse": Sound(lambda s: sparse(he(mlp(s, 300, 300))), sgd(0.1)),
        "tanh, Xavier": Sound(lambda s: xavier(mlp(s, 100, 100, act=nn.Tanh)), sgd(0.01, momentum=0.9)),
        "sigmoid, 1 hidden layer": Sound(lambda s: mlp(s, 100, act=nn.Sigmoid), sgd(0.5)),
        "sigmoid, 2 hidden layers": Sound(lambda s: xavier(mlp(s, 100, 100, act=nn.Sigmoid)), adam),
        "leaky ReLU": Sound(lambda s: he(mlp(s, 100, 100, act=nn.LeakyReLU)), sgd(0.1)),
        "softplus": Sound(lambda s: mlp(s, 100, 100, act=nn.Softplus), adam),
        "linear": Sound(mlp, sgd(0.01)),
        "linear, zero at start": Sound(lambda s: zero_head(mlp(s)), sgd(0.01)),
    },
    "deep MLP": {
        "10 ReLU, He": Sound(lambda s: he(mlp(s, *[100] * 10)), sgd(0.02)),
        "10 ReLU, batch norm": Sound(lambda s: mlp(s, *[100] * 10, norm=nn.BatchNorm1d), sgd(0.1)),
        "8 ReLU, U(-0.1, 0.1)": Sound(lambda s: uniform(mlp(s, *[100] * 8)), sgd(0.1)),
        "8 SELU": Sound(lambda s: mlp(s, *[100] * 8, act=nn.SELU), sgd(0.05)),
        "10 tanh, Xavier": Sound(
            lambda s: xavier_tanh(mlp(s, *[100] * 10, act=nn.Tanh)),
            sgd(0.01, momentum=0.9),
        ),
        "20 tanh, orthogonal": Sound(lambda s: orthogonal(mlp(s, *[100] * 20, act=nn.Tanh)), sgd(0.01)),
    },
    "CNN": {
        "LeNet, ReLU": Sound(lenet, adam),
        "LeNet, tanh": Sound(lambda s: lenet(s, nn.Tanh), adam),
        "LeNet, softsign": Sound(lambda s: lenet(s, nn.Softsign), adam),
        "He": Sound(lambda s: he(cnn(s)), sgd(0.05)),
        "ELU, average pooling": Sound(lambda s: cnn(s, act=nn.ELU, pool=nn.AvgPool2d), adam),
        "mean over positions": Sound(pooled_cnn, adam),
    },
    "normalization": {
        "batch norm, MLP": Sound(lambda s: mlp(s, 100, 100, norm=nn.BatchNorm1d), sgd(0.1)),
        "layer norm, GELU": Sound(
            lambda s: mlp(s, 128, 128, act=nn.GELU, norm=nn.LayerNorm),
            of(optim.AdamW, lr=1e-3, weight_decay=0.05),
        ),
        "batch norm and dropout": Sound(lambda s: cnn(s, nn.BatchNorm2d, dropout=0.5), adam),
        "group norm, SiLU": Sound(lambda s: cnn(s, partial(nn.GroupNorm, 4), nn.SiLU), adam),
        "instance norm": Sound(lambda s: cnn(s, nn.InstanceNorm2d), adam),
        "batch norm of pixels 0 to 255": Sound(
            lambda s: nn.Sequential(nn.BatchNorm2d(s[0]), mlp(s, 100, norm=nn.BatchNorm1d)),
            sgd(0.1),
            prepare=as_bytes,
        ),
    },
    "residual": {
        "ResNet": Sound(resnet, sgd(0.1, momentum=0.9, weight_decay=5e-4)),
        "ResNet, zero gamma": Sound(lambda s: resnet(s, zero_gamma=True), sgd(0.05, momentum=0.9)),
        "MLP": Sound(residual_mlp, adam),
    },
    "attention, recurrent": {
        "encoder, norm first": Sound(lambda s: encoder(s, norm_first=True), adam),
        "encoder, norm last": Sound(encoder, adam),
        "patches": Sound(of_patches, adam),
        "mixer": Sound(mixer, adam),
        "GRU": Sound(lambda s: recurrent(s, nn.GRU), adam),
        "LSTM": Sound(lambda s: recurrent(s, nn.LSTM), adam),
    },
    "parts frozen or zero": {
        "random body frozen": Sound(lambda s: he(mlp(s, 300, 300)), head_only),
        "trained body frozen": Sound(relu_mlp, head_only, trained=True),
        "trained CNN frozen": Sound(lambda s: cnn(s, nn.BatchNorm2d), head_only, trained=True),
        "head zero": Sound(lambda s: zero_head(mlp(s, 100, 100)), adam),
        "head of a CNN zero": Sound(lambda s: zero_head(he(cnn(s))), adam),
    },
    "trained before": {
        "ReLU": Sound(relu_mlp, sgd(0.01), trained=True),
        "tanh": Sound(lambda s: xavier(mlp(s, 100, 100, act=nn.Tanh)), sgd(0.01), trained=True),
        "LeNet, tanh": Sound(lambda s: lenet(s, nn.Tanh), adam, trained=True),
        "CNN, batch norm": Sound(lambda s: cnn(s, nn.BatchNorm2d), adam, trained=True),
    },
    "dropout": {
        "0.8, SGD": Sound(lambda s: he(mlp(s, 400, 400, dropout=0.8)), sgd(0.1)),
        "0.8, Adam": Sound(lambda s: he(mlp(s, 400, 400, dropout=0.8)), adam),
        "0.2 of the inputs": Sound(lambda s: nn.Sequential(nn.Dropout(0.2), relu_mlp(s)), sgd(0.1)),
        "0.5, CNN": Sound(lambda s: cnn(s, dropout=0.5), adam),
    },
    "loss": {
        "NLL of log_softmax": Sound(ending_with(nn.LogSoftmax), sgd(0.1), F.nll_loss),
        "NLL of softmax": Sound(ending_with(nn.Softmax), sgd(0.1), nll_of_probabilities),
        "log_softmax twice": Sound(ending_with(nn.LogSoftmax), sgd(0.1)),
        "label smoothing": Sound(relu_mlp, sgd(0.1), partial(cross_entropy, label_smoothing=0.2)),
        "weighted": Sound(relu_mlp, adam, weighted),
        "focal": Sound(relu_mlp, adam, focal),
        "margin": Sound(relu_mlp, adam, F.multi_margin_loss),
        "squared error": Sound(relu_mlp, adam, squared_error),
        "one against all": Sound(relu_mlp, adam, one_against_all),
        "binary": Sound(lambda s: he(mlp(s, 100, outputs=1)), adam, F.binary_cross_entropy_with_logits, parity),
        "autoencoder": Sound(autoencoder, adam, F.mse_loss, themselves),
    },
    "optimizer": {
        "Nesterov momentum": Sound(relu_mlp, sgd(0.1, momentum=0.9, nesterov=True)),
        "rate 0.5": Sound(lambda s: xavier(mlp(s, 100, 100)), sgd(0.5)),
        "weight decay 0.01": Sound(relu_mlp, sgd(0.1, weight_decay=0.01)),
        "two rates": Sound(relu_mlp, two_rates),
        "RMSprop": Sound(relu_mlp, of(optim.RMSprop, lr=1e-3)),
        "Adagrad": Sound(relu_mlp, of(optim.Adagrad, lr=0.01)),
        "Adadelta": Sound(relu_mlp, of(optim.Adadelta, lr=1.0)),
        "NAdam": Sound(relu_mlp, of(optim.NAdam, lr=1e-3)),
        "L-BFGS": Sound(lambda s: mlp(s, 30), of(optim.LBFGS, lr=0.1, max_iter=4)),
    },
    "slow rate": {  # such LeNets get to 83 to 88 % on FashionMNIST in 200 epochs: runs/kept/05-blog
        "LeNet, ReLU, SGD 1e-3": Sound(lenet, sgd(1e-3)),
        "LeNet, tanh, SGD 1e-3": Sound(lambda s: lenet(s, nn.Tanh), sgd(1e-3)),
        "LeNet, softsign, SGD 1e-3": Sound(lambda s: lenet(s, nn.Softsign), sgd(1e-3)),
        "momentum, 1e-4": Sound(relu_mlp, sgd(1e-4, momentum=0.9)),
        "Adam, 1e-5": Sound(relu_mlp, of(optim.Adam, lr=1e-5)),
    },
    "data": {
        "standardized": Sound(relu_mlp, sgd(0.05), prepare=standardized),
        "standardized, wider": Sound(lambda s: he(mlp(s, 256, 128)), sgd(0.01), prepare=standardized),
        "float64": Sound(lambda s: he(mlp(s, 100)).double(), sgd(0.1), prepare=as_doubles),
        "500 images": Sound(relu_mlp, adam, prepare=few),
        "two classes": Sound(lambda s: he(mlp(s, 100, outputs=2)), sgd(0.1), prepare=two_classes),
        "a class five times rarer": Sound(relu_mlp, adam, prepare=one_class_rare),
    },
}
