"""Training programs as students write them, with every fault the doctor is to name, and sound ones that look odd.

A Program describes one by plain values, so that a fault, a fix and an oddity are other values of some fields.
`faulty_cases` and `healthy_cases` draw what the doctor is judged on, by the rule in doctor_rule.md. Nothing here knows
what the doctor does.
"""

import contextlib
import copy
import itertools
import math
import random
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
EXTRA_UNITS = 64  # of a layer that a program adds to its network
SPIKE_STEPS = range(20, 25)  # of a rate that is far too high for a moment

# ---- programs


@dataclass(frozen=True)
class Network:
    hidden: tuple[int, ...]
    activation: str = "relu"
    filters: tuple[int, ...] = ()
    size: int = 3  # of the filters
    pool: bool = False  # means of 2x2 after each convolution; else convolutions have strides of 2
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
FOR_CIFAR10 = 1 / 4  # of the rate of networks of ReLU, whose loss jumps else


@dataclass(frozen=True)
class Program:
    """A student's training program; the defaults are sound. `sound_program` gives those that hang on the network."""

    network: str
    data: str
    optimizer: str  # "sgd", "momentum" or "adam"
    seed: int  # of everything random
    rate: float
    # the model
    activation: str | None = "relu"
    norm: bool = False
    extra: int = 0  # hidden layers, after those of the network
    gain: float = 1.0  # by which each hidden activation is multiplied
    dropout: float = 0.0  # after each hidden layer
    outputs: int = 10
    end: str | None = None  # what follows the last layer
    # its first weights
    init: str = "default"  # PyTorch's, or one of INITS
    scale: float = 1.0  # by which all weights are multiplied
    bias: float | None = None  # of hidden layers
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
    labels: str = "right"  # or those of relabelled
    wrong: float = 1.0  # share of labels that are not right then


def sound_program(network: str, data: str, optimizer: str, seed: int) -> Program:
    """Return the ordinary program of a setting; both usual preparations occur."""
    own = {name: getattr(NETWORKS[network], name) for name in ("activation", "norm", "init")}
    inputs = "standardized" if seed % 2 else "unit"
    rate = RATES[network][optimizer] * (FOR_CIFAR10 if data == "CIFAR10" and own["activation"] == "relu" else 1)
    return Program(network, data, optimizer, seed, rate, inputs=inputs, **own)


def change(**fields) -> Callable:
    """Return a function that gives a program with other values; a value that is a function gets the old one."""
    return partial(changed, fields)


def changed(fields: dict, program: Program) -> Program:
    return replace(program, **{k: v(getattr(program, k)) if callable(v) else v for k, v in fields.items()})


def times(factor: float) -> Callable:
    return lambda value: value * factor


def renamed(**names) -> Callable:
    """Return a function that gives a value's new name, `_` standing for a space, or the value itself."""
    return lambda value: {old.replace("_", " "): new for old, new in names.items()}.get(value, value)


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
    return initialized(nn.Sequential(*layers), program)


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
    "last constant": partial(nn.init.constant_, val=0.02),  # of the last hidden layer and the one after it
    "zeros": nn.init.zeros_,
    "negative": lambda weight: weight.copy_(-weight.abs()),
}


@torch.no_grad()
def initialized(model: nn.Sequential, program: Program) -> nn.Sequential:
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

PREPARATIONS = {  # of pixels in [0, 1], with mean and std of those of the training set
    "unit": lambda x, mean, std: x,
    "standardized": lambda x, mean, std: (x - mean) / std,
    "bytes": lambda x, mean, std: x * 255,
    "divided twice": lambda x, mean, std: x / 255,
    "offset": lambda x, mean, std: (x - mean) / std + 30,
}


def class_counts(program: Program) -> list[int]:
    """Return how many images of each class there are; which class is common hangs on the seed."""
    shares = [program.tail ** (-c / 9) for c in range(10)]
    if program.one_class:
        shares = [program.one_class, *[(1 - program.one_class) / 9] * 9]
    shares = shares[-program.seed % 10 :] + shares[: -program.seed % 10]
    return [round(program.images * share / sum(shares)) for share in shares]


