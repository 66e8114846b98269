"""Checks of the data, before a model sees them."""

import math
from collections import Counter

import torch
from torch.nn.functional import one_hot

from doctor.checks.verdict import NotRun, Verdict, check, class_outputs, require, standard_errors, verdict
from doctor.records import record
from doctor.sandbox import quiet

NEIGHBORS = 2000  # samples among which neighbors are sought: the distances of all pairs take 16 MB


@check
def input_scale(model, data) -> Verdict:
    """Inputs are finite, differ from sample to sample, and have a root mean square near 1 where the first layer is.

    Number: that root mean square. Fires outside 0.003 ... 10: pixels from 0 to 255 have some 100, standardized ones 1;
    below is what was divided by 255 twice. Scaling in the model, or a first batch normalization, is taken into account.
    """
    require(data, floats=True)
    inputs, _ = data.sample()
    if not data.inputs.isfinite().all():
        return verdict(True, math.nan, "finite", "There are NaN or infinite values: mend these samples, or drop them.")
    if (inputs == inputs[0]).all():
        return verdict(True, 0, "samples that differ", "All inputs are the same: see how they are loaded.")
    layers = [row for row in record(quiet(model), inputs) if row.kind == "layer"]
    rms = layers[0].rms if layers else inputs.square().mean().sqrt().item()
    spread = f"From {inputs.min():.3g} to {inputs.max():.3g}, mean {inputs.mean():.3g}, std {inputs.std():.3g}"
    advice = f"{spread}: scale the inputs, to [0, 1] or to mean 0 and std 1."
    return verdict(not 0.003 < rms < 10, rms, "0.003 ... 10", advice, f"{spread}.")


@check
def label_range(model, data, loss_fn=None) -> Verdict:
    """Class indices lie in 0 ... C-1, C being the number of outputs. Number: the largest, or the one below 0.

    Those that `loss_fn` ignores are left out, as in all checks.
    """
    _, outputs = class_outputs(model, data)
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
    _, outputs = class_outputs(model, data)
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
    require(data, floats=True, classes=True)
    inputs, labels = data.sample(NEIGHBORS)
    if len(labels) < 200 or len(labels.unique()) < 2:
        raise NotRun("It needs at least 200 samples and two classes.")
    x = inputs.flatten(1) - inputs.flatten(1).mean(0)
    nearest = torch.cdist(x, x).fill_diagonal_(math.inf).argmin(1)
    half, products, targets = len(x) // 2, x @ x.T, one_hot(labels.long()).to(x)
    ridge = products[:half, :half] + 0.1 * products.diagonal().mean() * torch.eye(half).to(x)
    guesses = (products[half:, :half] @ torch.linalg.solve(ridge, targets[:half] - targets.mean(0))).argmax(1)
    excess = max(standard_errors(labels[nearest], labels), standard_errors(guesses, labels[half:]))
    advice = "The labels look shuffled: were inputs and labels permuted or filtered apart? Look at samples with labels."
    return verdict(not excess > 3, excess, "above 3 standard errors", advice)


@check
def duplicates(data) -> Verdict:
    """Test samples do not stand in the training set. Number: the share of those that do, bit for bit.

    Fires above 1 % (published sets have a few), if that is also more than twice the share of training samples with a
    twin: inputs of few possible values have twins everywhere.
    """
    require(data, test=True)
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
    require(data, floats=True, test=True)
    if min(len(data.inputs), len(data.test_inputs)) < 20:
        raise NotRun("It needs at least 20 samples of either.")
    (mean, std), (test_mean, test_std) = ((x.mean().item(), x.std().item()) for x in (data.inputs, data.test_inputs))
    alike = 0.5 * std < test_std < 2 * std and abs(test_mean - mean) < 0.5 * std
    found = f"Training inputs have mean {mean:.3g} and std {std:.3g}, test inputs {test_mean:.3g} and {test_std:.3g}"
    advice = f"{found}: prepare both alike, with the numbers of the training set, and drown neither in noise."
    return verdict(not alike, test_std / std if std else math.nan, "0.5 ... 2, means within half a std", advice)
