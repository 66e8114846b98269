"""Checks of the training loop, and short trainings of copies."""

import contextlib
import math

import numpy as np
import torch
from torch import Tensor, nn

from doctor.checks.loss import losses_in_order
from doctor.checks.verdict import NotRun, Verdict, check, class_outputs, require, standard_errors, verdict
from doctor.sandbox import Data, adam, copies, loss_of, ordinary_step, quiet, train, update_ratios

TINY = 10  # samples to learn by heart; cs231n and Karpathy take 2 to 20
TINY_STEPS = 500  # in which that must be possible: half of sound models need 15 or fewer of Adam


@check
def parameters_move(model, loss_fn, data, optimizer, train_step=None) -> Verdict:
    """Every parameter that requires a gradient changes within five steps. Number: how many do not.

    A gradient below 1e-5 of the largest is taken for rounding: that of a bias before batch normalization is really 0.
    """
    parameters, largest = {name: p for name, p in model.named_parameters() if p.requires_grad}, {}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for name, p in parameters.items():  # by hooks, as a loop may clear the gradients after its step
        p.register_hook(lambda g, name=name: largest.update({name: max(largest.get(name, 0), g.norm().item())}))
    train(model, loss_fn, optimizer, data.batches(5), train_step or ordinary_step)
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

    A hook on the loss looks: the forward pass would be too early, as many loops clear after it.
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
    train(model, watched_loss, optimizer, data.batches(8), train_step)
    if not left:
        raise NotRun("It saw no backward pass after a step: does train_step use the loss_fn and optimizer it is given?")
    return verdict(max(left) > 0, max(left), "0", "Gradients add up: call optimizer.zero_grad() in each step.")


@check
def update_ratio(model, loss_fn, data, optimizer, train_step=None) -> Verdict:
    """Steps are neither tiny nor wild (cs231n: about 1e-3). Number: median over weights of |real change| / |weight|.

    Taken over steps 11 to 20, after RMSprop's first long ones. Fires below 3e-6 (slow settings that learn have 1e-5),
    and if one of the first 20 steps was above 0.1 and the loss has not fallen after 60: weights of 0 start so, too.
    """
    step, ratios, sample = train_step or ordinary_step, [], data.sample()
    trained = [name for name, p in model.named_parameters() if p.ndim > 1 and p.requires_grad]
    if not trained:
        raise NotRun("No weight with two dimensions is trained.")
    start = loss_of(quiet(model), loss_fn, *sample)
    model.train()
    batches = next(data.rounds())
    for batch in batches[:20]:
        found = update_ratios(model, lambda batch=batch: step(model, loss_fn, optimizer, *batch))
        ratios.append(np.median([found[name] for name in trained]))
    ratio, wild = float(np.median(ratios[10:])), not np.max(ratios) < 0.1
    if wild:  # at the edge of too high a rate the loss may rise first
        for batch in batches[20:]:
            step(model, loss_fn, optimizer, *batch)
        wild = not loss_of(quiet(model), loss_fn, *sample) < start
    advice = f"The learning rate is too {'high' if wild else 'low'}: change it tenfold, until this is near 1e-3."
    return verdict(wild or not ratio > 3e-6, ratio, "3e-6 ... 1e-1, best near 1e-3", advice)


def try_optimizers(model: nn.Module, optimizer, experiment, rates=(1e-3,)) -> tuple[float, bool, str, str]:
    """Experiment with the given optimizer, if there is one, and where that only was too slow with Adam at `rates`.

    `experiment(model, optimizer)` -> number, success, harm. Return the last number and success, the numbers in words,
    and a remark on an optimizer that is slow.
    """
    attempts, found = [("your optimizer", *copies(model, optimizer))] if optimizer is not None else [], []
    for rate in rates:
        twin, _ = copies(model)
        attempts.append((f"Adam at rate {rate:g}", twin, adam(twin, rate)))
    for name, twin, its_optimizer in attempts:
        number, success, harm = experiment(twin, its_optimizer)
        found.append(f"{number:.3g} with {name}")
        if success or harm:
            break
    words = ", ".join(found)
    return number, success, words, f"The optimizer is slow: {words}." if len(found) > 1 else ""


@check
def overfit_tiny(model, loss_fn, data, optimizer=None) -> Verdict:
    """Ten samples can be learned by heart (cs231n, Karpathy), with the given optimizer, or with Adam at 1e-3 or 0.1.

    Without dropout and weight decay, within 500 steps. Number: the loss reached. The goal is a tenth of the way from
    perfect to undecided predictions; for other targets, a tenth of the first loss. Fires if none gets there, or if
    the given optimizer makes the loss rise. Inputs of d < 9 numbers: d + 1 samples, which a linear model can learn.
    """
    tiny = Data(*data.sample(min(TINY, 1 + data.inputs[0].numel())))
    start = loss_of(quiet(model), loss_fn, tiny.inputs, tiny.targets)
    try:
        targets, outputs = class_outputs(model, tiny)
        right, undecided, _ = losses_in_order(loss_fn, outputs, targets)
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

    loss, success, words, note = try_optimizers(model, optimizer, experiment, rates=(1e-3, 0.1))
    remedy = "find the fault before you take more data" if loss <= start else "lower the learning rate"
    advice = f"The loss gets from {start:.3g} to {words}: {remedy}."
    return verdict(not success, loss, f"at most {goal:.2g}", advice, note)


