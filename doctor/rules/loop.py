"""What the loop does: clearing gradients, stepping, which parameters it trains, the mode of evaluations."""

from collections.abc import Container
from itertools import pairwise

from torch import nn

from doctor.evidence import GAIN, LOSS, MEANT, PATIENCE, Evidence, NotRun, Symptom, often
from doctor.measure import as_drawn
from doctor.optimizers import parameters_of
from doctor.records import Pass, layer_of
from doctor.watch import FIRST


def gradients_not_zeroed(evidence: Evidence) -> Symptom | None:
    """A pass begins with gradients though there has been a step since the last one."""
    backward = evidence.passes_with(lambda p: p.left, LOSS)
    own = [p for p in backward if not p.for_inputs]
    after_step = [p for p in own if p.batches_since_step == 1 and p.step > 0]
    if evidence.adversarial:  # another network's backward passes leave gradients, too, up to the next own one
        after_step = [p for last, p in pairwise(own) if p.step > last.step and p.number - last.number < FIRST]
    left = [p.left > 0 for p in after_step]
    if often(left):
        share = sum(left) / len(left)
        return Symptom(f"{share:.0%} of passes begin with gradients from before", after_step[0].step, certain=True)


def no_optimizer_step(evidence: Evidence) -> Symptom | None:
    """Gradients are there, and gone before a step could use them; or there is no step at all."""
    waiting = [p for p in evidence.passes if p.waiting]
    if often(p.left == 0 for p in waiting):
        return Symptom("gradients are cleared, and no step has used them", waiting[0].step, certain=True)
    moved = any(len(sizes) > 1 for sizes in evidence.sizes.values())  # by another optimizer
    if evidence.steps == 0 and evidence.count["losses"] >= PATIENCE and not moved:
        return Symptom(f"{evidence.count['losses']} losses and no step", 0, certain=True)
    if not evidence.trained:
        raise NotRun("The optimizer has no parameter of the model.")
    if often(finds_nothing(p, evidence.trained) for p in evidence.updated):
        return Symptom("the step finds no gradients: they are cleared after backward()", 0, certain=True)


def finds_nothing(p: Pass, trained: Container[str]) -> bool:
    """Tell whether backward() gave gradients, and the step after it found none and changed nothing."""
    updates = [u for u in p.updates if u.name in trained]
    reached, stepped = any(u.gradient > 0 for u in updates), any(u.change == u.change for u in updates)
    used = any(u.at_step > 0 or u.change > 0 for u in updates)
    return reached and stepped and not used and not p.inside_step


def gain_needed(evidence: Evidence, layers: list[str]) -> float:
    """Return what training these layers, too, has to win: they may be left out on purpose.

    So are the first ones, as of a backbone, and most of them, where adapters are trained, unless they are untrained.
    """
    first, most = evidence.used[: len(layers)] == layers, 2 * len(layers) > len(evidence.used)
    return MEANT if (first or most) and not untrained(evidence, layers) else GAIN


def untrained(evidence: Evidence, layers: list[str]) -> bool:
    """Tell whether the weights of layers are random numbers still."""
    weights = [w for w in evidence.watch.weights if w.layer in layers and w.dimensions > 1]
    still = all(len(evidence.sizes[w.name]) < 2 for w in weights)
    return bool(weights) and still and all(as_drawn(evidence.watch.parameters[w.name]) for w in weights)


def parameters_not_in_optimizer(evidence: Evidence) -> Symptom | None:
    parameters, now = evidence.watch.parameters, dict(evidence.model.named_parameters())
    known = {id(p) for p in parameters_of(evidence.watch.optimizer)}
    replaced = [n for n, p in parameters.items() if id(p) in known and n in now and id(now[n]) not in known]
    if replaced:
        text = f"{len(replaced)} of {len(parameters)} parameters have been replaced, such as {replaced[0]}"
        return Symptom(f"{text}, and the optimizer still has the old ones", 0, certain=True)
    moved = {name for name, sizes in evidence.sizes.items() if len(sizes) > 1}  # by another optimizer
    unknown = [n for n, p in parameters.items() if p.requires_grad and n not in evidence.trained and n not in moved]
    left_out = [name for name in unknown if parameters[name].ndim > 1]
    if left_out:
        layers = [layer for layer in evidence.used if any(name.startswith(f"{layer}.") for name in left_out)]
        foreign = ", and has others that are not the model's" if len(known) > len(evidence.trained) else ""
        text = f"the optimizer lacks {len(unknown)} of {len(parameters)} parameters, such as {left_out[0]}{foreign}"
        needs = GAIN if foreign else gain_needed(evidence, layers)
        random = layers[-1:] == evidence.used[-1:] and untrained(evidence, layers[-1:])  # the last one: nobody means it
        certain = bool(foreign) or random
        return Symptom(text, 0, layers[0] if layers else left_out[0], certain=certain, needs=needs)


