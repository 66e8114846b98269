"""What the optimizer does: the length of its steps, clipping, and the decay of weights."""

import math
from statistics import fmean, median

from doctor.evidence import FASTER, LOSS, MEANT, Evidence, NotRun, Symptom, often, total_norm
from doctor.records import Pass
from doctor.watch import FIRST

LARGE_STEP = 0.01  # of the weights: ten times the usual (Karpathy); below it a larger rate is tried, above a smaller
HUGE_STEP, LEAP = 0.1, 100.0  # of the weights; of the loss: no sound program takes these
SHORT, TINY_STEP = 2e-3, 3e-4  # of the weights: nine of ten sound programs take longer steps; hardly any shorter ones
GONE = 1e-6  # of the highest rate, for a quarter of the steps: no schedule means that
SHRUNK = 0.7  # of the first weights


def clip_too_tight(evidence: Evidence) -> Symptom | None:
    """Gradients arrive at the step far shorter than backward() made them."""
    passes = evidence.passes_with(lambda p: p.scale, LOSS)
    kept = [share for p in passes if (share := share_kept(p)) is not None]
    if often(share < 0.1 for share in kept):
        return Symptom(f"at the median, {median(kept):.2g} of the gradient is left at the step", 0, needs=FASTER)


def share_kept(p: Pass) -> float | None:
    """Return the norm of the gradient that the step finds over that which backward() made; None where none is known."""
    known = [u for u in p.updates if u.gradient == u.gradient and u.at_step == u.at_step]  # not NaN
    made = total_norm(u.gradient for u in known)
    return total_norm(u.at_step for u in known) * abs(p.scale) / made if made else None


def over_regularized(evidence: Evidence) -> Symptom | None:
    """Weights shrink, or decay pulls harder than the loss does."""
    passes, decay = evidence.updated, max(g.get("weight_decay", 0) for g in evidence.watch.optimizer.param_groups)
    if not passes:
        raise NotRun("It needs a backward pass or a step.")
    first, last = weight_norm(passes[0]), weight_norm(passes[-1])
    shrunk = last / first if first else 1.0
    pull = decay * max(evidence.trained.values(), default=0.0) * evidence.steps  # that of AdamW's default is small
    if 0 < shrunk < SHRUNK or (decay >= 0.01 and pull > 0.1):
        step = next((p.step for p in passes if weight_norm(p) < SHRUNK * first), passes[0].step)
        return Symptom(f"weights are {shrunk:.2g} of what they were; weight decay {decay:g}", step)


def weight_norm(p: Pass) -> float:
    """Return the norm of all weight matrices together, before the step after a pass."""
    return total_norm(u.weight for u in p.updates if u.dimensions > 1)


def lr_too_high(evidence: Evidence) -> Symptom | None:
    ratios, losses = evidence.step_ratios, [p.loss for p in evidence.passes_with(lambda p: p.loss, LOSS)]
    if not math.isfinite(losses[0]):
        return None  # before the first step
    high = often(ratio > LARGE_STEP for ratio in ratios)
    rises = max(losses) > 2 * losses[0] or (len(losses) > FIRST and fmean(losses[-FIRST:]) >= losses[0])
    if max(ratios, default=0.0) > SHORT and (high or rises):
        text = f"steps change weights by up to {median(ratios):.2g} of their size"
        usual = median(ratios) < HUGE_STEP and not max(losses[FIRST:], default=0.0) > LEAP * losses[0]
        return Symptom(text + ("; the loss does not fall" if rises else ""), 0, usual=usual)


def schedule_collapsed(evidence: Evidence) -> Symptom | None:
    """The rate is below a hundredth of its height for half of the steps, and ends below a thousandth."""
    rates = [max(p.rates) for p in evidence.passes if p.rates]
    if not rates or not rates[-1] < 1e-3 * max(rates):
        return None
    low = next(k for k in range(len(rates)) if max(rates[k:]) < 1e-2 * max(rates))
    if low < len(rates) / 2:
        text = f"the rate falls from {max(rates):.3g} to {rates[-1]:.3g}, by a factor of 100 within the first half"
        return Symptom(text, evidence.passes[low].step, certain=rates[3 * len(rates) // 4] < GONE * max(rates))


def lr_too_low(evidence: Evidence) -> Symptom | None:
    """Steps are short; where it learns, very short: what is not at its end always learns faster by longer ones."""
    ratios = evidence.step_ratios
    short = ratios and 0 < median(ratios) < SHORT
    if often(ratio < LARGE_STEP for ratio in ratios) and (short or evidence.interventions):
        text = f"steps change weights by {median(ratios):.2g} of their size at most"
        return Symptom(text, 0, needs=FASTER if short else MEANT, usual=not median(ratios) < TINY_STEP)