def chosen(labels: Tensor, program: Program, rng: torch.Generator) -> Tensor:
    """Return the indices of the training images; a class that has too few of them repeats some."""
    order = torch.randperm(len(labels), generator=rng)
    if program.tail == 1 and not program.one_class:
        return order[: program.images]
    members = [order[labels[order] == c] for c in range(10)]
    index = [m[torch.arange(n) % len(m)] for m, n in zip(members, class_counts(program), strict=True)]
    index = torch.cat(index)
    return index[torch.randperm(len(index), generator=rng)]


def spoiled(inputs: Tensor, program: Program, rng: torch.Generator) -> Tensor:
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


def relabelled(labels: Tensor, program: Program, rng: torch.Generator) -> Tensor:
    others = {
        "right": labels,
        "permuted": labels[torch.randperm(len(labels), generator=rng)],
        "shifted by a row": labels.roll(1),
        "random": torch.randint(10, labels.shape, generator=rng),
        "one too high": (labels + 1) % 10,
    }
    return torch.where(torch.rand(len(labels), generator=rng) < program.wrong, others[program.labels], labels)


def constant(inputs: Tensor, program: Program) -> Tensor:
    if program.constant is None:
        return inputs
    image = torch.zeros_like(inputs[:1]) if program.constant == "zeros" else inputs[:1]
    return image.expand_as(inputs).clone()


@dataclass
class Prepared:
    """What a student's script holds before its loop. The doctor may be given `training` and `test`, not `clean`."""

    model: nn.Sequential
    loss_fn: Callable
    optimizer: optim.Optimizer
    training: tuple[Tensor, Tensor]  # inputs (N, C, H, W) and labels (N,), as the loop gets them
    test: tuple[Tensor, Tensor]  # as the program evaluates
    clean: tuple[Tensor, Tensor]  # test data prepared as in training, without a fault


def prepare(program: Program) -> Prepared:
    given, rng = data.load(program.data), torch.Generator().manual_seed(program.seed)
    index = chosen(given.train_labels, program, rng)
    images, test_images = given.train_images[index] / 255, given.test_images[:TEST_IMAGES] / 255
    labels, test_labels = given.train_labels[index], given.test_labels[:TEST_IMAGES]
    mean, std = images.mean(), images.std()

    inputs = constant(PREPARATIONS[program.inputs](images, mean, std), program)
    clean = PREPARATIONS[program.inputs](test_images, mean, std)
    inverted = program.test_inputs == "inverted"
    kind = program.inputs if inverted else program.test_inputs or program.inputs
    test = constant(PREPARATIONS[kind](1 - test_images if inverted else test_images, mean, std), program)
    training = spoiled(inputs, program, rng), relabelled(labels, program, rng)

    torch.manual_seed(program.seed)
    model = build(program, images.shape[1:])
    if program.trained:
        before = train(replace(program, trained=False, frozen=None)).model
        model.load_state_dict(before.state_dict())
        layers_of(model)[-1].reset_parameters()
    optimizer = optimizer_of(model, program)
    return Prepared(model, loss_of(program), optimizer, training, (test, test_labels), (clean, test_labels))


# ---- the loop


@dataclass
class Trained(Prepared):
    doctor: object = None
    losses: list[float] = field(default_factory=list)  # of each batch
    accuracies: list[float] = field(default_factory=list)  # after each epoch, as the program measures it
    balanced: float = math.nan  # the last one, as the mean over classes


def alone(model, loss_fn, optimizer):
    """Stand in for a doctor."""
    return contextlib.nullcontext(SimpleNamespace(loss_fn=loss_fn))


def train(program: Program, doctor: Callable = alone) -> Trained:
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


# ---- faults


@dataclass(frozen=True)
class Variant:
    """A change of a program: a fault at one of its severities, or an oddity.

    A program first gets the `sound` change, without which the fault would have no meaning. `where` gives the values of
    fields of the ordinary program with which it has one.
    """

    name: str
    change: Callable  # of programs
    sound: Callable = change()  # noqa: RUF009 (a constant)
    where: dict[str, tuple] = field(default_factory=dict)

    def fits(self, program: Program) -> bool:
        return all(getattr(program, name) in values for name, values in self.where.items())


def severities(name: str, values: dict, **options) -> tuple[Variant, ...]:
    """Return a severity for each value of a field."""
    return tuple(Variant(severity, change(**{name: value}), **options) for severity, value in values.items())


def deep(layers: int) -> Callable:
    return change(extra=layers, init="suitable")


