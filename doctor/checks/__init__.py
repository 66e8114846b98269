"""One-shot checks of a model, its data and its loss: each is one call with a verdict, its number, and what to do.

    checks.run(model, loss_fn, (inputs, targets), optimizer)     # all of them, in the order of debugging
    checks.initial_loss(model, loss_fn, (inputs, targets))       # one of them

Give the model as it is before training. `data` is (inputs, targets), (inputs, targets, test_inputs, test_targets), or a
DataLoader, of which the first 10,000 samples are taken; classification with class indices is the main case.
A check "fires" where something is wrong, not where it is merely unusual: how often it does on sound models is measured
in benchmarks/checks_false_alarms.py. "passes" says only that this one thing is in order; "not run" comes with its
reason. All work on copies, with random numbers of their own: model, optimizer, gradients, modes, buffers and random
states of the caller stay as they are, and their hooks do not see the copies.
"""

import contextlib
import copy
import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from textwrap import fill, shorten

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from doctor.experiments import (
    BATCH,
    STEPS,
    Data,
    adam,
    copies,
    loss_of,
    ordinary_step,
    quiet,
    train,
    undisturbed,
    update_ratios,
)
from doctor.passes import record

NEIGHBOURS = 2000  # samples among which neighbours are sought: the distances of all pairs take 16 MB
TINY = 10  # samples to learn by heart; cs231n and Karpathy take 2 to 20
TINY_STEPS = 500  # in which that must be possible: half of sound models need 15 or fewer of Adam


# ---- what a check gives


@dataclass(frozen=True, repr=False)
class Verdict:
    """What one check found. `advice`: what to do if it fires, the reason if it was not run, else at most a remark."""

    check: str
    verdict: str  # "passes" | "fires" | "not run"
    number: float  # NaN if not run
    expected: str
    advice: str

    @property
    def fires(self) -> bool:
        return self.verdict == "fires"

    def __repr__(self) -> str:
        number = "" if self.verdict == "not run" else f": {self.number:.4g} (expected: {self.expected})"
        return fill(f"{self.check} {self.verdict}{number}. {self.advice}".strip(), 100, subsequent_indent="    ")


class Table(pd.DataFrame):
    """Verdicts, one a row, shown whole: pandas would cut off the long texts."""

    _constructor = property(lambda self: Table)

    def __repr__(self) -> str:
        if list(self.columns) != [field.name for field in fields(Verdict)]:
            return super().__repr__()
        return "\n".join(repr(Verdict(*row)) for row in self.itertuples(index=False))

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            html = self.to_html(index=False, na_rep="", float_format="{:.4g}".format, classes="checks")
        return f"<style>.checks th, .checks td {{text-align: left !important}}</style>{html}"


class NotRun(Exception):
    """The reason why a check cannot judge."""


CHECKS: dict[str, Callable[..., Verdict]] = {}  # in the order of debugging
REASONS = {  # why a check is not run without one of its arguments
    "optimizer": "It needs the optimizer.",
    "train_step": "It judges your own loop: give train_step(model, loss_fn, optimizer, inputs, targets).",
    "penalty": "It judges your own penalty(model, strength); an optimizer's weight decay does not show in the loss.",
}


