"""Training programs as students write them. Nothing here knows what the doctor does.

A Program describes one by plain values, so that a fault, a fix and an oddity (faults.py) are other values of some
fields.
"""

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from benchmarks.sound_models import Apply
from helpers import data

BATCH, TEST_IMAGES = 64, 2_000
EXTRA_UNITS = 64  # in each layer that a program adds to its network
SPIKE_STEPS = range(20, 25)  # in which a rate is far too high

# ---- programs


@dataclass(frozen=True)
class Network:
    hidden: tuple[int, ...]
    activation: str = "relu"
    filters: tuple[int, ...] = ()
    size: int = 3  # width and height of a filter
    pool: bool = False  # means of 2x2 after each convolution; otherwise convolutions have strides of 2
    norm: bool = False
    init: str = "default"


NETWORKS = {
    "MLP 100-100": Network((100, 100)),
    "MLP 64-64-64": Network((64, 64, 64), "tanh"),
    "CNN": Network((64,), filters=(8, 16)),
    "MLP 256": Network((256,)),
    "MLP 5x80": Network((80,) * 5, init="he"),  # PyTorch's does not train in two epochs of SGD
    "LeNet": Network((84,), "tanh", filters=(4, 12), size=5, pool=True),  # the filters of LeNet-1, for speed
    "CNN batch norm": Network((64,), filters=(8, 16), norm=True),
}

RATES = {  # at most the best ones of a coarse grid, over data sets and both preparations, with seeds 500 to 502
    "MLP 100-100": {"sgd": 0.1, "momentum": 0.02, "adam": 1e-3},
    "MLP 64-64-64": {"sgd": 0.1, "momentum": 0.02, "adam": 1e-3},
    "CNN": {"sgd": 0.1, "momentum": 0.03, "adam": 2e-3},
    "MLP 256": {"sgd": 0.1, "momentum": 0.02, "adam": 1e-3},
    "MLP 5x80": {"sgd": 0.05, "momentum": 0.01, "adam": 1e-3},
    "LeNet": {"sgd": 0.1, "momentum": 0.03, "adam": 2e-3},
    "CNN batch norm": {"sgd": 0.1, "momentum": 0.02, "adam": 2e-3},
}
FOR_CIFAR10 = 1 / 4  # times the rate of networks of ReLU, whose loss jumps otherwise


@dataclass(frozen=True)
class Program:
    """A student's training program; the defaults are sound. `sound_program` gives those that hang on the network."""

    network: str
    data: str
    optimizer: str  # "sgd", "momentum" or "adam"
    seed: int  # for everything random
    rate: float
    # the model
    activation: str | None = "relu"
    norm: bool = False
    extra: int = 0  # hidden layers, after those of the network
    gain: float = 1.0  # multiplies each hidden activation
    dropout: float = 0.0  # after each hidden layer
    outputs: int = 10
    end: str | None = None  # what follows the last layer
    # its first weights
    init: str = "default"  # PyTorch's, or one of INITS
    scale: float = 1.0  # multiplies all weights
    bias: float | None = None  # in hidden layers
    trained: bool = False  # a network trained before, with a new last layer
    # the loss and the optimizer
    loss: str = "cross entropy"
    minus: str | None = None  # a wrong sign in the "loss", at "backward", or as "maximize"
    penalty: float = 0.0  # times the sum of all squared weights, added in the loop
    decay: float = 0.0  # the optimizer's
    learns: str = "all"  # what the optimizer gets: one of parameters_of
    frozen: str | None = None  # all but the last layer, by "requires_grad" or "detach"
    # the loop
    epochs: int = 2
    zero_every: int = 1  # steps between calls of zero_grad; 0: it is never called
    step: str = "each batch"  # or "never", "after zero_grad", "each epoch"
    accumulate: int = 1  # batches to a step
    clip: float | None = None  # the gradient's norm
    warm_up: int = 0  # steps in which the rate grows to its value
    spike: float = 1.0  # the rate's factor at SPIKE_STEPS
    chunk: int = 0  # samples come in chunks of this size, each sorted by class; 0: shuffled in each epoch
    evaluation: str = "eval"  # the model's mode in it
    test_batch: int = TEST_IMAGES
    # the data
    images: int = 10_000
    tail: float = 1.0  # the commonest class / the rarest one, with equal factors between
    one_class: float = 0.0  # share of one class, the others being equal
    balanced: bool = False  # batches draw each class as often
    inputs: str = "unit"  # one of PREPARATIONS
    test_inputs: str | None = None  # where they are prepared otherwise; also "inverted"
    noise: float = 0.0  # std of it / that of the inputs
    salt: float = 0.0  # share of pixels that are black or white at random
    constant: str | None = None  # each input is "zeros", or the "first image"
    nan_images: int = 0  # with a pixel that is NaN
    labels: str = "right"  # or those of `relabel`
    wrong: float = 1.0  # share of labels that are not right then