NO_ADAM = {"optimizer": ("sgd", "momentum")}  # Adam knows no scale of gradients
NO_NORM = {"norm": (False,)}  # batch norm undoes what scales the signal
WIDE = {"network": ("MLP 100-100", "MLP 256")}  # so that dropout leaves enough
UNIT = change(inputs="unit")  # inputs that are not negative, so that ReLUs can die
RELU, TANH = {"activation": ("relu",)}, {"activation": ("tanh",)}

FAULTS: dict[str, tuple[Variant, ...]] = {
    # ---- the loop
    "gradients-not-zeroed": severities("zero_every", {"never": 0, "every 20 steps": 20, "once an epoch": 157}),
    "no-optimizer-step": severities(
        "step", {"forgotten": "never", "after zero_grad": "after zero_grad", "outside of the loop": "each epoch"}
    ),
    "parameters-not-in-optimizer": severities(
        "learns", {"last layer only": "last layer", "first layer only": "first layer", "of a copy": "copy"}
    ),
    "layer-frozen": (
        Variant("requires_grad", change(frozen="requires_grad")),
        Variant("rate 0", change(learns="last layer, others at rate 0")),
        Variant("detach", change(frozen="detach")),
    ),
    "clip-too-tight": severities("clip", {"0.01": 0.01, "0.001": 0.001}, where=NO_ADAM),
    "not-in-eval-mode": (
        Variant("dropout 0.5", change(evaluation="train"), change(dropout=0.5)),
        Variant("dropout 0.7", change(evaluation="train"), change(dropout=0.7), WIDE),
        Variant("batch norm of 4", change(evaluation="train", test_batch=4), change(norm=True)),
    ),
    # ---- the optimizer
    "lr-too-high": severities("rate", {"x 30": times(30), "x 100": times(100), "x 1000": times(1000)}),
    "lr-too-low": severities("rate", {"/ 100": times(1e-2), "/ 1000": times(1e-3), "/ 10,000": times(1e-4)}),
    "over-regularized": (
        *severities("decay", {"decay 0.1": 0.1, "decay 1": 1.0}),
        Variant("penalty 0.1", change(penalty=0.1)),
    ),
    # ---- the loss
    "softmax-before-loss": (
        Variant("in the model", change(end="softmax")),
        Variant("in the loss", change(loss="cross entropy of softmax")),
    ),
    "softmax-wrong-dim": (
        Variant("in the model", change(end="softmax over batch")),
        Variant("in the loss", change(loss="cross entropy of softmax over batch")),
    ),
    "wrong-loss": (
        Variant("one output for the index", change(loss="squared error of index", outputs=1)),
        Variant("logits against the index", change(loss="squared error of index")),
        Variant("NLL of logits", change(loss="nll")),
    ),
    "loss-sign": severities("minus", {"in the loss": "loss", "at backward": "backward", "maximize": "maximize"}),
    "loss-summed": (
        Variant("cross-entropy", change(loss="cross entropy, summed"), where=NO_ADAM),
        Variant(
            "one against all",
            change(loss="one against all, summed"),
            change(loss="one against all", rate=times(4)),
            where=NO_ADAM,
        ),
    ),
    # ---- the first weights
    "symmetric-init": severities(
        "init", {"zeros": "zeros", "constant": "constant", "last layers constant": "last constant"}
    ),
    "init-too-large": severities("scale", {"x 10": 10.0, "x 30": 30.0, "x 100": 100.0}, where=NO_NORM),
    "init-too-small": severities("scale", {"x 0.1": 0.1, "x 0.03": 0.03, "x 0.01": 0.01}, where=NO_NORM),
    "dead-relu-at-init": (
        *severities("bias", {"biases -3": -3.0, "biases -10": -10.0}, where=RELU),
        Variant("negative weights", change(init="negative"), UNIT, RELU | NO_NORM),
    ),
    # ---- the network
    "vanishing-gradient": tuple(
        Variant(f"{k} layers of sigmoid", change(activation="sigmoid"), deep(k), NO_NORM) for k in (3, 5, 8)
    ),
    "exploding-gradient": (
        Variant("5 layers x 4", change(gain=4.0), deep(5), RELU | NO_NORM),
        Variant("8 layers x 3", change(gain=3.0), deep(8), RELU | NO_NORM),
        Variant("8 layers x 6", change(gain=6.0), deep(8), RELU | NO_NORM),
    ),
    "saturated-activations": (
        *severities("bias", {"biases 4": 4.0, "biases 6": 6.0}, where=TANH),
        Variant("steep", change(activation="steep tanh"), where=TANH),
    ),
    "dead-relu": (
        *severities("spike", {"rate x 100": 100.0, "rate x 300": 300.0}, sound=UNIT, where=RELU | NO_NORM | NO_ADAM),
        Variant("rate x 1000", change(spike=1000.0), UNIT, RELU | NO_NORM),
    ),
    "no-nonlinearity": (
        Variant("left out", change(activation=None)),
        Variant("left out, deep", change(activation=None), deep(3)),
    ),
    "dropout-too-high": severities("dropout", {"0.8": 0.8, "0.9": 0.9, "0.95": 0.95}),
    # ---- the data
    "inputs-not-scaled": severities(
        "inputs", {"0 to 255": "bytes", "divided twice": "divided twice", "offset": "offset"}
    ),
    "noisy-inputs": (
        *severities("noise", {"4 std": 4.0, "8 std": 8.0}),
        Variant("salt and pepper", change(salt=0.8)),
    ),
    "constant-inputs": severities("constant", {"zeros": "zeros", "first image": "first image"}),
    "train-test-mismatch": (
        *severities("test_inputs", {"0 to 255": "bytes", "inverted": "inverted"}),
        Variant("not standardized", change(test_inputs="unit"), change(inputs="standardized")),
    ),
    "labels-shuffled": severities("labels", {"permuted": "permuted", "shifted": "shifted by a row"}),
    "label-noise": (
        Variant("60 %", change(labels="random", wrong=0.6)),
        Variant("80 %", change(labels="random", wrong=0.8)),
        Variant("45 % one too high", change(labels="one too high", wrong=0.45)),
    ),
    "data-not-shuffled": severities("chunk", {"sorted": 10_000, "sorted by 2,000": 2_000}),
    "class-imbalance": (
        *severities("one_class", {"95 % one class": 0.95, "99 % one class": 0.99}),
        Variant("long tail", change(tail=100.0)),
    ),
    # ---- the symptom of last resort
    "nan": (
        Variant("pixels", change(nan_images=5)),
        Variant("0 log 0", change(loss="relative entropy by hand")),
        Variant("sqrt at 0", change(activation="root")),
    ),
}

