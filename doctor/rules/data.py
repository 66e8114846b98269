"""What the data are: inputs and labels as the loop sees them, and the probe and test data looked at as a whole."""

import math
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from doctor import checks
from doctor.changes import REFERENCE
from doctor.evidence import CLASSES, FASTER, GAIN, Evidence, NotRun, Symptom, fires, is_float, often
from doctor.measure import by_class, class_labels
from doctor.sandbox import Data, copies, undisturbed
from doctor.watch import FIRST

DROWNS = 0.3  # of the labels, of one class
ROUGHER = 1.15  # photographs are half as rough, and noise as rough
DRIFT = 2.0  # times the size of the first inputs


def constant_inputs(evidence: Evidence) -> Symptom | None:
    rms = [place.rms for place in evidence.inputs if not math.isnan(place.rms)]
    if rms and max(rms) == 0:
        return Symptom("all inputs are 0", 0, certain=True)
    variations = [place.variation for place in evidence.inputs if not math.isnan(place.variation)]
    sizes = [p.size for p in evidence.passes if p.size is not None]
    if variations and max(variations) < 1e-3 and sizes and min(sizes) > 1:
        return Symptom("all samples of a batch are the same", 0, certain=True)


def data_not_shuffled(evidence: Evidence) -> Symptom | None:
    """Batches are far more of one class than all labels together, and than batches drawn at random are.

    It is certain where the most frequent class stays the same from batch to batch, as in sorted data: batches of few
    classes may be drawn on purpose.
    """
    passes = evidence.passes_with(lambda p: p.label_share, CLASSES)
    counts = np.array(list(evidence.class_counts.values()))
    share, whole = fmean(p.label_share for p in passes), counts.max() / counts.sum()
    if share > max(whole + 0.3, share_by_chance(counts, len(passes))):
        step = passes[min(len(passes) - 1, 1)].step
        text = f"{share:.0%} of a batch have the same label, of all labels {whole:.0%}"
        sorted_ = often(a.label == b.label for a, b in pairwise(passes)) and not evidence.adversarial
        return Symptom(text, step, certain=sorted_)


def share_by_chance(counts: np.ndarray, batches: int) -> float:
    """Return the most frequent label's share, on average over batches drawn at random, plus four standard errors."""
    size = max(1, round(counts.sum() / batches))
    shares = np.random.default_rng(0).multinomial(size, counts / counts.sum(), 1000).max(1) / size
    return shares.mean() + 4 * shares.std() / math.sqrt(batches)


def class_imbalance(evidence: Evidence) -> Symptom | None:
    labels = evidence.class_counts
    total = sum(labels.values())
    if total >= 500 and len(labels) == 1 and evidence.width > 1:
        return Symptom(f"all {total} labels are {next(iter(labels))}", 0, certain=True)
    if total >= 500 and max(labels.values()) > max(10 * min(labels.values()), DROWNS * total):
        most = max(labels, key=labels.get)
        guessed = fmean(p.guess_share for p in evidence.passes_with(lambda p: p.guess_share, CLASSES)[-FIRST:])
        text = f"{labels[most] / total:.0%} of the labels are {most}; {guessed:.0%} of the predictions one class"
        dense = evidence.interventions and class_labels(evidence.interventions.train.targets) is None
        neglected = evidence.interventions and neglects_classes(evidence)
        if neglected or not dense:
            return Symptom(text, 0, needs=FASTER if dense else 2 * GAIN if neglected else None)


def neglects_classes(evidence: Evidence) -> bool:
    """Tell whether the model predicts a class less than a tenth as often as it comes: more is a matter of taste."""
    trials = evidence.experiments()
    outputs, labels = by_class(trials.outputs(None, trials.held), trials.held.targets)
    guesses, counts = (part.bincount(minlength=outputs.shape[1]) for part in (outputs.argmax(1), labels))
    return bool((10 * guesses < counts).any())


