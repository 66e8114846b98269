"""What the loop does: clearing gradients, stepping, which parameters it trains, the mode of evaluations."""

from torch import nn

from doctor.evidence import LOSS, PATIENCE, Evidence, NotRun, Symptom, often
from doctor.records import Pass


def gradients_not_zeroed(evidence: Evidence) -> Symptom | None:
    """A pass begins with gradients though there has been a step since the last one."""
    backward = evidence.passes_with(lambda p: p.left, LOSS)
    after_step = [p for p in backward if p.batches_since_step == 1 and p.step > 0 and not p.for_inputs]
    left = [p.left > 0 for p in after_step]
    if often(left):
        share = sum(left) / len(left)
        return Symptom(f"{share:.0%} of passes begin with gradients from before", after_step[0].step, certain=True)


def no_optimizer_step(evidence: Evidence) -> Symptom | None:
    """Gradients are there, and gone before a step could use them; or there is no step at all."""
    waiting = [p for p in evidence.passes if p.waiting]
    if often(p.left == 0 for p in waiting):
        return Symptom("gradients are cleared, and no step has used them", waiting[0].step, certain=True)
    if evidence.steps == 0 and evidence.count["losses"] >= PATIENCE:
        return Symptom(f"{evidence.count['losses']} losses and no step", 0, certain=True)
    if not evidence.trained:
        raise NotRun("The optimizer has no parameter of the model.")
    if often(finds_nothing(p) for p in evidence.updated):
        return Symptom("the step finds no gradients: they are cleared after backward()", 0, certain=True)


def finds_nothing(p: Pass) -> bool:
    """Tell whether backward() gave gradients, and the step after it found none and changed nothing."""
    reached, stepped = any(u.gradient > 0 for u in p.updates), any(u.change == u.change for u in p.updates)
    used = any(u.at_step > 0 or u.change > 0 for u in p.updates)
    return reached and stepped and not used and not p.inside_step


def first_ones(evidence: Evidence, layers: list[str]) -> bool:
    """Tell whether layers are the first ones of the network, as a backbone is that is frozen on purpose."""
    return evidence.used[: len(layers)] == layers and len(layers) < len(evidence.used)


def parameters_not_in_optimizer(evidence: Evidence) -> Symptom | None:
    parameters = evidence.watch.parameters
    moved = {name for name, sizes in evidence.sizes.items() if len(sizes) > 1}  # by another optimizer
    left_out = [n for n, p in parameters.items() if p.requires_grad and n not in evidence.trained and n not in moved]
    layers = [layer for layer in evidence.used if any(name.startswith(f"{layer}.") for name in left_out)]
    if left_out:
        known = sum(len(group["params"]) for group in evidence.watch.optimizer.param_groups)
        foreign = ", and has others that are not the model's" if known > len(evidence.trained) else ""
        text = f"the optimizer lacks {len(left_out)} of {len(parameters)} parameters, such as {left_out[0]}{foreign}"
        certain = bool(foreign) or not first_ones(evidence, layers)
        return Symptom(text, 0, layers[0] if layers else left_out[0], certain)


def layer_frozen(evidence: Evidence) -> Symptom | None:
    """A layer of the forward pass that the optimizer should train stands still."""
    reasons = {w.layer: reason for w in evidence.matrices if (reason := why_frozen(evidence, w.name))}
    if reasons and len(reasons) < len(evidence.used):
        layers = [layer for layer in evidence.used if layer in reasons]
        text = f"{layers[0]} does not learn: {reasons[layers[0]]}"
        return Symptom(text, 0, layers[0], not first_ones(evidence, layers))


def why_frozen(evidence: Evidence, name: str) -> str:
    """Return why a parameter does not change; "" where it may."""
    reached = [u.reached for p in evidence.passes for u in p.updates if u.name == name]
    if not evidence.watch.parameters[name].requires_grad:
        return "requires_grad is off"
    if evidence.trained.get(name) == 0:
        return "its rate is 0"
    cut_off = name in evidence.trained and reached and not any(reached)
    return "no gradient arrives: it is cut off by detach() or no_grad()" if cut_off else ""


def not_in_eval_mode(evidence: Evidence) -> Symptom | None:
    number = evidence.count["evaluations in training mode"]
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    layers = [name for name, m in evidence.model.named_modules() if isinstance(m, kinds) and getattr(m, "p", 1) > 0]
    if number and layers:
        text = f"{number} passes without gradients were in training mode, in which {layers[0]} behaves differently"
        return Symptom(text, evidence.watch.first_step["evaluations in training mode"], layers[0], certain=True)
