"""What the loss is: its sign, its scale, and whether it suits the outputs and the targets."""

import math

import torch

from doctor.evidence import CLASSES, LOSS, Evidence, NotRun, Symptom, close, often


def loss_sign(evidence: Evidence) -> Symptom | None:
    """What the loop drives up is lower where outputs are right, or what it drives down is higher there."""
    maximized = any(group.get("maximize") for group in evidence.watch.optimizer.param_groups)
    negative = often(p.scale < 0 for p in evidence.passes_with(lambda p: p.scale, LOSS))
    text = "the optimizer has maximize=True" if maximized else "backward() is called on minus the loss"
    upward = maximized != negative
    try:
        right, wrong = evidence.loss_of_right(10.0), evidence.loss_of_right(-10.0)
    except NotRun:
        return Symptom(text, 0) if upward else None
    if upward and right < wrong:
        return Symptom(text, 0, certain=True)
    if not upward and right > wrong:
        return Symptom(f"right outputs have a loss of {right:.3g}, wrong ones of {wrong:.3g}", 0, certain=True)


def softmax_wrong_dim(evidence: Evidence) -> Symptom | None:
    """Outputs sum to 1 over the batch; or the loss does not see what is added to all samples, as softmax over them."""
    passes = evidence.passes_with(lambda p: p.rows_off, CLASSES)
    if all(p.columns_off < 1e-3 for p in passes) and any(p.rows_off > 1e-2 for p in passes):
        text = "outputs sum to 1 over the samples of the batch, not over the classes"
        return Symptom(text, 0, evidence.used[-1], certain=True)
    if evidence.ignores_shift(1) and not evidence.ignores_shift(0):
        return Symptom("the loss applies softmax over the samples of the batch", 0, certain=True)


def are_probabilities(evidence: Evidence, logarithms: bool = False) -> bool:
    """Tell whether outputs are probabilities of the classes, or logarithms of them."""
    passes = evidence.passes_with(lambda p: p.rows_off, CLASSES)
    return all(p.rows_off < 1e-3 and p.logarithms == logarithms for p in passes)


def softmax_before_loss(evidence: Evidence) -> Symptom | None:
    """Outputs are probabilities, and the loss does not see what is added to all classes: it applies softmax itself."""
    least = math.log(math.e + evidence.width - 1) - 1
    if are_probabilities(evidence) and evidence.ignores_shift(0):
        text = f"outputs are probabilities, so the loss stays above {least:.3g}"
        return Symptom(text, 0, evidence.used[-1], certain=True)
    if close(evidence.loss_of_right(100.0), least):
        return Symptom(f"the loss of the best outputs is {least:.3g}: it applies softmax twice", 0, certain=True)


def wrong_loss(evidence: Evidence) -> Symptom | None:
    """The loss compares outputs with class indices as if they were amounts, or takes logits for log-probabilities."""
    labels = evidence.watch.labels
    if evidence.width == 1:
        if len(labels) > 2 and max(labels) < 1000 and len(labels) >= 0.9 * (max(labels) + 1):
            return Symptom(f"one output is fitted to class indices 0 to {max(labels)}", 0, certain=True)
        return None
    outputs, indices = evidence.made_up
    if close(evidence.loss_of(indices[:, None].expand_as(outputs).float(), indices), 0.0):
        return Symptom("the loss is 0 where outputs equal the class index", 0, certain=True)
    unbounded = close(evidence.loss_of_right(60.0), evidence.loss_of_right(30.0) - 30)
    if unbounded and not are_probabilities(evidence, logarithms=True):
        text = "the loss is minus the right output and has no lower bound, but outputs are no log-probabilities"
        return Symptom(text, 0, certain=True)


def loss_summed(evidence: Evidence) -> Symptom | None:
    """The loss of a batch doubles when each sample comes twice."""
    outputs, labels = evidence.made_up
    single = evidence.loss_of(outputs, labels)
    if close(evidence.loss_of(torch.cat([outputs, outputs]), torch.cat([labels, labels])), 2 * single):
        return Symptom("the loss is a sum over the batch", 0)