def sound_program(network: str, data: str, optimizer: str, seed: int) -> Program:
    """Return the ordinary program of a setting; both usual preparations occur."""
    own = {name: getattr(NETWORKS[network], name) for name in ("activation", "norm", "init")}
    inputs = "standardized" if seed % 2 else "unit"
    rate = RATES[network][optimizer] * (FOR_CIFAR10 if data == "CIFAR10" and own["activation"] == "relu" else 1)
    return Program(network, data, optimizer, seed, rate, inputs=inputs, **own)


# ---- the model


def steep_tanh(x):
    return torch.tanh(20 * x)


def root(x):
    return (x * (x > 0)).sqrt()  # its slope at 0 is infinite, times 0


ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky relu": partial(nn.LeakyReLU, 0.1),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "steep tanh": partial(Apply, steep_tanh),
    "root": partial(Apply, root),
}
ENDS = {
    "softmax": partial(nn.Softmax, 1),
    "softmax over batch": partial(nn.Softmax, 0),
    "log softmax": partial(nn.LogSoftmax, 1),
}


def build(program: Program, shape: torch.Size) -> nn.Sequential:
    """Return the network for images of a shape (C, H, W)."""
    network = NETWORKS[program.network]
    layers, channels = [], shape[0]
    for filters in network.filters:
        options = {} if network.pool else {"stride": 2, "padding": network.size // 2}
        layers += hidden(program, nn.Conv2d(channels, filters, network.size, **options), nn.BatchNorm2d(filters))
        channels = filters
    layers.append(nn.Flatten())
    units = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]
    for size in (*network.hidden, *[EXTRA_UNITS] * program.extra):
        layers += hidden(program, nn.Linear(units, size), nn.BatchNorm1d(size))
        units = size
    layers += [Apply(torch.detach)] if program.frozen == "detach" else []
    layers.append(nn.Linear(units, program.outputs))
    layers += [ENDS[program.end]()] if program.end else []
    return initialize(nn.Sequential(*layers), program)


def hidden(program: Program, layer: nn.Module, norm: nn.Module) -> list[nn.Module]:
    """Return a hidden layer and what follows it."""
    pool = isinstance(layer, nn.Conv2d) and NETWORKS[program.network].pool
    modules = [layer, *([nn.AvgPool2d(2)] if pool else []), *([norm] if program.norm else [])]
    if program.bias is not None:
        nn.init.constant_((norm if program.norm else layer).bias, program.bias)
    modules += [ACTIVATIONS[program.activation]()] if program.activation else []
    modules += [Apply(partial(torch.mul, torch.tensor(program.gain)))] if program.gain != 1 else []
    return modules + ([nn.Dropout(program.dropout)] if program.dropout else [])


def layers_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model if isinstance(module, (nn.Linear, nn.Conv2d))]


INITS = {  # name -> function of a layer's weight
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "constant": partial(nn.init.constant_, val=0.02),
    "last constant": partial(nn.init.constant_, val=0.02),  # the last hidden layer and the one after it
    "zeros": nn.init.zeros_,
    "negative": lambda weight: weight.copy_(-weight.abs()),
}


@torch.no_grad()
def initialize(model: nn.Sequential, program: Program) -> nn.Sequential:
    layers = layers_of(model)
    name = program.init
    if name == "suitable":
        name = "he" if program.activation in ("relu", "leaky relu") else "xavier"
    for layer in [] if name == "default" else layers[-2:] if name == "last constant" else layers:
        INITS[name](layer.weight)
        if program.bias is None or layer is layers[-1]:
            nn.init.zeros_(layer.bias)
    for layer in layers:
        layer.weight.mul_(program.scale)
    return model


# ---- the loss and the optimizer


def cross_entropy_of_softmax(outputs, targets, dim=1):
    return F.cross_entropy(outputs.softmax(dim), targets)


def one_hot(outputs, targets):
    return F.one_hot(targets, outputs.shape[1]).to(outputs)


def one_against_all(outputs, targets, reduction="mean"):
    return F.binary_cross_entropy_with_logits(outputs, one_hot(outputs, targets), reduction=reduction)


def squared_error_of_index(outputs, targets):
    """Compare outputs (B, 1), or by broadcasting (B, C), with class indices."""
    return (outputs - targets[:, None]).square().mean()


def relative_entropy_by_hand(outputs, targets):
    """Sum t log(t / p), which is 0 log 0 for each class but one."""
    wanted = one_hot(outputs, targets)
    return (wanted * (wanted / outputs.softmax(1)).log()).sum(1).mean()


