"""What the first weights are.

Sound networks of the development cases have at their first steps gains of weights of 0.46 to 1.5 and up to 22 % of a
layer's units dead; trained ones have up to two thirds dead (doctor.checks).
"""

import math

from doctor.evidence import Evidence, NotRun, Symptom

HE = math.sqrt(2)  # gain of He's initialization; Xavier's has 1
GAINS = 0.1 * HE, 2 * HE
DEAD = 0.8  # share of the units
HUGE = 10.0  # for a number of a vector


def symmetric_init(evidence: Evidence) -> Symptom | None:
    """Units of a hidden layer begin equal, and are equal after steps."""
    if evidence.steps < 2:
        raise NotRun("It needs two steps.")
    for w in evidence.matrices[:-1]:
        units = evidence.watch.parameters[w.name].detach().flatten(1)
        differ, size = (units - units[0]).abs().max(), units.square().mean().sqrt()
        if len(units) > 1 and w.differ <= 1e-6 * w.gain and differ <= 1e-2 * size:
            return Symptom(f"the {len(units)} units of {w.layer} began equal and still are", 2, w.layer, certain=True)


def init_too_large(evidence: Evidence) -> Symptom | None:
    """First weights are twice He's or more."""
    vectors = [w for w in evidence.watch.weights if w.dimensions == 1 and not w.name.endswith("bias")]
    vectors = [w for w in vectors if max(w.std, abs(w.mean)) > HUGE]
    worst = max(evidence.matrices + vectors, key=lambda w: w.gain, default=None)
    if worst and worst.gain > GAINS[1]:
        rms = evidence.passes[0].places[-1].rms
        text = f"{worst.name} multiplies by {worst.gain:.3g} (He: {HE:.3g}); first outputs have rms {rms:.3g}"
        return Symptom(text, 0, worst.layer)


def dead_relu_at_init(evidence: Evidence) -> Symptom | None:
    worst = max(evidence.first("activation"), key=lambda place: place.dead_units, default=None)
    if worst and worst.dead_units > DEAD:
        return Symptom(f"{worst.dead_units:.0%} of the units after {worst.layer} are dead", 0, worst.layer)


def init_too_small(evidence: Evidence) -> Symptom | None:
    """First weights are a tenth of He's or less."""
    worst = min(evidence.matrices, key=lambda w: w.gain, default=None)
    if worst and worst.gain < GAINS[0]:
        return Symptom(f"{worst.name} multiplies by {worst.gain:.3g} (He: {HE:.3g})", 0, worst.layer)
