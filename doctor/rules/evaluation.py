"""What evaluations show: the model's mode, their inputs, what is computed from their outputs; and test data."""

from statistics import fmean, median

from doctor import checks
from doctor.changes import REFERENCE
from doctor.evidence import GAIN, Evidence, NotRun, Symptom, fires, is_float
from doctor.measure import class_labels
from doctor.rules.data import other_shares, worse_on_test
from doctor.rules.loop import behaves_differently
from doctor.rules.loss import FAR
from doctor.sandbox import Data

WORSE = 0.03  # of the score: less may be chance
TWICE, HUNDREDFOLD = 2.0, 100.0  # of a std
SHIFT = 0.3  # of the smaller std: noise, which training may add on purpose, leaves the mean


def not_in_eval_mode(evidence: Evidence) -> Symptom | None:
    """Evaluations in training mode, or with dropout that knows no mode: it counts where it costs accuracy."""
    won = evidence.interventions.won_by_averaging() if evidence.interventions else 0.0
    if won > WORSE:
        text = f"outputs are random in evaluation mode: the mean of several passes scores {100 * won:.0f} points more"
        return Symptom(text, 0, certain=True)
    number = evidence.count["evaluations in training mode"]
    if not number:
        return None
    layer, text = behaves_differently(evidence), f"{number} passes without gradients were in training mode"
    worse, sizes = 0.0, [inputs.size for inputs in evidence.watch.evaluations.inputs if inputs.training]
    if evidence.interventions:
        trials, size = evidence.interventions, int(median(sizes)) if sizes else None
        worse = trials.score(None) - trials.score(None, training=True, size=size)
        text += f", in which the model scores {100 * worse:.0f} points less"
    return Symptom(text, evidence.watch.first_step["evaluations in training mode"], layer, certain=worse > WORSE)


def train_test_mismatch(evidence: Evidence) -> Symptom | None:
    """Evaluations get inputs that are scaled otherwise than those of training, or test data are other data.

    Test data have other moments, or what a training learns from a part of the training data hardly holds there.
    """
    if text := scaled_otherwise(evidence):
        return Symptom(text, 0, certain=True)
    trials, labels = evidence.experiments(test=True), class_labels(evidence.test.targets)
    if other_shares(trials.train, evidence.test):
        raise NotRun("Classes have other shares in the test data.")
    means = (f"{part.float().mean():.3g}" for part in (trials.train.inputs, evidence.test.inputs))
    if is_float(evidence.test.inputs) and fires(checks.train_test_moments(Data(*trials.train[:2], *evidence.test[:2]))):
        return worse_on_test(evidence, f"training and test inputs have means {' and '.join(means)}", GAIN)
    chance = 0.0 if labels is None else 1 / len(labels.unique())
    own, other = (trials.score(REFERENCE, recall=True, on=data) for data in (trials.held, evidence.test))
    if own > chance + 0.2 and other < chance + 0.6 * (own - chance):
        text = f"a training on a part of the probe scores {own:.2f} on the rest of it, {other:.2f} on test data"
        return worse_on_test(evidence, f"{text}; their inputs have means {' and '.join(means)}")


def scaled_otherwise(evidence: Evidence) -> str:
    """Say how the inputs of all evaluations differ from those of training as standardized pixels do from raw ones."""
    own, seen = evidence.watch.first_inputs, [e for e in evidence.watch.evaluations.inputs if e.size > 1 and e.std]
    if not is_float(own) or len(seen) < 2 or not own.std():
        return ""
    mean, std = own.float().mean().item(), own.float().std(correction=0).item()
    ratios, means = [e.std / std for e in seen], [e.mean for e in seen]
    larger, smaller = min(ratios), max(ratios)
    shifted = min(abs(m - mean) for m in means) > SHIFT * min(std, *(e.std for e in seen))
    below = {e.low < 0 for e in seen} == {not own.min() < 0}  # one goes below 0, and the other never
    if (shifted and below and (larger > TWICE or smaller < 1 / TWICE)) or not 1 / HUNDREDFOLD < larger < HUNDREDFOLD:
        text = f"inputs of evaluations have mean {fmean(means):.3g} and std {std * median(ratios):.3g}"
        return f"{text}, those of training {mean:.3g} and {std:.3g}"
    return ""


def metric_wrong(evidence: Evidence) -> Symptom | None:
    """What is computed from the outputs of evaluations cannot be meant; other metrics are not seen."""
    seen = evidence.watch.evaluations
    if seen.over and 1 not in seen.over and evidence.class_counts:
        over = "all outputs of a batch at once" if None in seen.over else "the samples of a batch"
        return Symptom(f"evaluations look for the largest of {over}, never for that of a sample", 0, certain=True)
    if seen.beyond and not 0 <= seen.beyond[0] <= seen.beyond[1] <= 1 and wants_logits(evidence):
        text = "evaluations compare logits with 1/2, which stands for a probability of 62 %"
        return Symptom(f"{text}: they go from {seen.beyond[0]:.3g} to {seen.beyond[1]:.3g}", 0, certain=True)
    if seen.square and evidence.width == 1:
        return Symptom("evaluations compare {} with {}, each with each".format(*seen.square), 0, certain=True)
    own = evidence.experiments().score(None)
    raise NotRun(f"Your metric is not seen: on the probe the model scores {own:.2f}, and yours should say so.")


def wants_logits(evidence: Evidence) -> bool:
    """Tell whether targets are 0 and 1, and the loss falls where outputs go beyond them."""
    outputs, targets = evidence.pairs[-1]
    if outputs.shape != targets.shape or not ((targets == 0) | (targets == 1)).all():
        return False
    return evidence.own_loss(FAR * (2 * targets.float() - 1), targets) < evidence.own_loss(targets.float(), targets)