LOSSES = {
    "cross entropy": F.cross_entropy,
    "cross entropy, summed": partial(F.cross_entropy, reduction="sum"),
    "cross entropy of softmax": cross_entropy_of_softmax,
    "cross entropy of softmax over batch": partial(cross_entropy_of_softmax, dim=0),
    "nll": F.nll_loss,
    "one against all": one_against_all,
    "one against all, summed": partial(one_against_all, reduction="sum"),
    "squared error of index": squared_error_of_index,
    "relative entropy by hand": relative_entropy_by_hand,
}


def loss_of(program: Program) -> Callable:
    loss_fn = LOSSES[program.loss]
    return (lambda outputs, targets: -loss_fn(outputs, targets)) if program.minus == "loss" else loss_fn


def parameters_of(model: nn.Sequential, program: Program):
    """Return what the optimizer is given."""
    layers = layers_of(model)
    body = nn.ModuleList(module for module in model if module is not layers[-1])
    if program.frozen == "requires_grad":
        body.requires_grad_(False)
    return {
        "all": model.parameters(),
        "first layer": layers[0].parameters(),
        "last layer": layers[-1].parameters(),
        "last layer, others at rate 0": [{"params": body.parameters(), "lr": 0.0}, {"params": layers[-1].parameters()}],
        "copy": copy.deepcopy(model).parameters(),
    }[program.learns]


def optimizer_of(model: nn.Sequential, program: Program) -> optim.Optimizer:
    options = {"lr": program.rate, "weight_decay": program.decay, "maximize": program.minus == "maximize"}
    if program.optimizer == "adam":
        return optim.Adam(parameters_of(model, program), **options)
    momentum = 0.9 if program.optimizer == "momentum" else 0.0
    return optim.SGD(parameters_of(model, program), momentum=momentum, **options)


# ---- the data

PREPARATIONS = {  # pixels in [0, 1], mean and std over the training set -> inputs
    "unit": lambda x, mean, std: x,
    "standardized": lambda x, mean, std: (x - mean) / std,
    "bytes": lambda x, mean, std: x * 255,
    "divided twice": lambda x, mean, std: x / 255,
    "offset": lambda x, mean, std: (x - mean) / std + 30,
}


def class_counts(program: Program) -> list[int]:
    """Return how many images of each class there are; which class is common depends on the seed."""
    shares = [program.tail ** (-c / 9) for c in range(10)]
    if program.one_class:
        shares = [program.one_class, *[(1 - program.one_class) / 9] * 9]
    shares = shares[-program.seed % 10 :] + shares[: -program.seed % 10]
    return [round(program.images * share / sum(shares)) for share in shares]


def choose_images(labels: Tensor, program: Program, rng: torch.Generator) -> Tensor:
    """Return the indices of the training images; a class that has too few of them repeats some."""
    order = torch.randperm(len(labels), generator=rng)
    if program.tail == 1 and not program.one_class:
        return order[: program.images]
    members = [order[labels[order] == c] for c in range(10)]
    index = [m[torch.arange(n) % len(m)] for m, n in zip(members, class_counts(program), strict=True)]
    index = torch.cat(index)
    return index[torch.randperm(len(index), generator=rng)]


def add_noise(inputs: Tensor, program: Program, rng: torch.Generator) -> Tensor:
    """Return training inputs with the program's noise, and with pixels that are missing."""
    if program.noise:
        inputs = inputs + program.noise * inputs.std() * torch.randn(inputs.shape, generator=rng)
    if program.salt:
        draw = torch.rand(inputs.shape, generator=rng) / program.salt
        inputs = torch.where(draw < 0.5, inputs.min(), torch.where(draw < 1, inputs.max(), inputs))
    if program.nan_images:
        inputs = inputs.clone()
        inputs[: program.nan_images, :, 14, 14] = math.nan
    return inputs


def relabel(labels: Tensor, program: Program, rng: torch.Generator) -> Tensor:
    others = {
        "right": labels,
        "permuted": labels[torch.randperm(len(labels), generator=rng)],
        "shifted by a row": labels.roll(1),
        "random": torch.randint(10, labels.shape, generator=rng),
        "one too high": (labels + 1) % 10,
    }
    return torch.where(torch.rand(len(labels), generator=rng) < program.wrong, others[program.labels], labels)


def make_constant(inputs: Tensor, program: Program) -> Tensor:
    if program.constant is None:
        return inputs
    image = torch.zeros_like(inputs[:1]) if program.constant == "zeros" else inputs[:1]
    return image.expand_as(inputs).clone()


@dataclass
class Prepared:
    """What a student's script holds before its loop. The doctor may be given `training` and `test`."""

    model: nn.Sequential
    loss_fn: Callable
    optimizer: optim.Optimizer
    training: tuple[Tensor, Tensor]  # inputs (N, C, H, W) and labels (N,), as the loop gets them
    test: tuple[Tensor, Tensor]  # as the program evaluates


