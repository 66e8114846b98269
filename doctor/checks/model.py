"""Checks of the model before training: shapes, signals, and what it does with a batch."""

import functools
import math

import torch
from torch import Tensor, nn

from doctor.checks.verdict import NotRun, Verdict, are_probabilities, check, nudged, require, verdict
from doctor.records import record
from doctor.sandbox import Data, copies, quiet, undisturbed


def shapes(model: nn.Module, inputs: Tensor):
    """Return the way of at most eight inputs through the model: a row for each call of a module without children."""
    import pandas as pd

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
    require(data, floats=True)
    inputs, _ = data.sample(8)
    outputs = nudged(model).eval()(inputs.requires_grad_().clone())  # a model may change its input in place
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


def activations(model: nn.Module, inputs: Tensor):
    """Return the distributions on the way of `inputs` through the model, a row for each place in the order of calls.

    A place is the input of a layer (linear, convolution, matrix product) or the output of an activation function, also
    where it is a plain function; doctor.records.Place says what is measured there.
    """
    import pandas as pd

    with undisturbed():
        return pd.DataFrame(map(vars, record(quiet(copies(model)[0]), inputs.clone())))


def _worst(model: nn.Module, data: Data, column: str) -> tuple[float, str]:
    """Return the largest value of a field of `activations` in the hidden activation functions, and its place."""
    rows = record(quiet(model), data.sample()[0])
    last = max((i for i, row in enumerate(rows) if row.kind == "layer"), default=len(rows))
    hidden = [row for row in rows[:last] if row.kind == "activation" and not math.isnan(getattr(row, column))]
    if not hidden:
        raise NotRun("It saw no hidden activation function of this kind.")
    worst = max(hidden, key=lambda row: getattr(row, column))
    return getattr(worst, column), worst.place


@check
def dead_units(model, data) -> Verdict:
    """Units answer to some input. Number: the share of units that are zero for all of 300 samples, in the worst layer.

    Fires above 0.8: sound models have up to two thirds. A unit of a feature map is a channel. A sparse layer, with most
    outputs zero but each unit active for some input, is no dead one (cs231n).
    """
    share, place = _worst(model, data, "dead_units")
    remedy = "check sign and scale of weights, biases and inputs; He's initialization."
    return verdict(share > 0.8, share, "at most 0.8", f"Dead {place}, no gradient passes: {remedy}")


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
    layers = [row for row in record(quiet(model), data.sample()[0]) if row.kind == "layer"]
    if not layers:
        raise NotRun("It saw no layer.")
    variation, remedy = layers[-1].variation, "find where it is lost with checks.activations(model, inputs)."
    advice = f"The last layer gets the same for every input: {remedy}"
    return verdict(not variation > 1e-4, variation, "above 1e-4", advice)


@check
def nonlinearity(model, data) -> Verdict:
    """Two layers or more have a non-linearity between them, or they are no better than one.

    Number: |f(a+b) - f(a) - f(b) + f(0)| / |f(a) - f(0)| in evaluation mode, of logits up to a constant, so that a
    final softmax is looked through. Computed in float64; fires below 1e-9. A single layer passes.
    """
    require(data, floats=True)
    inputs, _ = data.sample(16)
    layers = sum(row.kind == "layer" for row in record(quiet(model), inputs))
    nudged(model.double()).eval()

    def f(x):
        outputs = model(x).flatten(1)
        outputs = outputs.log() if are_probabilities(outputs) else outputs
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
