"""What is wrong with training programs, what mends it, and what looks odd and is sound.

A fault is a change of a Program at some severities, and so are a fix and an oddity. A new cause needs an entry in
FAULTS and one in FIXES; without the second the benchmark says that no fix of it is known. Nothing here knows what the
doctor does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from benchmarks.programs import NETWORKS, Program


def change(**fields) -> Callable:
    """Return a function that gives a program with other values; a value that is a function gets the old one."""
    return partial(apply_change, fields)


def apply_change(fields: dict, program: Program) -> Program:
    return replace(program, **{k: v(getattr(program, k)) if callable(v) else v for k, v in fields.items()})


def times(factor: float) -> Callable:
    return lambda value: value * factor


def rename(**names) -> Callable:
    """Return a function that gives a value's new name, `_` standing for a space, or the value itself."""
    return lambda value: {old.replace("_", " "): new for old, new in names.items()}.get(value, value)


@dataclass(frozen=True)
class Variant:
    """A change of a program: a fault at one of its severities, or an oddity.

    A program first gets the `sound` change, without which the fault would have no meaning. `where` gives the values of
    fields of the ordinary program with which it has one.
    """

    name: str
    change: Callable  # Program -> Program
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
    "layer-frozen": change(frozen=None, learns=rename(**{"last layer, others at rate 0": "all"})),
    "clip-too-tight": change(clip=None),
    "not-in-eval-mode": change(evaluation="eval"),
    "lr-too-high": change(rate=times(1 / 10)),
    "lr-too-low": change(rate=times(10)),
    "over-regularized": change(decay=times(1 / 100), penalty=times(1 / 100)),
    "softmax-before-loss": change(end=rename(softmax=None), loss=rename(cross_entropy_of_softmax="cross entropy")),
    "softmax-wrong-dim": change(
        end=rename(softmax_over_batch=None), loss=rename(cross_entropy_of_softmax_over_batch="cross entropy")
    ),
    "wrong-loss": change(loss="cross entropy", outputs=10),
    "loss-sign": change(minus=None),
    "loss-summed": change(loss=lambda name: name.removesuffix(", summed")),
    "symmetric-init": own_init,
    "init-too-large": own_init,
    "init-too-small": own_init,
    "dead-relu-at-init": own_init,
    "vanishing-gradient": change(activation=rename(sigmoid="relu")),
    "exploding-gradient": change(norm=True),
    "saturated-activations": own_init,
    "dead-relu": change(rate=times(1 / 10)),
    "no-nonlinearity": change(activation=lambda name: name or "relu"),
    "dropout-too-high": change(dropout=lambda p: min(p, 0.5)),
    "inputs-not-scaled": change(inputs="standardized"),
    "noisy-inputs": change(noise=0.0, salt=0.0),
    "constant-inputs": change(constant=None),
    "train-test-mismatch": change(test_inputs=None),
    "labels-shuffled": change(labels="right"),
    "label-noise": change(labels=rename(random="right", one_too_high="right")),
    "data-not-shuffled": change(chunk=0),
    "class-imbalance": change(balanced=True),
    "nan": change(
        nan_images=0,
        loss=rename(relative_entropy_by_hand="cross entropy"),
        activation=rename(root="relu"),
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