# ---- what a student does who follows the text of CAUSES[cause].fix, whatever is wrong

own_init = change(init="suitable", scale=1.0, bias=None)

FIXES: dict[str, Callable] = {
    "gradients-not-zeroed": change(zero_every=1),
    "no-optimizer-step": change(step="each batch"),
    "parameters-not-in-optimizer": change(learns="all"),
    "layer-frozen": change(frozen=None, learns=renamed(**{"last layer, others at rate 0": "all"})),
    "clip-too-tight": change(clip=None),
    "not-in-eval-mode": change(evaluation="eval"),
    "lr-too-high": change(rate=times(1 / 10)),
    "lr-too-low": change(rate=times(10)),
    "over-regularized": change(decay=times(1 / 100), penalty=times(1 / 100)),
    "softmax-before-loss": change(end=renamed(softmax=None), loss=renamed(cross_entropy_of_softmax="cross entropy")),
    "softmax-wrong-dim": change(
        end=renamed(softmax_over_batch=None), loss=renamed(cross_entropy_of_softmax_over_batch="cross entropy")
    ),
    "wrong-loss": change(loss="cross entropy", outputs=10),
    "loss-sign": change(minus=None),
    "loss-summed": change(loss=lambda name: name.removesuffix(", summed")),
    "symmetric-init": own_init,
    "init-too-large": own_init,
    "init-too-small": own_init,
    "dead-relu-at-init": own_init,
    "vanishing-gradient": change(activation=renamed(sigmoid="relu"), norm=True),
    "exploding-gradient": change(init="suitable", norm=True),
    "saturated-activations": change(init="suitable", scale=1.0, bias=None, activation=renamed(steep_tanh="tanh")),
    "dead-relu": change(spike=1.0, activation=renamed(relu="leaky relu")),
    "no-nonlinearity": change(activation=lambda name: name or "relu"),
    "dropout-too-high": change(dropout=lambda p: min(p, 0.5)),
    "inputs-not-scaled": change(inputs="standardized"),
    "noisy-inputs": change(noise=0.0, salt=0.0),
    "constant-inputs": change(constant=None),
    "train-test-mismatch": change(test_inputs=None),
    "labels-shuffled": change(labels="right"),
    "label-noise": change(labels=renamed(random="right", one_too_high="right")),
    "data-not-shuffled": change(chunk=0),
    "class-imbalance": change(balanced=True),
    "nan": change(
        nan_images=0,
        loss=renamed(relative_entropy_by_hand="cross entropy"),
        activation=renamed(root="relu"),
    ),
}