def inputs_not_scaled(evidence: Evidence) -> Symptom | None:
    """Inputs of sound programs have an rms of 0.3 (pixels in [0, 1]) to 1 (standardized)."""
    first = max(evidence.inputs_of(evidence.passes[0]), key=lambda place: place.rms)
    if evidence.watch.first_inputs is not None and not is_float(evidence.watch.first_inputs):
        raise NotRun("It judges amounts, not indices.")
    if not 0.05 < first.rms < 8 or abs(first.mean) > 4 * first.std:
        text = f"inputs have mean {first.mean:.3g} and std {first.std:.3g}"
        return Symptom(text, 0, evidence.used[0] if evidence.used else "")


def targets_not_scaled(evidence: Evidence) -> Symptom | None:
    """Targets of a regression are far from what a fresh network gives: numbers around 0 of size 1."""
    outputs, targets = (torch.cat([part.flatten() for part in parts]) for parts in zip(*evidence.pairs, strict=True))
    if not is_float(targets) or outputs.shape != targets.shape or ((targets == 0) | (targets == 1)).all():
        raise NotRun("It judges targets like the outputs.")
    mean, std = targets.mean().item(), targets.std().item()
    if std > 30 or 0 < std < 0.01 or abs(mean) > max(30.0, 10 * std):
        return Symptom(f"targets have mean {mean:.3g} and std {std:.3g}", 0)


def axes_scrambled(evidence: Evidence) -> Symptom | None:
    """Images (N, C, H, W) are smoother where their numbers are taken for (N, H, W, C)."""
    images = evidence.watch.first_inputs
    if images is None or images.ndim != 4 or images.shape[1] not in (3, 4):
        raise NotRun("It judges color images.")
    n, c, h, w = images.shape
    given, swapped = (roughness(x) for x in (images, images.reshape(n, h, w, c).permute(0, 3, 1, 2)))
    if given > ROUGHER * swapped:
        text = f"neighboring pixels differ by {given:.2g} of what independent ones do, with the last axis for colors by"
        return Symptom(f"{text} {swapped:.2g}", 0, certain=True)