def check(function: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Make `function` one of the checks: it then gets copies to work on, and what it raises becomes "not run"."""
    parameters, name = inspect.signature(function).parameters.items(), function.__name__.replace("_", " ")
    required = [key for key, parameter in parameters if parameter.default is parameter.empty]

    @functools.wraps(function)
    def judge(*args, **kwargs) -> Verdict:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        with undisturbed():
            if "data" in given:
                given["data"] = Data.of(given["data"], given.get("model"))
            try:
                for key in required:
                    if given[key] is None:
                        raise NotRun(REASONS[key])
                if "model" in given:
                    twins = copies(given["model"], given.get("optimizer"))
                    given |= {k: twin for k, twin in zip(("model", "optimizer"), twins, strict=True) if k in given}
                return replace(function(**given), check=name)
            except NotRun as reason:
                return Verdict(name, "not run", math.nan, "", str(reason))
            except Exception as error:  # whatever the model, the loss or the loop may raise
                line = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
                return Verdict(name, "not run", math.nan, "", f"It stopped with {line}")

    CHECKS[name] = judge
    return judge


def verdict(fires, number: float | Tensor, expected: str, advice: str, note: str = "") -> Verdict:
    """Return a Verdict with the advice if it fires, else with the note; `check` fills in its name."""
    return Verdict("", "fires" if fires else "passes", float(number), expected, advice if fires else note)


def run(model, loss_fn, data, optimizer=None, train_step=None, evaluate=None, penalty=None, only=None) -> Table:
    """Run all checks; return their verdicts, one row a check, in the order in which one would debug.

    `loss_fn(outputs, targets)` gives a tensor of one element. The rest is optional, and checks that need what is not
    given are "not run": the `optimizer` of the model's parameters; the student's own step
    `train_step(model, loss_fn, optimizer, inputs, targets)`, the ordinary one if None; their own
    `evaluate(model, inputs, targets)` -> number; and their own `penalty(model, strength)` -> tensor. `only`: the names
    of some checks, to run no others.
    Raises ValueError for data that are empty, or whose lengths differ.
    """
    with undisturbed():
        data = Data.of(data, model)
    given = {"model": model, "loss_fn": loss_fn, "data": data, "optimizer": optimizer}
    given |= {"train_step": train_step, "evaluate": evaluate, "penalty": penalty}
    chosen = CHECKS.values() if only is None else [CHECKS[name] for name in only]
    return Table([vars(one(**{key: given[key] for key in inspect.signature(one).parameters})) for one in chosen])


# ---- what several checks need


def _needs(data: Data, floats: bool = False, classes: bool = False, test: bool = False) -> None:
    targets = data.targets
    if floats and not data.inputs.is_floating_point():
        raise NotRun(f"It needs inputs of floating point numbers; these are {data.inputs.dtype}.")
    if classes and (targets.ndim != 1 or targets.is_floating_point() or targets.dtype == torch.bool):
        raise NotRun("It is for classification: one class index for each sample.")
    if test and data.test_inputs is None:
        raise NotRun("It needs test data: (inputs, targets, test_inputs, test_targets).")


def _with_either(model: nn.Module, optimizer, experiment) -> tuple[float, bool, str, str]:
    """Experiment with the given optimizer, if there is one, and where that only was too slow with Adam at 1e-3.

    `experiment(model, optimizer)` -> number, whether it succeeded, whether it did harm. Return the last number, whether
    that was a success, the numbers in words, and a remark on an optimizer that is slow.
    """
    attempts, found = [("Adam at rate 1e-3", copies(model)[0], None)], []
    if optimizer is not None:
        attempts.insert(0, ("your optimizer", *copies(model, optimizer)))
    for name, twin, its_optimizer in attempts:
        number, success, harm = experiment(twin, its_optimizer or adam(twin))
        found.append(f"{number:.3g} with {name}")
        if success or harm:
            break
    words = ", ".join(found)
    return number, success, words, f"The optimizer is slow: {words}." if len(found) > 1 else ""


def _class_outputs(model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
    """Return the labels (B,) of some samples and the outputs (B, C) for them; not for other kinds of targets."""
    _needs(data, classes=True)
    inputs, targets = data.sample()
    with torch.no_grad():
        outputs = quiet(model)(inputs)
    if outputs.ndim != 2 or len(outputs) != len(targets) or outputs.shape[1] < 2:
        raise NotRun(f"It needs outputs (B, C) with at least two classes, not {tuple(outputs.shape)}.")
    return targets, outputs


def _probabilities(outputs: Tensor) -> bool:
    """Whether the rows (B, C) are not negative and sum to 1."""
    return bool((outputs >= 0).all() and ((outputs.sum(1) - 1).abs() < 1e-3).all())


def _cooked_losses(loss_fn, outputs: Tensor, targets: Tensor) -> tuple[float, float, float]:
    """Return the losses of right, undecided and wrong predictions, in the form that the model's outputs (B, C) have.

    That is probabilities, or else log-probabilities, which will do as logits, too.
    """
    right = one_hot(targets.long(), outputs.shape[1]).to(outputs) * 10
    cooked = (z.log_softmax(1) for z in (right, 0 * right, right.roll(1, dims=1)))
    return tuple(float(loss_fn(z.exp() if _probabilities(outputs) else z, targets)) for z in cooked)


def _losses_in_order(loss_fn, outputs: Tensor, targets: Tensor) -> tuple[float, float, float]:
    """Return the cooked losses, but those of probabilities where only they grow from right to wrong.

    A squared error, for one, compares the outputs with ones and zeros.
    """
    forms = [_cooked_losses(loss_fn, like, targets) for like in (outputs, outputs.softmax(1))]
    return next((losses for losses in forms if losses[0] < losses[1] < losses[2]), forms[0])


# ---- the data


@check
def input_scale(model, data) -> Verdict:
    """Inputs are finite, differ from sample to sample, and have a root mean square near 1 where the first layer is.

    Number: that root mean square. Fires outside 0.003 ... 10: pixels from 0 to 255 have some 100, standardized ones 1;
    below is what was divided by 255 twice. Scaling in the model, or a first batch normalization, is taken into account.
    """
    _needs(data, floats=True)
    inputs, _ = data.sample()
    if not data.inputs.isfinite().all():
        return verdict(True, math.nan, "finite", "There are NaN or infinite values: mend these samples, or drop them.")
    if (inputs == inputs[0]).all():
        return verdict(True, 0, "samples that differ", "All inputs are the same: see how they are loaded.")
    layers = [row for row in record(quiet(model), inputs) if row["kind"] == "layer"]
    rms = layers[0]["rms"] if layers else inputs.square().mean().sqrt().item()
    spread = f"From {inputs.min():.3g} to {inputs.max():.3g}, mean {inputs.mean():.3g}, std {inputs.std():.3g}"
    advice = f"{spread}: scale the inputs, to [0, 1] or to mean 0 and std 1."
    return verdict(not 0.003 < rms < 10, rms, "0.003 ... 10", advice, f"{spread}.")


@check
def label_range(model, data) -> Verdict:
    """Class indices lie in 0 ... C-1, C being the number of outputs. Number: the largest, or the one below 0."""
    _, outputs = _class_outputs(model, data)
    low, high, classes = int(data.targets.min()), int(data.targets.max()), outputs.shape[1]
    unused = classes - len(data.targets.unique())
    advice = f"Labels go from {low} to {high}, with {classes} outputs: count classes from 0, and give each an output."
    note = f"{unused} of {classes} classes have no sample." if unused else ""
    return verdict(low < 0 or high >= classes, low if low < 0 else high, f"0 ... {classes - 1}", advice, note)


@check
def label_balance(model, loss_fn, data) -> Verdict:
    """The commonest class does not drown the rarest. Number: how many times more it weighs in the loss.

    That is samples times the weight that the loss gives to a sample, measured by its gradient. Fires from 10 on, an
    arbitrary bound, and where only one class occurs; a class with fewer than 5 samples counts as 5.
    """
    _, outputs = _class_outputs(model, data)
    labels, counts = data.targets.unique(return_counts=True)
    common, rare = counts.argmax(), counts.argmin()
    equal = torch.full_like(outputs[:2], -math.log(outputs.shape[1])).requires_grad_()
    (gradient,) = torch.autograd.grad(loss_fn(equal, torch.stack([labels[common], labels[rare]])), equal)
    weights = gradient.norm(dim=1)
    ratio = (counts[common] * weights[0] / (counts[rare].clamp(min=5) * weights[1])).item()
    found = f"Class {labels[common]} has {counts[common]} samples, class {labels[rare]} {counts[rare]}"
    advice = f"{found}: weight the loss, or draw rare classes more often, and judge the model class by class."
    return verdict(not ratio < 10 or len(labels) == 1, ratio, "below 10", advice)


@check
def labels_fit_inputs(data) -> Verdict:
    """Labels belong to their inputs: from inputs alone, labels are guessed better than by chance.

    Guessed twice: by the nearest other sample, and by a linear (ridge) classifier from the other half. Number: the
    better one's excess over shuffled labels in standard errors. Fires below 3. A relation that neither sees would fire.
    """
    _needs(data, floats=True, classes=True)
    inputs, labels = data.sample(NEIGHBOURS)
    if len(labels) < 200 or len(labels.unique()) < 2:
        raise NotRun("It needs at least 200 samples and two classes.")
    x = inputs.flatten(1) - inputs.flatten(1).mean(0)
    nearest = torch.cdist(x, x).fill_diagonal_(math.inf).argmin(1)
    half, products, targets = len(x) // 2, x @ x.T, one_hot(labels.long()).to(x)
    ridge = products[:half, :half] + 0.1 * products.diagonal().mean() * torch.eye(half).to(x)
    guesses = (products[half:, :half] @ torch.linalg.solve(ridge, targets[:half] - targets.mean(0))).argmax(1)
    excess = max(_excess(labels[nearest], labels), _excess(guesses, labels[half:]))
    advice = "The labels look shuffled: were inputs and labels permuted or filtered apart? Look at samples with labels."
    return verdict(not excess > 3, excess, "above 3 standard errors", advice)


def _excess(guesses: Tensor, labels: Tensor) -> float:
    """Return by how many standard errors guesses agree with labels more often than with shuffled ones."""
    chance = sum(((guesses == c).double().mean() * (labels == c).double().mean()).item() for c in labels.unique())
    agreement = (guesses == labels).double().mean().item()
    return (agreement - chance) / math.sqrt(max(chance * (1 - chance), 1e-12) / len(labels))


@check
def duplicates(data) -> Verdict:
    """Test samples do not stand in the training set. Number: the share of those that do, bit for bit.

    Fires above 1 % (published sets have a few), if that is also more than twice the share of training samples with a
    twin: inputs of few possible values have twins everywhere.
    """
    _needs(data, test=True)
    train, test = ([hash(row.tobytes()) for row in part.cpu().numpy()] for part in (data.inputs, data.test_inputs))
    counts = Counter(train)
    within = sum(count for count in counts.values() if count > 1) / len(train)
    share = sum(row in counts for row in test) / len(test)
    advice = "Test samples are among the training data, so that the test flatters: split anew, copies together."
    note = f"A share of {within:.2g} of the training samples has a twin among them." if within else ""
    return verdict(share > max(0.01, 2 * within), share, "at most 0.01", advice, note)


@check
def train_test_moments(data) -> Verdict:
    """Training and test inputs are scaled alike. Number: std of the test inputs / std of the training inputs.

    Fires outside 0.5 ... 2, or if the means differ by more than half a std: two samples of one source are nearer.
    """
    _needs(data, floats=True, test=True)
    if min(len(data.inputs), len(data.test_inputs)) < 20:
        raise NotRun("It needs at least 20 samples of either.")
    (mean, std), (test_mean, test_std) = ((x.mean().item(), x.std().item()) for x in (data.inputs, data.test_inputs))
    alike = 0.5 * std < test_std < 2 * std and abs(test_mean - mean) < 0.5 * std
    found = f"Training inputs have mean {mean:.3g} and std {std:.3g}, test inputs {test_mean:.3g} and {test_std:.3g}"
    advice = f"{found}: prepare both alike, with the numbers of the training set, and drown neither in noise."
    return verdict(not alike, test_std / std if std else math.nan, "0.5 ... 2, means within half a std", advice)


# ---- shapes


def shapes(model: nn.Module, inputs: Tensor) -> pd.DataFrame:
    """Return the way of at most eight inputs through the model: a row for each call of a module without children."""
    rows = []

    def note(name, module, args, output):
        sizes = [str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in (args[0], output)]
        rows.append((name, type(module).__name__, *sizes, sum(p.numel() for p in module.parameters())))

    with undisturbed(), torch.no_grad():
        twin, _ = copies(model)
        for name, module in twin.named_modules():
            if not any(module.children()):
                module.register_forward_hook(functools.partial(note, name))
        twin.eval()(inputs[:8].clone())
    return pd.DataFrame(rows, columns=["name", "module", "input", "output", "parameters"])


@check
def output_shape(model, data) -> Verdict:
    """Outputs have one row for each sample: (B, C) for class indices (B,), (B, C, ...) for (B, ...).

    Number: rows per sample. Fires as well where outputs (B, 1) meet other targets (B,), or the reverse: losses stretch
    both to (B, B). Other shapes of other targets are between the model and its loss.
    """
    inputs, targets = data.sample(7)
    with torch.no_grad():
        outputs = model.eval()(inputs)
    shape, wanted = tuple(outputs.shape), tuple(targets.shape)
    if targets.is_floating_point() or targets.dtype == torch.bool:
        fits = shape == wanted or outputs.numel() != targets.numel()
    else:
        fits = len(shape) > 1 and shape[:1] + shape[2:] == wanted
    found = f"{len(inputs)} samples with targets {wanted} give outputs {shape}"
    advice = f"{found}: find the layer with checks.shapes(model, inputs). flatten(1) keeps samples apart, view may not."
    return verdict(len(outputs) != len(inputs) or not fits, len(outputs) / len(inputs), "1, outputs (B, C)", advice)


@check
def samples_independent(model, data) -> Verdict:
    """In evaluation mode an output depends on its own sample only (Karpathy 2019).

    Number: the largest norm of d output_i / d input_j, j != i, over the largest with j = i. 0 but for rounding.
    """
    _needs(data, floats=True)
    inputs, _ = data.sample(8)
    outputs = _nudged(model).eval()(inputs.requires_grad_().clone())  # a model may change its input in place
    if len(outputs) != len(inputs) or len(inputs) < 2:
        raise NotRun("It needs at least two samples, and one output for each.")
    weighted = (outputs * torch.randn_like(outputs)).flatten(1).sum(1)  # the plain sum of probabilities is always 1
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    slopes = torch.stack([torch.autograd.grad(one, inputs, **options)[0].flatten(1).norm(dim=1) for one in weighted])
    own = slopes.diagonal().max().item()
    others = slopes.fill_diagonal_(0).max().item()
    if own == others == 0:
        raise NotRun("The outputs do not depend on the inputs at all.")
    advice = "Samples of a batch get mixed: look for a view, transpose or softmax over the wrong dimension."
    return verdict(others > 1e-6 * own, others / own if own else math.inf, "0", advice)


# ---- the model before training


@check
def loss_function(model, loss_fn, data) -> Verdict:
    """The loss likes cooked-up right predictions better than undecided ones, and these better than wrong ones.

    Either as log-probabilities or as probabilities. Number: the loss of right ones minus that of wrong ones. For class
    indices.
    """
    targets, outputs = _class_outputs(model, data)
    right, undecided, wrong = _losses_in_order(loss_fn, outputs, targets)
    found = f"Right predictions have loss {right:.3g}, undecided ones {undecided:.3g}, wrong ones {wrong:.3g}"
    advice = f"{found}: check its sign, and with which class it compares."
    return verdict(not right < undecided < wrong, right - wrong, "below 0", advice, f"{found}.")


@check
def loss_is_mean(model, loss_fn, data) -> Verdict:
    """The loss is a mean over the batch. Number: loss of a batch with its copy / loss of the batch; a sum gives 2."""
    inputs, targets = data.sample(BATCH)
    with torch.no_grad():
        outputs = quiet(model)(inputs)
    once, twice = (float(loss_fn(torch.cat([outputs] * k), torch.cat([targets] * k))) for k in (1, 2))
    if abs(once) < 1e-9:
        raise NotRun("The loss is 0.")
    advice = 'The loss is summed over the batch, so that steps grow with it: take the mean, reduction="mean".'
    return verdict(twice / once > 1.5, twice / once, "1", advice)


@check
def softmax_before_loss(model, loss_fn, data) -> Verdict:
    """The loss takes what the model gives: logits, log-probabilities or probabilities.

    Number: the loss of perfect outputs of the model's kind. If its rows are probabilities and cross-entropy applies
    softmax once more, that is ln(1 + (C-1)/e), 1.461 for ten classes, instead of 0. Fires where rows are probabilities
    and the number is off 0 by a tenth of the loss of guessing; log_softmax twice is harmless. For class indices.
    """
    targets, outputs = _class_outputs(model, data)
    right, undecided, _ = _cooked_losses(loss_fn, outputs, targets)
    fires = _probabilities(outputs) and abs(right) > 0.1 * abs(undecided)
    advice = "The model ends with softmax, but the loss expects logits or log-probabilities: drop the softmax."
    return verdict(fires, right, "about 0", advice)


@check
def initial_loss(model, loss_fn, data) -> Verdict:
    """Before training the loss is about that of equal outputs, ln C for cross-entropy (cs231n). Dropout is off.

    Number: the loss. Fires above three times that of equal outputs: logits of std 1 to 2, as He's weights give, are
    well below. A smaller loss means that the model has been trained. For class indices, and losses of probabilities.
    """
    targets, outputs = _class_outputs(model, data)
    right, equal, _ = _cooked_losses(loss_fn, outputs, targets)
    if not right < equal > 0:
        raise NotRun("What the loss of equal outputs is cannot be told: the loss takes no probabilities.")
    loss, classes = float(loss_fn(outputs, targets)), outputs.shape[1]
    expected = f"about {equal:.4g}" + f" = ln {classes}" * math.isclose(equal, math.log(classes), rel_tol=1e-3)
    advice = f"Outputs of std {outputs.std():.3g} are too large: scale the inputs, draw smaller weights (He, Xavier)."
    return verdict(not loss <= 3 * equal, loss, expected, advice, "It has been trained." if loss < 0.7 * equal else "")


@check
def regularization(model, penalty) -> Verdict:
    """More regularization raises the loss (cs231n), and pulls at the parameters.

    `penalty(model, strength)` is what is added to the loss. It must be 0 at strength 0, grow from there to 1 and to 2,
    and have a gradient. Number: the penalty at strength 1, of parameters that were moved a little, off 0.
    """
    _nudged(model)
    none, single, double = (torch.as_tensor(penalty(model, strength)) for strength in (0.0, 1.0, 2.0))
    parameters = [p for p in model.parameters() if p.requires_grad]
    pulls = torch.autograd.grad(single, parameters, allow_unused=True) if single.requires_grad else ()
    pulled = any(pull is not None and pull.any() for pull in pulls)
    found = f"At strengths 0, 1, 2 it is {none:.3g}, {single:.3g}, {double:.3g}, with{'' if pulled else 'out'} gradient"
    advice = f"{found}: check its sign and its factor, and that nothing is detached."
    return verdict(not (none == 0 < single < double and pulled), single.item(), "above 0; 0 at strength 0", advice)


def activations(model: nn.Module, inputs: Tensor) -> pd.DataFrame:
    """Return the distributions on the way of `inputs` through the model, a row for each place in the order of calls.

    A place is the input of a layer (linear, convolution, matrix product) or the output of an activation function, also
    where it is a plain function. `variation`: root mean square of the std over samples / that of the values, 0 where
    nothing depends on the input any more. `dead units`: share of units that are zero for all `inputs`.
    """
    with undisturbed():
        return pd.DataFrame(record(quiet(copies(model)[0]), inputs.clone()))


def _worst(model: nn.Module, data: Data, column: str) -> tuple[float, str]:
    """Return the largest value of a column of `activations` in the hidden activation functions, and its place."""
    rows = record(quiet(model), data.sample()[0])
    last = max((i for i, row in enumerate(rows) if row["kind"] == "layer"), default=len(rows))
    hidden = [row for row in rows[:last] if row["kind"] == "activation" and not math.isnan(row[column])]
    if not hidden:
        raise NotRun("It saw no hidden activation function of this kind.")
    worst = max(hidden, key=lambda row: row[column])
    return worst[column], worst["place"]


@check
def dead_units(model, data) -> Verdict:
    """Units answer to some input. Number: the share of units that are zero for all of 300 samples, in the worst layer.

    Fires above 0.8: sound models have up to two thirds. A unit of a feature map is a channel. A sparse layer, with most
    outputs zero but each unit active for some input, is no dead one (cs231n).
    """
    share, place = _worst(model, data, "dead units")
    advice = (
        f"Dead {place}, no gradient passes: check sign and scale of weights, biases and inputs; He's initialization."
    )
    return verdict(share > 0.8, share, "at most 0.8", advice)


@check
def saturation(model, data) -> Verdict:
    """Hidden sigmoid, tanh and softsign are not driven to their bounds.

    Number: the share of outputs within 5 % of the range from a bound, in the worst layer. Fires above three quarters;
    trained networks have up to one half.
    """
    share, place = _worst(model, data, "saturated")
    advice = f"At the bounds {place}, where slopes are nearly 0: scale the inputs, or draw smaller weights (Xavier)."
    return verdict(share > 0.75, share, "at most 0.75", advice)


@check
def signal(model, data) -> Verdict:
    """What reaches the last layer depends on the input. Number: its variation over samples / its root mean square.

    Fires below 1e-4. A factor of 1/4 per layer, the steepest slope of a sigmoid, gets there in seven layers.
    """
    layers = [row for row in record(quiet(model), data.sample()[0]) if row["kind"] == "layer"]
    if not layers:
        raise NotRun("It saw no layer.")
    advice = (
        "The last layer gets the same for every input: find where it is lost with checks.activations(model, inputs)."
    )
    return verdict(not layers[-1]["variation"] > 1e-4, layers[-1]["variation"], "above 1e-4", advice)


def _nudged(model: nn.Module) -> nn.Module:
    """Move the parameters a little, and return the model: off kinks (biases of 0), and off weights set to 0."""
    for parameter in model.parameters():
        parameter.data += 1e-3 * torch.randn_like(parameter)
    return model


@check
def nonlinearity(model, data) -> Verdict:
    """Two layers or more have a non-linearity between them, or they are no better than one.

    Number: |f(a+b) - f(a) - f(b) + f(0)| / |f(a) - f(0)| in evaluation mode, of logits up to a constant, so that a
    final softmax is looked through. Computed in float64; fires below 1e-9. A single layer passes.
    """
    _needs(data, floats=True)
    inputs, _ = data.sample(16)
    layers = sum(row["kind"] == "layer" for row in record(quiet(model), inputs))
    _nudged(model.double()).eval()

    def f(x):
        outputs = model(x).flatten(1)
        outputs = outputs.log() if _probabilities(outputs) else outputs
        return outputs - outputs.mean(1, keepdim=True) if outputs.shape[1] > 1 else outputs

    with torch.no_grad():
        a, b = inputs.double(), inputs.double().flip(0)
        zero = f(torch.zeros_like(a))
        bent, size = (f(a + b) - f(a) - f(b) + zero).norm().item(), (f(a) - zero).norm().item()
    if not size > 0:
        raise NotRun("The outputs do not depend on the inputs at all.")
    note = "One layer: a linear model." if layers < 2 else ""
    advice = f"{layers} layers make one linear model: put an activation function after each hidden one."
    return verdict(layers > 1 and bent < 1e-9 * size, bent / size, "above 1e-9", advice, note)


# ---- gradients


@check
def gradient_check(model, loss_fn, data) -> Verdict:
    """Gradients of autograd agree with differences (cs231n): float64, steps of 1e-6, training mode, fixed dropout.

    Of each parameter the coordinate with the largest gradient is compared, and others drawn at random, about 40 in all.
    Number: the largest |gradient - slope| / |gradient| of a parameter. Fires above 1e-2. At a kink (ReLU, max pooling)
    the slopes to either side differ, and gradients between them are right. Those below 1e-6 count as 1e-6: there
    rounding rules.
    """
    inputs, targets = (part.double() if part.is_floating_point() else part for part in data.sample(16))
    loss_fn = copy.deepcopy(loss_fn).double() if isinstance(loss_fn, nn.Module) else loss_fn  # class weights
    _nudged(model.double()).train()

    def loss():
        torch.manual_seed(0)  # the same dropout each time
        return loss_fn(model(inputs), targets)

    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    computed = torch.autograd.grad(loss(), list(named.values()), allow_unused=True, materialize_grads=True)
    errors = {}
    for (name, parameter), gradient in zip(named.items(), computed, strict=True):
        values, gradient = parameter.data.view(-1), gradient.flatten()
        places = [int(gradient.abs().argmax()), *torch.randint(len(values), (40 // len(named),)).tolist()]
        low, high = torch.tensor([_slopes(loss, values, i) for i in places]).to(gradient).T
        slope = gradient[places].clamp(low, high)
        size = max(slope.norm().item(), gradient[places].norm().item(), 1e-6)
        errors[name] = (gradient[places] - slope).norm().item() / size
    worst = max(errors, key=errors.get)
    advice = f"The gradient of {worst} is wrong: see what is by hand on its way (backward, detach, .data, no_grad)."
    return verdict(not errors[worst] <= 1e-2, errors[worst], "at most 1e-2", advice)


@torch.no_grad()
def _slopes(loss: Callable[[], Tensor], values: Tensor, i: int, step: float = 1e-6) -> list[float]:
    """Return the slopes of the loss in values[i] to either side, the smaller one first."""
    middle, losses = values[i].item(), []
    for shift in (-step, 0, step):
        values[i] = middle + shift
        losses.append(float(loss()))
    values[i] = middle
    return sorted([(losses[1] - losses[0]) / step, (losses[2] - losses[1]) / step])


def gradients(model: nn.Module, loss_fn, data) -> pd.DataFrame:
    """Return the norms of each weight with two or more dimensions and of its gradient on one batch, and their ratio.

    Taken after five steps of Adam on a copy: by then a layer that was set to zero on purpose lets gradients pass.
    """
    with undisturbed():
        data, (twin, _) = Data.of(data, model), copies(model)
        optimizer, rows = adam(quiet(twin)), []
        for inputs, targets in data.batches(6):
            weights = {name: p.detach().clone() for name, p in twin.named_parameters() if p.ndim > 1}
            ordinary_step(twin, loss_fn, optimizer, inputs, targets)
    for name, p in twin.named_parameters():
        if name in weights and p.grad is not None:
            rows.append((name, weights[name].norm().item(), p.grad.norm().item()))
    table = pd.DataFrame(rows, columns=["parameter", "weight", "gradient"])
    return table.assign(ratio=table.gradient / table.weight)


@check
def gradient_flow(model, loss_fn, data) -> Verdict:
    """Gradients reach all weights. Number: the smallest |gradient| / |weight| of a weight over the largest.

    Fires below 1e-5, or if one is not finite: sigmoids eight layers deep have 1e-7, sound networks 1e-3 and more.
    """
    table = gradients(model, loss_fn, data)
    if table.empty:
        raise NotRun("No weight with two dimensions gets a gradient.")
    low, high = table.ratio.min(skipna=False), table.ratio.max(skipna=False)
    spread = low / high if high else 0.0
    least = f"Least of the gradient reaches {table.parameter[table.ratio.argmin()]}"
    found = "Gradients are not finite" if math.isnan(spread) else least
    advice = f"{found}: see checks.gradients(model, loss_fn, data) layer by layer, and the activations before."
    return verdict(not spread > 1e-5, spread, "above 1e-5", advice)


@check
def eval_repeatable(model, data, evaluate=None) -> Verdict:
    """Two evaluations of the same batch agree: nothing is random, and nothing is learned from it.

    Number: the largest difference of outputs in evaluation mode, over their root mean square. Fires above 1e-4. With
    `evaluate` given, the difference of its numbers, starting in training mode; it must not change a buffer either.
    """
    inputs, targets = data.sample()
    buffers = [buffer.clone() for buffer in model.train().buffers()]
    evaluate = evaluate or (lambda model, inputs, targets: model.eval()(inputs))
    with torch.no_grad():
        first, second = (torch.as_tensor(evaluate(model, inputs, targets)).double() for _ in range(2))
    difference = (first - second).abs().max().item() / max(first.square().mean().sqrt().item(), 1e-12)
    learned = not all(map(torch.equal, buffers, model.buffers()))
    found = "Evaluations differ" + " and change running averages" * learned
    advice = f"{found}: call model.eval() before them; give functional dropout training=self.training."
    return verdict(learned or not difference <= 1e-4, difference, "0", advice)


# ---- the loop


@check
def parameters_move(model, loss_fn, data, optimizer, train_step=None) -> Verdict:
    """Every parameter that requires a gradient changes within five steps. Number: how many do not.

    A gradient that is mathematically zero, as of a bias before batch normalization, is no fault: below 1e-5 of the
    largest one it is taken for rounding.
    """
    step, largest = train_step or ordinary_step, {}
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for name, p in parameters.items():  # by hooks, as a loop may clear the gradients after its step
        p.register_hook(lambda g, name=name: largest.update({name: max(largest.get(name, 0), g.norm().item())}))
    model.train()
    for batch in data.batches(5):
        step(model, loss_fn, optimizer, *batch)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    stuck = []
    for name in (name for name, p in parameters.items() if torch.equal(p, before[name])):
        if id(parameters[name]) not in rates:
            stuck.append(f"{name} is not in the optimizer")
        elif name not in largest:
            stuck.append(f"{name} gets no gradient (not used, or detached)")
        elif rates[id(parameters[name])] == 0:
            stuck.append(f"{name} has learning rate 0")
        elif largest[name] == 0:
            stuck.append(f"{name} has gradient 0 (a dead path)")
        elif not largest[name] <= 1e-5 * max(largest.values()):
            stuck.append(f"{name} has a gradient, but does not change (no step(), or gradients cleared before it)")
    advice = "; ".join(stuck[:3]) + (f"; and {len(stuck) - 3} more." if len(stuck) > 3 else ".")
    frozen = sum(not p.requires_grad for p in model.parameters())
    return verdict(stuck, len(stuck), "0", advice, f"{frozen} parameters are frozen." if frozen else "")


@check
def gradients_zeroed(model, loss_fn, data, optimizer, train_step) -> Verdict:
    """The loop clears gradients between steps. Number: their largest norm when a backward pass begins after a step.

    Seen by a hook on the loss: at the forward pass it is too early, many loops clear after it.
    """
    stepped, left = [], []

    def at_backward(_):
        if stepped:  # gradients may be summed up over several passes for one step
            left.append(max((p.grad.norm().item() for p in model.parameters() if p.grad is not None), default=0.0))
            stepped.clear()

    def watched_loss(outputs, targets):
        loss = loss_fn(outputs, targets)
        loss.register_hook(at_backward)
        return loss

    optimizer.register_step_post_hook(lambda *_: stepped.append(True))
    model.train()
    for batch in data.batches(8):
        train_step(model, watched_loss, optimizer, *batch)
    if not left:
        raise NotRun("It saw no backward pass after a step: does train_step use the loss_fn and optimizer it is given?")
    return verdict(max(left) > 0, max(left), "0", "Gradients add up: call optimizer.zero_grad() in each step.")


@check
def update_ratio(model, loss_fn, data, optimizer, train_step=None) -> Verdict:
    """Steps are neither tiny nor wild (cs231n: about 1e-3). Number: median over weights of |real change| / |weight|.

    Taken over steps 11 to 20, when RMSprop's first long steps are over. Fires below 3e-6, as slow settings that learn
    have 1e-5; and if one of the first 20 steps was above 0.1 and the loss has not fallen after 60: weights that start
    at 0 have such steps, too.
    """
    step, ratios, sample = train_step or ordinary_step, [], data.sample()
    trained = [name for name, p in model.named_parameters() if p.ndim > 1 and p.requires_grad]
    if not trained:
        raise NotRun("No weight with two dimensions is trained.")
    start = loss_of(quiet(model), loss_fn, *sample)
    model.train()
    batches = next(data.rounds())
    for batch in batches[:20]:
        found = update_ratios(model, functools.partial(step, model, loss_fn, optimizer, *batch))
        ratios.append(np.median([found[name] for name in trained]))
    ratio, wild = float(np.median(ratios[10:])), not np.max(ratios) < 0.1
    if wild:  # at the edge of too high a rate the loss may rise first
        for batch in batches[20:]:
            step(model, loss_fn, optimizer, *batch)
        wild = not loss_of(quiet(model), loss_fn, *sample) < start
    advice = f"The learning rate is too {'high' if wild else 'low'}: change it tenfold, until this is near 1e-3."
    return verdict(wild or not ratio > 3e-6, ratio, "3e-6 ... 1e-1, best near 1e-3", advice)


# ---- short training experiments


@check
def overfit_tiny(model, loss_fn, data, optimizer=None) -> Verdict:
    """Ten samples can be learned by heart (cs231n, Karpathy), with the given optimizer or else with Adam at 1e-3.

    Without dropout and weight decay, within 500 steps. Number: the loss reached. The goal is a tenth of the way from
    perfect to undecided predictions; for other targets, a tenth of the first loss. Fires if neither gets there, or if
    the given optimizer makes the loss rise; one that is merely slow gives a remark. Inputs with d < 9 numbers: d + 1
    samples, so that a linear model can do it.
    """
    tiny = Data(*data.sample(min(TINY, 1 + data.inputs[0].numel())))
    start = loss_of(quiet(model), loss_fn, tiny.inputs, tiny.targets)
    try:
        targets, outputs = _class_outputs(model, tiny)
        right, undecided, _ = _losses_in_order(loss_fn, outputs, targets)
        goal = right + 0.1 * (undecided - right)
    except NotRun:
        goal = 0.1 * start

    def experiment(twin, optimizer):
        quiet(twin)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0
        for _ in range(TINY_STEPS):
            loss = ordinary_step(twin, loss_fn, optimizer, tiny.inputs, tiny.targets)
            if loss <= goal:
                break
        return loss, loss <= goal, not loss <= max(start, goal)

    loss, success, words, note = _with_either(model, optimizer, experiment)
    advice = f"The loss gets from {start:.3g} to {words}: " + (
        "lower the learning rate." if not loss <= start else "find the fault before you take more data."
    )
    return verdict(not success, loss, f"at most {goal:.2g}", advice, note)


@check
def zero_inputs(model, loss_fn, data) -> Verdict:
    """Real inputs are worth more than zeros (Karpathy): the loss after 60 steps of Adam on either, on copies.

    Up to 300 steps where they are not yet, and the data have as many batches. Number: the loss with real inputs / that
    with zeros. Fires above 0.99, unless classes are guessed better than by chance: large first outputs, which zeros do
    not give, take many steps to make up for.
    """
    _needs(data, floats=True)
    inputs, targets = data.sample()
    seeing, blind = (nn.Sequential(_Function(see), copies(model)[0]) for see in (lambda x: x, torch.zeros_like))
    optimizers = adam(seeing), adam(blind)
    for batches in data.rounds():
        losses = []
        for twin, optimizer in zip((seeing, blind), optimizers, strict=True):
            torch.manual_seed(0)  # the same dropout
            train(twin, loss_fn, optimizer, batches)
            losses.append(loss_of(quiet(twin), loss_fn, inputs, targets))
        real, zeros = losses
        better = zeros - real > 0.01 * abs(zeros)
        with contextlib.suppress(NotRun):
            labels, outputs = _class_outputs(seeing, data)
            better |= _excess(outputs.argmax(1), labels) > 3
        if better:
            break
    found = f"After training the loss is {real:.3g}, with zeros as inputs {zeros:.3g}"
    advice = f"{found}: inputs hold nothing, labels do not fit them, or nothing gets through the model."
    return verdict(not better, real / zeros if zeros else math.nan, "below 0.99", advice)


class _Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


@check
def train_eval_gap(model, loss_fn, data) -> Verdict:
    """Evaluation mode gives about the loss of training mode. Number: their difference after 60 steps of Adam on a copy.

    Training mode is without dropout. Fires above one half of the loss before training: then the running averages of
    batch normalization are not those of the batches.
    """
    sample = data.sample()
    start = loss_of(quiet(model), loss_fn, *sample)
    train(model, loss_fn, adam(model), next(data.rounds()))
    training, evaluation = (loss_of(mode(model), loss_fn, *sample) for mode in (quiet, nn.Module.eval))
    found = f"The loss is {training:.3g} in training mode, {evaluation:.3g} in evaluation mode"
    advice = f"{found}: see momentum and batch size of batch normalization, and what else asks for self.training."
    return verdict(not evaluation - training <= 0.5 * abs(start), evaluation - training, "about 0", advice)


def _top_shares(model: nn.Module, inputs: Tensor, k: int) -> Tensor:
    """Return for each class (C,) the share of samples that have it among their k most probable ones."""
    with torch.no_grad():
        outputs = quiet(model)(inputs)
    top = outputs.topk(min(k, outputs.shape[1]), dim=1).indices
    return one_hot(top, outputs.shape[1]).sum(1).double().mean(0)


def top_predictions(model, loss_fn, data, optimizer=None, k: int = 5, steps: int = STEPS) -> pd.DataFrame:
    """Return the share of samples that have a class among their k most probable ones: a table of steps x classes.

    It shifts before the first prediction does. A copy is trained; with Adam at 1e-3 if no optimizer is given.
    """
    with undisturbed():
        data, (twin, optimizer) = Data.of(data, model), copies(model, optimizer)
        optimizer, (inputs, _) = optimizer or adam(twin), data.sample()
        shares = [_top_shares(twin, inputs, k).tolist()]
        for batch in data.batches(steps):
            ordinary_step(twin.train(), loss_fn, optimizer, *batch)
            shares.append(_top_shares(twin, inputs, k).tolist())
    return pd.DataFrame(shares).rename_axis(index="step", columns="class")


@check
def label_frequency(model, loss_fn, data, optimizer=None) -> Verdict:
    """After a short training predictions do not fall on one class, unless labels do.

    60 steps with the given optimizer or else with Adam at 1e-3, up to 300 where that is too few and the data have as
    many batches. Number: the share of the most frequent prediction. Fires above 0.95, where the most frequent label has
    less than 0.8, with both; or with the given one, if the loss rises. One that is merely slow gives a remark.
    """
    _class_outputs(model, data)
    sample, commonest = data.sample(), data.targets.unique(return_counts=True)[1].max().item() / len(data.targets)

    def experiment(twin, optimizer):
        start = loss_of(quiet(twin), loss_fn, *sample)
        for batches in data.rounds():
            train(twin, loss_fn, optimizer, batches)
            share = _top_shares(twin, sample[0], 1).max().item()
            if share <= 0.95 or commonest >= 0.8:
                return share, True, False
        return share, False, not loss_of(quiet(twin), loss_fn, *sample) <= start + 0.01 * abs(start)

    share, success, words, note = _with_either(model, optimizer, experiment)
    found = f"The most frequent prediction has the share {words}, the most frequent label {commonest:.2g}"
    advice = f"{found}: dead or saturated units, a learning rate too high, or labels that do not fit."
    return verdict(not success, share, "at most 0.95", advice, note)