def prepare(program: Program) -> Prepared:
    given, rng = data.load(program.data), torch.Generator().manual_seed(program.seed)
    index = choose_images(given.train_labels, program, rng)
    images, test_images = given.train_images[index] / 255, given.test_images[:TEST_IMAGES] / 255
    labels, test_labels = given.train_labels[index], given.test_labels[:TEST_IMAGES]
    mean, std = images.mean(), images.std()

    inputs = make_constant(PREPARATIONS[program.inputs](images, mean, std), program)
    inverted = program.test_inputs == "inverted"
    kind = program.inputs if inverted else program.test_inputs or program.inputs
    test = make_constant(PREPARATIONS[kind](1 - test_images if inverted else test_images, mean, std), program)
    training = add_noise(inputs, program, rng), relabel(labels, program, rng)

    torch.manual_seed(program.seed)
    model = build(program, images.shape[1:])
    if program.trained:
        before = train(replace(program, trained=False, frozen=None)).model
        model.load_state_dict(before.state_dict())
        layers_of(model)[-1].reset_parameters()
    optimizer = optimizer_of(model, program)
    return Prepared(model, loss_of(program), optimizer, training, (test, test_labels))


# ---- the loop


@dataclass
class Trained(Prepared):
    doctor: object = None
    losses: list[float] = field(default_factory=list)  # one for each batch
    accuracies: list[float] = field(default_factory=list)  # after each epoch, as the program measures it
    balanced: float = math.nan  # the last one, as the mean over classes


def no_doctor(model, loss_fn, optimizer):
    """Stand in for a doctor."""
    return contextlib.nullcontext(SimpleNamespace(loss_fn=loss_fn))


def train(program: Program, doctor: Callable = no_doctor) -> Trained:
    """Run a program, watched by `doctor(model, loss_fn, optimizer)`, a context manager that gives a `loss_fn`."""
    run = Trained(**vars(prepare(program)))
    torch.manual_seed(program.seed)
    with doctor(run.model, run.loss_fn, run.optimizer) as run.doctor:
        for _ in range(program.epochs):
            train_epoch(run, program)
            accuracy, run.balanced = evaluate(run.model, run.test, program)
            run.accuracies.append(accuracy)
    return run


def train_epoch(run: Trained, program: Program) -> None:
    (inputs, targets), model, optimizer = run.training, run.model, run.optimizer
    zero_every = program.zero_every * program.accumulate
    model.train()
    for index in order_of(targets, program).split(BATCH):
        number = len(run.losses)
        if program.warm_up or program.spike != 1:
            set_rate(optimizer, number, program)
        if zero_every and number % zero_every == 0:
            optimizer.zero_grad()
        loss = run.doctor.loss_fn(model(inputs[index]), targets[index])
        run.losses.append(loss.item())
        if program.penalty:
            loss = loss + program.penalty * sum(p.square().sum() for p in model.parameters())
        (loss / (-program.accumulate if program.minus == "backward" else program.accumulate)).backward()
        if program.clip:
            nn.utils.clip_grad_norm_(model.parameters(), program.clip)
        if program.step == "after zero_grad":
            optimizer.zero_grad()
        if program.step in ("each batch", "after zero_grad") and (number + 1) % program.accumulate == 0:
            optimizer.step()
    if program.step == "each epoch":
        optimizer.step()


def order_of(targets: Tensor, program: Program) -> Tensor:
    """Return the indices of an epoch's samples."""
    if program.chunk:
        chunks = torch.arange(len(targets)).split(program.chunk)
        return torch.cat([index[targets[index].argsort(stable=True)] for index in chunks])
    if program.balanced:
        return torch.multinomial((1 / targets.bincount())[targets], len(targets), replacement=True)
    return torch.randperm(len(targets))


def set_rate(optimizer: optim.Optimizer, number: int, program: Program) -> None:
    factor = min(1.0, (number + 1) / program.warm_up) if program.warm_up else 1.0
    factor *= program.spike if number in SPIKE_STEPS else 1
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


@torch.no_grad()
def evaluate(model: nn.Module, test: tuple[Tensor, Tensor], program: Program) -> tuple[float, float]:
    """Return the share of images that are classified rightly, of all and as the mean over classes."""
    model.train(program.evaluation == "train")
    outputs = torch.cat([model(x) for x in test[0].split(program.test_batch)])
    guesses = outputs.argmax(1) if program.outputs > 1 else outputs[:, 0].round()
    right = (guesses == test[1]).float()
    return right.mean().item(), torch.stack([right[test[1] == c].mean() for c in range(10)]).mean().item()