# ---- what looks odd and is sound

SHALLOW = {"network": tuple(name for name in NETWORKS if name != "MLP 5x80")}

ODDITIES = (
    Variant("sparse ReLU", change(init="he", bias=-0.2), where=RELU | SHALLOW),
    Variant("high dropout", change(dropout=0.5, epochs=4), where=WIDE),
    Variant("large rate with momentum", change(rate=times(4)), where={"optimizer": ("momentum",)}),
    Variant("warm-up", change(warm_up=200, rate=times(2))),
    Variant("gradient accumulation", change(accumulate=4, rate=times(2), epochs=4)),
    Variant("log_softmax before cross-entropy", change(end="log softmax")),
    Variant("frozen backbone", change(trained=True, frozen="requires_grad")),
    Variant("deep tanh", change(activation="tanh", extra=6, init="suitable")),
    Variant("balanced sampling", change(tail=10.0, balanced=True)),
    Variant("small data", change(images=3_000, epochs=8)),
    Variant("batch norm", change(norm=True)),
    Variant("converged", change(epochs=8)),
)

# ---- the cases


@dataclass(frozen=True)
class Part:
    networks: tuple[str, ...]
    data: tuple[str, ...]
    seeds: range
    faulty: int  # cases
    healthy: int  # of each kind


OPTIMIZERS = ("sgd", "momentum", "adam")
DEVELOPED, HELD_OUT = tuple(NETWORKS)[:3], tuple(NETWORKS)[3:]
TWO, THREE = ("MNIST", "FashionMNIST"), ("MNIST", "FashionMNIST", "CIFAR10")
PARTS = {
    "development": Part(DEVELOPED, TWO, range(100), faulty=500, healthy=6),
    "held out": Part(HELD_OUT, THREE, range(1000, 1100), faulty=1000, healthy=13),
    "fresh": Part(HELD_OUT, THREE, range(2000, 2100), faulty=1000, healthy=13),  # should rules be changed later
}


@dataclass(frozen=True)
class Case:
    """A fault or an oddity in a setting, by plain values: `Case(**asdict(case))` is the same one."""

    cause: str | None  # None: healthy
    variant: str  # severity, or kind of oddity
    network: str
    data: str
    optimizer: str
    seed: int

    @property
    def sound(self) -> Program:
        """The program without the fault; of a healthy one, the ordinary program of its setting."""
        return self._variant.sound(sound_program(self.network, self.data, self.optimizer, self.seed))

    @property
    def program(self) -> Program:
        return self._variant.change(self.sound)

    @property
    def _variant(self) -> Variant:
        return next(v for v in (FAULTS[self.cause] if self.cause else ODDITIES) if v.name == self.variant)


def drawn(part: Part, number: int, count: int, cause: str | None, variant: Variant) -> list[Case]:
    """Return cases of a variant, the first settings that it fits in an order drawn by its number."""
    settings = list(itertools.product(part.networks, part.data, OPTIMIZERS, part.seeds))
    settings = random.Random(number).sample(settings, len(settings))
    fitting = (setting for setting in settings if variant.fits(sound_program(*setting)))
    return [Case(cause, variant.name, *setting) for setting in itertools.islice(fitting, count)]


def faulty_cases(part: str) -> list[Case]:
    """Return the faulty cases of "development", "held out" or "fresh", as doctor_rule.md draws them."""
    variants = [(cause, variant) for cause, severities in FAULTS.items() for variant in severities]
    each, more = divmod(PARTS[part].faulty, len(variants))
    draws = (drawn(PARTS[part], n, each + (n < more), *pair) for n, pair in enumerate(variants))
    return list(itertools.chain(*draws))


def healthy_cases(part: str) -> list[Case]:
    """Return the healthy cases of a part, as many of each oddity."""
    draws = (drawn(PARTS[part], n, PARTS[part].healthy, None, oddity) for n, oddity in enumerate(ODDITIES))
    return list(itertools.chain(*draws))
