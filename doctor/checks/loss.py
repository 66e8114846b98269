"""Checks of the loss, and of the gradients that come from it."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.overrides import TorchFunctionMode

from doctor.checks.verdict import NotRun, Verdict, are_probabilities, check, class_outputs, nudged, verdict
from doctor.sandbox import BATCH, Data, adam, copies, ordinary_step, quiet, undisturbed


def losses_of_made_up(loss_fn, outputs: Tensor, targets: Tensor) -> tuple[float, float, float]:
    """Return the losses of right, undecided and wrong predictions: probabilities if outputs (B, C) are, or logits."""
    right = one_hot(targets.long(), outputs.shape[1]).to(outputs) * 10
    made_up = (z.log_softmax(1) for z in (right, 0 * right, right.roll(1, dims=1)))
    return tuple(float(loss_fn(z.exp() if are_probabilities(outputs) else z, targets)) for z in made_up)


def losses_in_order(loss_fn, outputs: Tensor, targets: Tensor) -> tuple[float, float, float]:
    """Return losses of made-up predictions, as probabilities where only those are in order, as for a squared error."""
    forms = [losses_of_made_up(loss_fn, like, targets) for like in (outputs, outputs.softmax(1))]
    return next((losses for losses in forms if losses[0] < losses[1] < losses[2]), forms[0])


@check
def loss_function(model, loss_fn, data) -> Verdict:
    """Made-up right predictions have a smaller loss than undecided ones, and these a smaller one than wrong ones.

    As log-probabilities or as probabilities of classes. Number: the loss of right ones minus that of wrong ones.
    """
    targets, outputs = class_outputs(model, data)
    right, undecided, wrong = losses_in_order(loss_fn, outputs, targets)
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
    targets, outputs = class_outputs(model, data)
    right, undecided, _ = losses_of_made_up(loss_fn, outputs, targets)
    fires = are_probabilities(outputs) and abs(right) > 0.1 * abs(undecided)
    advice = "The model ends with softmax, but the loss expects logits or log-probabilities: drop the softmax."
    return verdict(fires, right, "about 0", advice)


@check
def initial_loss(model, loss_fn, data) -> Verdict:
    """Before training the loss is about that of equal outputs, ln C for cross-entropy (cs231n). Dropout is off.

    Number: the loss. Fires above three times that of equal outputs: logits of std 1 to 2, as He's weights give, are
    well below. A smaller loss means that the model has been trained. For class indices, and losses of probabilities.
    """
    targets, outputs = class_outputs(model, data)
    right, equal, _ = losses_of_made_up(loss_fn, outputs, targets)
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
    nudged(model)
    none, single, double = (torch.as_tensor(penalty(model, strength)) for strength in (0.0, 1.0, 2.0))
    parameters = [p for p in model.parameters() if p.requires_grad]
    pulls = torch.autograd.grad(single, parameters, allow_unused=True) if single.requires_grad else ()
    pulled = any(pull is not None and pull.any() for pull in pulls)
    found = f"At strengths 0, 1, 2 it is {none:.3g}, {single:.3g}, {double:.3g}, with{'' if pulled else 'out'} gradient"
    advice = f"{found}: check its sign and its factor, and that nothing is detached."
    return verdict(not (none == 0 < single < double and pulled), single.item(), "above 0; 0 at strength 0", advice)


@check
def gradient_check(model, loss_fn, data) -> Verdict:
    """Gradients of autograd agree with differences (cs231n): float64, steps of 1e-6, training mode, fixed dropout.

    Of each parameter the coordinate with the largest gradient is compared, and others drawn at random, about 40 in all.
    Number: the largest |gradient - slope| / |gradient| of a parameter. Fires above 1e-2. At a kink (ReLU, max pooling)
    the slopes to either side differ, and gradients between them are right. Below 1e-6 rounding rules: 1e-6 is taken.
    In evaluation mode where each pass changes the next one, as with spectral norm.
    """
    inputs, targets = (part.double() if part.is_floating_point() else part for part in data.sample(16))
    loss_fn = copy.deepcopy(loss_fn).double() if isinstance(loss_fn, nn.Module) else loss_fn  # class weights
    nudged(model.double()).train()

    def loss():
        torch.manual_seed(0)  # the same dropout each time
        return loss_fn(model(inputs), targets)

    with _Precision() as precision:
        alike = torch.isclose(loss(), loss(), rtol=1e-9)
        if not alike:
            model.eval()
            alike = torch.isclose(loss(), loss(), rtol=1e-9)
    if precision.coarse or not alike:
        reason = f"The model computes in {precision.coarse} on its way" if alike else "No two passes give the same loss"
        raise NotRun(f"{reason}: differences cannot tell the gradient.")
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


class _Precision(TorchFunctionMode):
    """Notes a type coarser than float64 in which something with a gradient is computed."""

    coarse: torch.dtype | None = None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and output.requires_grad and output.dtype not in (torch.double, torch.cdouble):
            self.coarse = output.dtype
        return output


@torch.no_grad()
def _slopes(loss, values: Tensor, i: int, step: float = 1e-6) -> list[float]:
    """Return the slopes of the loss in values[i] to either side, the smaller one first."""
    middle, losses = values[i].item(), []
    for shift in (-step, 0, step):
        values[i] = middle + shift
        losses.append(float(loss()))
    values[i] = middle
    return sorted([(losses[1] - losses[0]) / step, (losses[2] - losses[1]) / step])


def weight_gradients(model: nn.Module, loss_fn, data: Data) -> list[tuple[str, float, float]]:
    """Return name, norm and norm of the gradient of each weight with two or more dimensions, on one batch.

    Taken after five steps of Adam: by then a layer that was set to zero on purpose lets gradients pass.
    """
    optimizer = adam(quiet(model))
    for batch in data.batches(6):
        weights = {name: (p, p.norm().item()) for name, p in model.named_parameters() if p.ndim > 1}
        ordinary_step(model, loss_fn, optimizer, *batch)
    return [(name, norm, p.grad.norm().item()) for name, (p, norm) in weights.items() if p.grad is not None]


def gradients(model: nn.Module, loss_fn, data):
    """Return the norms of each weight and its gradient after five steps of a copy, and their ratio, as a table."""
    import pandas as pd

    with undisturbed():
        rows = weight_gradients(copies(model)[0], loss_fn, Data.of(data, model))
    table = pd.DataFrame(rows, columns=["parameter", "weight", "gradient"])
    return table.assign(ratio=table.gradient / table.weight)


@check
def gradient_flow(model, loss_fn, data) -> Verdict:
    """Gradients reach all weights. Number: the smallest |gradient| / |weight| of a weight over the largest.

    Fires below 1e-5, or if one is not finite: sigmoids eight layers deep have 1e-7, sound networks 1e-3 and more.
    """
    rows = weight_gradients(model, loss_fn, data)
    if not rows:
        raise NotRun("No weight with two dimensions gets a gradient.")
    norms = torch.tensor([row[1:] for row in rows], dtype=torch.float64)
    ratios = norms[:, 1] / norms[:, 0]
    low, high = ratios.aminmax()
    spread = (low / high).item() if high else 0.0
    least = f"Least of the gradient reaches {rows[ratios.argmin()][0]}"
    found = "Gradients are not finite" if math.isnan(spread) else least
    advice = f"{found}: see checks.gradients(model, loss_fn, data) layer by layer, and the activations before."
    return verdict(not spread > 1e-5, spread, "above 1e-5", advice)