def inputs_drift(evidence: Evidence) -> Symptom | None:
    """The size of the inputs is another one at the end than at the beginning, by more than batches differ."""
    rms = [place.rms for place in evidence.inputs if place.rms > 0]
    if len(rms) < 4 * FIRST:
        raise NotRun("It needs more passes.")
    part = max(FIRST, len(rms) // 10)
    first, last = rms[:part], rms[-part:]
    if max(first) < 3 * min(first) and (min(last) > DRIFT * max(first) or max(last) * DRIFT < min(first)):
        text = f"the rms of the inputs goes from {fmean(first):.3g} to {fmean(last):.3g}"
        return Symptom(text, 0, certain=not max(first) / 100 < fmean(last) < 100 * max(first))


def repeated_samples(evidence: Evidence) -> Symptom | None:
    """Samples of the probe are copies of each other, or the loop gets far fewer batches than the probe has."""
    rms, sizes = [place.rms for place in evidence.inputs], [p.size for p in evidence.passes if p.size]
    batches = len(set(rms))
    trials = evidence.experiments()
    inputs, size = trials.train.inputs, max(sizes, default=1)
    different = len(inputs.flatten(1).unique(dim=0)) if is_float(inputs) else len(inputs)
    text = ""
    if different < len(inputs) / 2:
        text = f"only {different} of {len(inputs)} samples are different"
    elif len(rms) > 4 * batches and batches * size < len(inputs) / 2:
        text = f"{len(rms)} passes had only {batches} different batches of {size}"
    if text:
        return worse_on_test(evidence, text) if evidence.test else Symptom(text, 0)


def worse_on_test(evidence: Evidence, text: str, points: float = 0.1) -> Symptom:
    """Return a symptom that is certain where the model scores less on test data, by more than `points`."""
    own, other = (evidence.interventions.score(None, on=data) for data in (evidence.interventions.held, evidence.test))
    text += f"; the model scores {own:.2f} on such samples, {other:.2f} on test data"
    return Symptom(text, 0, certain=own > other + points)


def padding_not_masked(evidence: Evidence) -> Symptom | None:
    """Sequences end in many equal entries, and outputs change with their number; or the loss counts them."""
    inputs = evidence.watch.first_inputs
    if inputs is None or inputs.ndim not in (2, 3) or (inputs.ndim == 2 and is_float(inputs)):
        raise NotRun("It judges sequences.")
    end = inputs[:, -1:]
    padding = (inputs == end).flip(1).cumprod(1).flip(1)
    padding = padding.amin(2) if padding.ndim > 2 else padding
    share = padding.float().mean().item()
    if share < 0.3 or not torch.equal(end, end[:1].expand_as(end)) or padding.float().mean(1).std() < 0.05:
        return None
    targets = evidence.watch.first_targets
    targets = targets[: len(inputs)] if isinstance(targets, Tensor) and targets.ndim == 2 else inputs[:0]
    if targets.shape == inputs.shape and not {*targets[padding.bool()].tolist()} & {*evidence.untaught}:
        return Symptom(f"{share:.0%} of the positions are padding, and the loss counts them", 0)
    model, few = copies(evidence.model)[0].eval(), inputs[padding.sum(1) > 1]
    with undisturbed():
        longer = torch.cat([few, few[:, -1:].expand(-1, few.shape[1], *few.shape[2:])], 1)
        short, long = model(few), model(longer)
        if not isinstance(short, Tensor) or short.shape != long.shape:
            raise NotRun("It judges one output for each sequence.")
        change = ((short - long).norm() / (short - short.mean(0)).norm().clamp(min=1e-12)).item()
    if change > 0.3:
        text = f"{share:.0%} of the positions are padding, and with more of it outputs change by {change:.0%}"
        return Symptom(text, 0)


def target_leak(evidence: Evidence) -> Symptom | None:
    """A column of the inputs tells the targets of the training data, and unseen ones far worse.

    Or the targets are the next inputs, and the model sees them.
    """
    if sees_next(evidence):
        return Symptom("the output at a place depends on the next input, which is its target", 0, certain=True)
    trials = evidence.experiments(test=True)
    if trials.train.inputs.ndim != 2 or not is_float(trials.train.inputs) or trials.train.inputs.shape[1] < 2:
        raise NotRun("It judges tables.")
    here, there = (correlations(data) for data in (trials.train, evidence.test))
    worst = (here - there).argmax().item()
    if here[worst] > 0.7 and here[worst] > there[worst] + 0.3:
        text = f"column {worst} has a correlation of {here[worst]:.2f} with the targets"
        return worse_on_test(evidence, f"{text}, {there[worst]:.2f} in test data")


def sees_next(evidence: Evidence) -> bool:
    """Tell whether targets are the inputs (B, T, ...) one place on, and outputs (B, T, ...) depend on later inputs."""
    inputs, targets = evidence.watch.first_inputs, evidence.watch.first_targets
    if inputs is None or inputs.ndim < 2 or inputs.shape[1] < 3 or not isinstance(targets, Tensor):
        return False
    following, size = inputs[:, 1:], inputs[0, 0].numel()
    fits = [n for n in (inputs.shape[1] - 1, inputs.shape[1]) if targets.numel() % (n * size) == 0]
    rows = [targets.reshape(-1, n, *inputs.shape[2:])[: len(inputs), : following.shape[1]] for n in fits]
    if not any(torch.equal(part, following) for part in rows):
        return False
    other = inputs.clone()
    other[:, -1] = inputs[:, -1].roll(1, 0)
    found = []
    for x in (inputs, other):
        with undisturbed(), torch.no_grad():  # each with the same random numbers
            outputs = copies(evidence.model)[0].eval()(x)
        found.append(outputs[0] if isinstance(outputs, tuple) else outputs)
    first, second = (o.movedim(1, -1) if o.ndim == 3 and o.shape[1] != inputs.shape[1] else o for o in found)
    return first.shape[:2] == inputs.shape[:2] and not torch.allclose(first[:, :-1], second[:, :-1], 1e-3, 1e-4)


def correlations(data: Data) -> Tensor:
    """Return the size of the correlation of each column with the targets, which are numbers."""
    targets = data.targets.float().reshape(len(data.targets), -1)
    if targets.shape[1] != 1:
        raise NotRun("It judges one number for each sample.")
    columns, targets = (part - part.mean(0) for part in (data.inputs.float(), targets))
    return ((columns * targets).sum(0) / (columns.norm(dim=0) * targets.norm()).clamp(min=1e-12)).abs()


def noisy_inputs(evidence: Evidence) -> Symptom | None:
    rough = roughness(evidence.experiments().train.inputs)
    test = roughness(evidence.test.inputs) if evidence.test else 0.3
    if rough > test + 0.2:
        text = f"neighboring pixels differ by {rough:.2g} of what independent ones do"
        text += f", in the test data by {test:.2g}" if evidence.test else ""
        return Symptom(text, 0, certain=bool(evidence.test))


def roughness(images: Tensor) -> float:
    """Return how far neighbors in a row differ, 1 for noise, 0 for a plain area."""
    if images.ndim != 4 or images.shape[-1] < 4 or not images.is_floating_point():
        raise NotRun("It judges images, float (N, C, H, W).")
    difference = (images[..., 1:] - images[..., :-1]).square().mean().sqrt()
    return (difference / (math.sqrt(2) * images.std().clamp(min=1e-30))).item()


def labels_shuffled(evidence: Evidence) -> Symptom | None:
    """Neighbors' labels tell nothing, and a training learns from them no more than from permuted ones."""
    trials, labels = evidence.experiments(), evidence.class_counts
    if max(labels.values()) > 0.9 * sum(labels.values()):
        raise NotRun("Nearly all labels are the same.")
    if fires(checks.labels_fit_inputs(trials.train)):
        given, permuted = (trials.score(replace(REFERENCE, samples=samples)) for samples in ("own", "permuted"))
        text = f"inputs tell labels by chance only; a training reaches {given:.0%}, with permuted labels {permuted:.0%}"
        return Symptom(text, 0, certain=given < permuted + 0.05)


def data_mispaired(evidence: Evidence) -> Symptom | None:
    """Little is learned, and a training of a copy learns from pairs no more than from permuted ones."""
    trials = evidence.experiments()
    if class_labels(trials.train.targets) is not None:
        raise NotRun("labels-shuffled judges classes.")
    if not evidence.impaired:
        return None
    given, permuted = (trials.score(replace(REFERENCE, samples=samples)) for samples in ("own", "permuted"))
    if given < permuted + 0.05 and often(ratio > 0 for ratio in evidence.step_ratios):  # else the network is dead
        return Symptom(f"a training reaches a score of {given:.2f}, with permuted targets of {permuted:.2f}", 0)


def label_noise(evidence: Evidence) -> Symptom | None:
    """Neighbors among the training data agree with test labels more often than with training labels."""
    trials = evidence.experiments(test=True)
    test = Data(*(part[: len(trials.held.inputs)] for part in evidence.test[:2]))
    if other_shares(trials.train, test):
        raise NotRun("Classes have other shares in the test data.")
    own, other = agreement(trials.train, trials.held), agreement(trials.train, test)
    error = math.sqrt(own * (1 - own) / len(trials.held.inputs) + other * (1 - other) / len(test.inputs))
    if other - own > max(0.05, 4 * error):
        text = f"neighbors agree with {own:.0%} of training labels and {other:.0%} of test labels"
        return Symptom(text, 0, certain=True)


def other_shares(data: Data, test: Data) -> bool:
    """Tell whether a class is more frequent in one than in the other, by a tenth of all samples."""
    labels = [part for d in (data, test) if (part := class_labels(d.targets)) is not None]
    shares = [part.bincount(minlength=2) / len(part) for part in labels]
    return len(shares) == 2 and (len(shares[0]) != len(shares[1]) or (shares[0] - shares[1]).abs().max() > 0.1)


def agreement(data: Data, queries: Data, k: int = 10) -> float:
    """Return the share of labels that the majority of the k nearest training samples has, too."""
    labels, wanted = class_labels(data.targets), class_labels(queries.targets)
    if labels is None or wanted is None:
        raise NotRun("It judges class indices.")
    distances = torch.cdist(queries.inputs.flatten(1).float(), data.inputs.flatten(1).float())
    nearest = labels[distances.topk(min(k, len(labels)), largest=False).indices]
    return (nearest.mode(1).values == wanted).float().mean().item()