def guesses(model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
    """Return guessed and true classes (B,) of some samples, also of 0.0 and 1.0; raises NotRun for other targets."""
    if data.targets.is_floating_point() and data.targets.unique().tolist() == [0, 1]:
        inputs, labels = data.sample()
        with torch.no_grad():
            outputs = quiet(model)(inputs)
        if outputs.shape == labels.shape:
            return (outputs > outputs.median(0).values).flatten().long(), labels.flatten().long()
    labels, outputs = class_outputs(model, data)
    return outputs.argmax(1), labels


@check
def zero_inputs(model, loss_fn, data) -> Verdict:
    """Real inputs are worth more than zeros (Karpathy): the loss after 60 steps of Adam on either, on copies.

    Up to 300 steps where they are not yet, and the data have as many batches; then at rate 0.1, judged on samples that
    were not trained on. Number: the loss with real inputs / that with zeros. Fires above 0.99, unless classes are
    guessed better than by chance: large first outputs cost many steps.
    """
    require(data, floats=True)
    half = len(data.inputs) // 2
    parts = (Data(*(part[k::2] for part in data[:2])) for k in (0, 1)) if half > 100 else (data, data)
    for training, judging, rate in ((data, data, 1e-3), (*parts, 0.1)):
        better, real, zeros = compare_with_zeros(model, loss_fn, training, judging, rate)
        if better:
            break
    found = f"After training the loss is {real:.3g}, with zeros as inputs {zeros:.3g}"
    advice = f"{found}: inputs hold nothing, labels do not fit them, or nothing gets through the model."
    return verdict(not better, real / zeros if zeros else math.nan, "below 0.99", advice)


def compare_with_zeros(model, loss_fn, training: Data, judging: Data, rate: float) -> tuple[bool, float, float]:
    """Return whether a copy that sees inputs does better than one that sees zeros, and the losses of the two."""
    inputs, targets = judging.sample()
    (seeing, _), (blind, _) = copies(model), copies(model)
    trials = (seeing, adam(seeing, rate), lambda x: x), (blind, adam(blind, rate), torch.zeros_like)
    for batches in training.rounds():
        losses = []
        for twin, optimizer, view in trials:
            torch.manual_seed(0)  # the same dropout
            train(twin, loss_fn, optimizer, ((view(x), y) for x, y in batches))
            losses.append(loss_of(quiet(twin), loss_fn, view(inputs), targets))
        real, zeros = losses
        better = zeros - real > 0.01 * abs(zeros)
        with contextlib.suppress(NotRun):
            better |= standard_errors(*guesses(seeing, judging)) > 3
        if better:
            break
    return better, real, zeros


@check
def train_eval_gap(model, loss_fn, data) -> Verdict:
    """Evaluation mode gives about the loss of training mode. Number: their difference after 60 steps of Adam on a copy.

    Training mode is without dropout. Fires above half the loss before training: running averages are then far off.
    """
    sample = data.sample()
    start = loss_of(quiet(model), loss_fn, *sample)
    train(model, loss_fn, adam(model), next(data.rounds()))
    training, evaluation = (loss_of(mode(model), loss_fn, *sample) for mode in (quiet, nn.Module.eval))
    found = f"The loss is {training:.3g} in training mode, {evaluation:.3g} in evaluation mode"
    advice = f"{found}: see momentum and batch size of batch normalization, and what else asks for self.training."
    return verdict(not evaluation - training <= 0.5 * abs(start), evaluation - training, "about 0", advice)


@check
def label_frequency(model, loss_fn, data, optimizer=None) -> Verdict:
    """After a short training predictions do not fall on one class, unless labels do.

    60 steps, up to 300 where that is too few and the data have as many batches. Number: the share of the most frequent
    prediction. Fires above 0.95, where the most frequent label has less than 0.8, with the given optimizer and with
    Adam at 1e-3; or with the given one alone, if the loss rises.
    """
    class_outputs(model, data)
    sample = data.sample()

    def commonest(labels: Tensor) -> float:
        return labels.unique(return_counts=True)[1].max().item() / len(labels)

    def experiment(twin, optimizer):
        start = loss_of(quiet(twin), loss_fn, *sample)
        for batches in data.rounds():
            train(twin, loss_fn, optimizer, batches)
            with torch.no_grad():
                share = commonest(quiet(twin)(sample[0]).argmax(1))
            if share <= 0.95 or commonest(data.targets) >= 0.8:
                return share, True, False
        return share, False, not loss_of(quiet(twin), loss_fn, *sample) <= start + 0.01 * abs(start)

    share, success, words, note = try_optimizers(model, optimizer, experiment)
    found = f"The most frequent prediction has the share {words}, the most frequent label {commonest(data.targets):.2g}"
    advice = f"{found}: dead or saturated units, a learning rate too high, or labels that do not fit."
    return verdict(not success, share, "at most 0.95", advice, note)
