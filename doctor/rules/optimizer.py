"""What the optimizer does: the length of its steps, clipping, and the decay of weights."""

import math

from doctor.evidence import LOSS, Evidence, NotRun, Symptom, mean, median, often, total_norm
from doctor.records import Pass
from doctor.watch import FIRST

LARGE_STEP = 0.01  # of the weights: ten times the usual (Karpathy); below it a larger rate is tried, above a smaller
SHRUNK = 0.7  # of the first weights


def clip_too_tight(evidence: Evidence) -> Symptom | None:
    """Gradients arrive at the step far shorter than backward() made them."""
    passes = evidence.passes_with(lambda p: p.scale, LOSS)
    kept = [share for p in passes if (share := share_kept(p)) is not None]
    if often(share < 0.1 for share in kept):
        return Symptom(f"at the median, {median(kept):.2g} of the gradient is left at the step", 0)


def share_kept(p: Pass) -> float | None:
    """Return the norm of the gradient that the step finds over that which backward() made; None where none is known."""
    known = [u for u in p.updates if not math.isnan(u.gradient) and not math.isnan(u.at_step)]
    made = total_norm(u.gradient for u in known)
    if not known:
        return None
    return total_norm(u.at_step for u in known) * abs(p.scale) / made if made else math.nan


def over_regularized(evidence: Evidence) -> Symptom | None:
    """Weights shrink, or decay pulls harder than the loss does."""
    sizes = [
        (p.step, total_norm(u.weight for u in p.updates if u.dimensions > 1)) for p in evidence.passes if p.updates
    ]
    if not sizes:
        raise NotRun("It needs a backward pass or a step.")
    first, last = sizes[0][1], sizes[-1][1]
    decay = max(group.get("weight_decay", 0) for group in evidence.watch.optimizer.param_groups)
    shrunk = last / first if first else 1.0
    if 0 < shrunk < SHRUNK or (decay >= 0.01 and evidence.steps):
        when = next((p for p, size in zip(updated, sizes, strict=True) if size < SHRUNK * first), updated[0])
        return Symptom(f"weights are {shrunk:.2g} of what they were; weight decay {decay:g}", when.step)


def lr_too_high(evidence: Evidence) -> Symptom | None:
    ratios, losses = evidence.step_ratios, evidence.losses
    high = often(ratio > LARGE_STEP for ratio in ratios)
    rises = max(losses) > 2 * losses[0] or (len(losses) > FIRST and mean(losses[-FIRST:]) >= losses[0])
    if ratios and (high or rises):
        text = f"steps change weights by up to {median(ratios):.2g} of their size"
        return Symptom(text + ("; the loss does not fall" if rises else ""), 0)


def lr_too_low(evidence: Evidence) -> Symptom | None:
    ratios = evidence.step_ratios
    if often(ratio < LARGE_STEP for ratio in ratios):
        return Symptom(f"steps change weights by {median(ratios):.2g} of their size at most", 0)