def layer_frozen(evidence: Evidence) -> Symptom | None:
    """Layers of the forward pass do not train."""
    off = {name for name, p in evidence.watch.parameters.items() if not p.requires_grad}
    frozen = {w.layer: "requires_grad is off" for w in evidence.matrices if w.name in off}
    frozen |= {w.layer: "its rate is 0" for w in evidence.matrices if evidence.trained.get(w.name) == 0}
    layers = frozen_embeddings(evidence.model) + [layer for layer in evidence.used if layer in frozen]
    frozen |= dict.fromkeys(frozen_embeddings(evidence.model), "requires_grad is off")
    if layers:
        text = f"{layers[-1]} does not learn: {frozen[layers[-1]]}"
        text += f"; nor do {len(layers) - 1} other layers" if layers[1:] else ""
        certain = layers[-1:] == evidence.used[-1:] and untrained(evidence, layers[-1:])  # nobody means the last one
        return Symptom(text, 0, layers[-1], certain=certain, needs=gain_needed(evidence, layers))


def frozen_embeddings(model: nn.Module) -> list[str]:
    kinds = nn.Embedding, nn.EmbeddingBag
    return [name for name, m in model.named_modules() if isinstance(m, kinds) and not m.weight.requires_grad]


def layer_not_frozen(evidence: Evidence) -> Symptom | None:
    """A module has got an attribute requires_grad, which freezes nothing."""
    for name, module in evidence.model.named_modules():
        if vars(module).get("requires_grad") is False and any(p.requires_grad for p in module.parameters()):
            layer = name or type(module).__name__
            return Symptom(f"{layer}.requires_grad = False is on the module, and its weights learn on", 0, name, True)


def graph_cut(evidence: Evidence) -> Symptom | None:
    """No gradient arrives at any parameter, or none at parameters that the optimizer is to train."""
    calls = ", ".join(f"{name} x {count}" for name, count in evidence.watch.cuts.most_common(3))
    seen = f"; the model calls {calls} on what has gradients" if calls else ""
    if all(p.left is None for p in evidence.passes):
        return Symptom(f"backward() does not reach any parameter of the model{seen}", 0, certain=True)
    useless = [p.useless for p in evidence.passes if p.useless is not None]
    if len(set(useless)) > 1:  # else a constant
        text = f"of the loss, {useless[0]:.3g} and later {useless[-1]:.3g} bring no gradient{seen}"
        return Symptom(text, 0, certain=True)
    learn = {name for name, p in evidence.watch.parameters.items() if p.requires_grad and name in evidence.trained}
    trained = [w for w in evidence.matrices if w.name in learn]
    reached = {u.name for p in evidence.passes for u in p.updates if u.reached and u.gradient != 0}
    layers = [layer for layer in evidence.used if any(w.layer == layer for w in trained if w.name not in reached)]
    if layers and evidence.updated and (calls or len(layers) < len(evidence.used)):
        names = f"{layers[0]} and {len(layers) - 1} other layers" if layers[1:] else layers[0]
        zeros = any(u.reached for p in evidence.passes for u in p.updates if layer_of(u.name) in layers)
        random = not zeros and evidence.used[: len(layers)] == layers and untrained(evidence, layers)
        text = f"no gradient arrives at {names}{', which is random still' if random else ''}{seen}"
        return Symptom(text, 0, layers[0], certain=random, needs=gain_needed(evidence, layers))


def module_not_registered(evidence: Evidence) -> Symptom | None:
    """Parameters that the forward pass uses, and that are neither the model's nor trained by anyone."""
    known = {id(p) for p in parameters_of(evidence.watch.optimizer)}
    strangers = [(p, version) for p, version in evidence.watch.strangers if id(p) not in known]
    if strangers:
        shape = tuple(strangers[0][0].shape)
        text = f"the forward pass uses parameters that model.parameters() lacks, such as one of shape {shape}"
        return Symptom(text, 0, certain=all(p._version == version for p, version in strangers))


def weights_not_copied(evidence: Evidence) -> Symptom | None:
    """What is loaded as the weights of an earlier step are the present ones: a reference was kept, no copy."""
    number = evidence.count["weights loaded into themselves"]
    if number:
        text = f"load_state_dict() got the weights that the model has, {number} times: what was kept went on learning"
        return Symptom(text, evidence.watch.first_step["weights loaded into themselves"], certain=True)


def behaves_differently(evidence: Evidence) -> str:
    """Return the first layer whose outputs depend on the mode; raises NotRun where there is none."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    layers = [name for name, m in evidence.model.named_modules() if isinstance(m, kinds) and getattr(m, "p", 1) > 0]
    if not layers:
        raise NotRun("The model has neither dropout nor batch norm.")
    return layers[0]


def left_in_eval_mode(evidence: Evidence) -> Symptom | None:
    steps = [p for p in evidence.passes if p.left is not None]
    layer, evaluating = behaves_differently(evidence), [p for p in steps if not p.training]
    if often(not p.training for p in steps):
        text = f"{len(evaluating) / len(steps):.0%} of the training passes are in evaluation mode"
        return Symptom(text, evaluating[0].step, layer)
