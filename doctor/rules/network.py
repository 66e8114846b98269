"""What happens in the network: activation functions, dropout, and what signals and gradients do on their way.

In sound networks of the development cases the signal grows at first at most 2.1 times up to the last layer, gradients
have norms up to 5, the first layer's at least 0.2 of the last's, and up to 28 % of a layer's outputs are at a bound.
"""

import math
from statistics import fmean, median

import torch
from torch import nn

from doctor import checks
from doctor.evidence import FASTER, PATIENCE, Evidence, NotRun, Symptom, fires
from doctor.records import Pass, Place
from doctor.rules.weights import DEAD
from doctor.watch import FIRST

GROWTH, LARGEST_GRADIENT, FADED = 30.0, 1000.0, 0.01
SATURATED = 0.5
SMALL_BATCH = 4
STALE = 0.1  # of the score


def no_nonlinearity(evidence: Evidence) -> Symptom | None:
    """No activation function was met, and the network is linear, too, for inputs drawn at random."""
    if len(evidence.used) > 1 and not evidence.first("activation"):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(16, *evidence.watch.shape, generator=generator)
        if fires(checks.nonlinearity(evidence.model, (inputs, torch.zeros(16, dtype=torch.long)))):
            text = f"{len(evidence.used)} layers and no activation function"
            return Symptom(text, 0, evidence.used[0], certain=True)


def saturated_activations(evidence: Evidence) -> Symptom | None:
    found = [place for place in evidence.first("activation") if place.saturated > SATURATED]
    if found:
        worst = max(found, key=lambda place: place.saturated)
        text = f"{worst.saturated:.0%} of the activations after {worst.layer} are at a bound"
        return Symptom(text, 0, worst.layer)


def exploding_gradient(evidence: Evidence) -> Symptom | None:
    gradients, layers = evidence.first_gradients, evidence.first("layer")
    if len(gradients) > 2 and layers and layers[0].rms:
        worst, largest = max(gradients, key=lambda pair: pair[1])
        growth = layers[-1].rms / layers[0].rms
        if growth > GROWTH or largest > LARGEST_GRADIENT:
            text = f"first gradients have norms up to {largest:.3g}; the signal grows {growth:.3g} times"
            return Symptom(text, 0, worst)


def vanishing_gradient(evidence: Evidence) -> Symptom | None:
    gradients = evidence.first_gradients
    if len(gradients) > 2 and gradients[0][1] < FADED * gradients[-1][1]:
        (layer, first), (_, last) = gradients[0], gradients[-1]
        return Symptom(f"the first gradient of {layer} is {first / last:.2g} of the last layer's", 0, layer)


def samples_mixed(evidence: Evidence) -> Symptom | None:
    """What a sample gets depends on the others: certain where the score hangs on the size of batches."""
    if text := evidence.samples_mix:
        worse = 0.0
        if evidence.interventions and not evidence.keeps_state:
            large, small = (evidence.interventions.score(None, size=size) for size in (1000, SMALL_BATCH))
            worse = abs(large - small)
            text += f"; the score is {large:.2f} in batches of 1,000 and {small:.2f} in batches of {SMALL_BATCH}"
        return Symptom(text, 0, certain=worse > STALE)


def batchnorm_small_batch(evidence: Evidence) -> Symptom | None:
    norms = [name for name, m in evidence.model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    sizes = [p.size for p in evidence.passes if p.size and p.training]
    if norms and sizes and median(sizes) <= SMALL_BATCH:
        return Symptom(f"{norms[0]} takes its averages over batches of {median(sizes):g}", 0, norms[0], needs=FASTER)


def batchnorm_stats_stale(evidence: Evidence) -> Symptom | None:
    """The model does far better with the statistics of a batch than with the running averages that evaluation uses."""
    norms = [name for name, m in evidence.model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        raise NotRun("The model has no batch norm.")
    used = {u.name for p in evidence.updated for u in p.updates if u.reached}
    for name, m in evidence.model.named_modules():
        never = name in norms and m.running_mean is not None and not m.running_mean.any()
        if never and f"{name}.weight" in used and evidence.steps >= PATIENCE:
            return Symptom(f"the running averages of {name} are those of the beginning", 0, name, certain=True)
    trials = evidence.experiments()
    own, by_batch = trials.score(None), trials.score(None, training=True)
    if by_batch > own + STALE:
        text = f"the score is {own:.2f} in evaluation mode and {by_batch:.2f} with the averages of each batch"
        return Symptom(text, 0, norms[0], certain=evidence.steps >= PATIENCE)


def dropout_too_high(evidence: Evidence) -> Symptom | None:
    modules = evidence.model.named_modules()
    drops = {name: m.p for name, m in modules if isinstance(m, nn.modules.dropout._DropoutNd)}
    if drops and max(drops.values()) > 0.5:
        name = max(drops, key=drops.get)
        return Symptom(f"dropout takes {drops[name]:.0%} away at {name}", 0, name, needs=FASTER)


def dead_relu(evidence: Evidence) -> Symptom | None:
    """Units of a layer were alive in the first pass and are dead in the last ones."""
    for place in evidence.first("activation"):
        last = fmean(dead_units(p, place) for p in evidence.passes[-FIRST:])
        if place.dead_units < 0.5 and last > DEAD:
            step = next(p.step for p in evidence.passes if dead_units(p, place) > DEAD)
            text = f"{place.dead_units:.0%} of the units after {place.layer} were dead at first, {last:.0%} at last"
            return Symptom(text, step, place.layer)


def dead_units(watched: Pass, like: Place) -> float:
    """Return the share of dead units at a place in another pass; NaN where that does not get there."""
    return next((p.dead_units for p in watched.places if (p.layer, p.place) == (like.layer, like.place)), math.nan)


def not_a_number(evidence: Evidence) -> Symptom | None:
    """The first number that is not finite, in the order input, place, loss, gradient."""
    found = next((found for p in evidence.passes if (found := first_not_finite(p))), None)
    if found and evidence.interventions and not evidence.interventions.finite:
        return Symptom("some inputs of the probe are not finite", found.step, certain=True)
    return found


def first_not_finite(p: Pass) -> Symptom | None:
    """Return the first of a pass's numbers that is not finite."""
    names = {"input": "the input", "output": "the output of the model"}
    for place in p.places:
        if not math.isfinite(place.rms):
            way = "goes" if place.kind == "layer" else "comes"
            what = names.get(place.kind, f"what {way} {place.place}")
            return Symptom(f"{what} is the first that is not finite", p.step, place.layer, place.kind == "input")
    if p.loss is not None and not math.isfinite(p.loss):
        return Symptom("the loss is the first that is not finite", p.step)
    for update in p.updates:
        if update.reached and not math.isfinite(update.gradient):
            return Symptom(f"the gradient of {update.name} is the first that is not finite", p.step, update.name)
