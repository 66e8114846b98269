"""The doctor's rules, one for each cause: what of the watched numbers tells it, and what experiment would prove it.

A rule looks at `seen` and returns a Symptom or None; it raises NotRun where it cannot judge. Rules stand in the order
in which causes are named if several show: what is certain or special before what many things can bring about.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from doctor import checks
from doctor.evidence import PATIENCE, NotRun, Seen, Symptom, close, often, whole_norms
from doctor.experiments import Data
from doctor.sandbox import REFERENCE, Change
from doctor.watch import FIRST, class_labels

# Sound networks of the development cases have at their first steps: gains of weights of 0.46 to 1.5, a signal that
# grows at most 2.1 times up to the last layer, gradients of norm 5 or less, those of the first layer at least 0.2 times
# those of the last, up to 22 % of a layer's units dead, and up to 28 % of its outputs at a bound. Trained ones have up
# to two thirds dead (doctor.checks).
HE = math.sqrt(2)  # gain of He's initialization; Xavier's has 1
GAINS = 0.1 * HE, 2 * HE
GROWTH, LARGEST_GRADIENT, FADED = 30.0, 1000.0, 0.01
DEAD, SATURATED = 0.8, 0.5
LARGE_STEP = (
    0.01  # of the weights: ten times the usual (Karpathy); below it a larger rate is tried, above a smaller one
)


@dataclass(frozen=True)
class Rule:
    cause: str
    look: Callable[[Seen], Symptom | None]
    proofs: tuple[Change, ...]  # of which one has to win
    recall: bool  # whether the mean over classes judges the proof


RULES: list[Rule] = []


def rule(cause: str, *proofs: Change, recall: bool = False):
    """Make a function the rule for `cause`."""

    def register(look):
        RULES.append(Rule(cause, look, proofs, recall))
        return look

    return register


# ---- the loop


@rule("gradients-not-zeroed")
def gradients_not_zeroed(seen: Seen):
    """A pass begins with gradients though there has been a step since the last one."""
    left = seen.column("left")[(seen.passes.set_index("step")["losses since step"] == 1)]
    left = left[left.index > 0]
    if often(left > 0):
        share = (left > 0).mean()
        return Symptom(f"{share:.0%} of passes begin with gradients of before", int(left.index[0]), certain=True)


@rule("no-optimizer-step")
def no_optimizer_step(seen: Seen):
    """Gradients are there, and gone before a step could use them."""
    waiting = seen.passes[seen.passes.get("losses since step", pd.Series(0, seen.passes.index)) > 1]
    if len(waiting) and often(waiting["left"] == 0):
        return Symptom("gradients are cleared, and no step has used them", int(waiting["step"].iloc[0]), certain=True)
    if seen.steps == 0 and seen.count["losses"] >= PATIENCE:
        return Symptom(f"{seen.count['losses']} losses and no step", 0, certain=True)
    if not seen.trained:
        raise NotRun("The optimizer has no parameter of the model.")
    rows = seen.updates.groupby("pass").agg({"gradient": "sum", "at step": "sum", "change": ["sum", "count"]})
    rows.columns = ["gradient", "at step", "change", "steps"]
    cleared = (rows["gradient"] > 0) & (rows["at step"] == 0) & (rows["change"] == 0) & (rows["steps"] > 0)
    if often(cleared):
        return Symptom("the step finds no gradients: they are cleared after backward()", 0, certain=True)


def frozen_alone(seen: Seen, layers: list[str]) -> bool:
    """Whether layers are the first ones of the network, as a backbone is that is frozen on purpose."""
    return seen.used[: len(layers)] == layers and len(layers) < len(seen.used)


@rule("parameters-not-in-optimizer", Change(trained="all"))
def parameters_not_in_optimizer(seen: Seen):
    left_out = [name for name, p in seen.watch.parameters.items() if p.requires_grad and name not in seen.trained]
    layers = [layer for layer in seen.used if any(name.startswith(f"{layer}.") for name in left_out)]
    if left_out:
        text = f"the optimizer lacks {len(left_out)} of {len(seen.watch.parameters)} parameters, such as {left_out[0]}"
        text += ", and has others that are not the model's" if seen.foreign else ""
        certain = seen.foreign or not frozen_alone(seen, layers)
        return Symptom(text, 0, layers[0] if layers else left_out[0], certain)


@rule("layer-frozen", Change(trained="all"))
def layer_frozen(seen: Seen):
    """A layer of the forward pass that the optimizer should train stands still."""
    reasons = {}
    for layer, name in zip(seen.matrices["layer"], seen.matrices["name"], strict=True):
        p = seen.watch.parameters[name]
        reached = seen.updates.loc[seen.updates["name"] == name, "reached"]
        if not p.requires_grad:
            reasons[layer] = "requires_grad is off"
        elif seen.trained.get(name) == 0:
            reasons[layer] = "its rate is 0"
        elif name in seen.trained and len(reached) and not reached.any():
            reasons[layer] = "no gradient arrives: it is cut off by detach() or no_grad()"
    if reasons and len(reasons) < len(seen.used):
        layers = [layer for layer in seen.used if layer in reasons]
        text = f"{layers[0]} does not learn: {reasons[layers[0]]}"
        return Symptom(text, 0, layers[0], not frozen_alone(seen, layers))


@rule("not-in-eval-mode")
def not_in_eval_mode(seen: Seen):
    number = seen.count["evaluations in training mode"]
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    layers = [name for name, m in seen.model.named_modules() if isinstance(m, kinds) and getattr(m, "p", 1) > 0]
    if number and layers:
        text = f"{number} passes without gradients were in training mode, where {layers[0]} works otherwise"
        return Symptom(text, seen.watch.first_step["evaluations in training mode"], layers[0], certain=True)


# ---- the loss


@rule("loss-sign")
def loss_sign(seen: Seen):
    if any(group.get("maximize") for group in seen.watch.optimizer.param_groups):
        return Symptom("the optimizer has maximize=True", 0, certain=True)
    if often(seen.column("scale") < 0):
        return Symptom("backward() is called on minus the loss", 0, certain=True)
    right, wrong = seen.loss_of_right(10.0), seen.loss_of_right(-10.0)
    if right > wrong:
        return Symptom(f"right outputs have a loss of {right:.3g}, wrong ones of {wrong:.3g}", 0, certain=True)


@rule("softmax-wrong-dim")
def softmax_wrong_dim(seen: Seen):
    """Outputs sum to 1 over the batch; or the loss does not see what is added to all samples, as softmax over them."""
    rows, columns = seen.column("rows off 1"), seen.column("columns off 1")
    if (columns < 1e-3).all() and (rows > 1e-2).any():
        return Symptom("outputs sum to 1 over the samples of the batch, not over the classes", 0, seen.used[-1], True)
    if seen.ignores_shift(1) and not seen.ignores_shift(0):
        return Symptom("the loss applies softmax over the samples of the batch", 0, certain=True)


@rule("softmax-before-loss")
def softmax_before_loss(seen: Seen):
    """Outputs are probabilities, and the loss does not see what is added to all classes: it applies softmax itself."""
    classes = seen.column("width").iloc[0]
    least = math.log(math.e + classes - 1) - 1
    plain = (seen.column("rows off 1") < 1e-3).all() and (seen.column("probabilities") == "plain").all()
    if plain and seen.ignores_shift(0):
        return Symptom(f"outputs are probabilities, so the loss stays above {least:.3g}", 0, seen.used[-1], True)
    if close(seen.loss_of_right(100.0), least):
        return Symptom(f"the loss of the best outputs is {least:.3g}: it applies softmax twice", 0, certain=True)


@rule("wrong-loss")
def wrong_loss(seen: Seen):
    """The loss compares outputs with class indices as if they were amounts, or takes logits for log-probabilities."""
    labels = seen.watch.labels
    if seen.column("width").iloc[0] == 1:
        if len(labels) > 2 and max(labels) < 1000 and len(labels) >= 0.9 * (max(labels) + 1):
            return Symptom(f"one output is fitted to class indices 0 to {max(labels)}", 0, certain=True)
        return None
    outputs, indices = seen.made_up
    if close(seen.loss_of(indices[:, None].expand_as(outputs).float(), indices), 0.0):
        return Symptom("the loss is 0 where outputs equal the class index", 0, certain=True)
    logarithms = (seen.column("probabilities") == "logarithms").all() and (seen.column("rows off 1") < 1e-3).all()
    if close(seen.loss_of_right(60.0), seen.loss_of_right(30.0) - 30) and not logarithms:
        text = "the loss is minus the right output and has no lower bound, but outputs are no log-probabilities"
        return Symptom(text, 0, certain=True)


@rule("loss-summed", Change(loss="mean"), Change(loss="mean of outputs"))
def loss_summed(seen: Seen):
    """The loss of a batch doubles when each sample comes twice."""
    outputs, labels = seen.made_up
    single = seen.loss_of(outputs, labels)
    if close(seen.loss_of(torch.cat([outputs, outputs]), torch.cat([labels, labels])), 2 * single):
        return Symptom("the loss is a sum over the batch", 0)


# ---- the data, as the loop sees them


@rule("constant-inputs")
def constant_inputs(seen: Seen):
    if seen.inputs["rms"].max() == 0:
        return Symptom("all inputs are 0", 0, certain=True)
    if (seen.column("size") > 1).all() and (seen.inputs["variation"].dropna() < 1e-3).all():
        return Symptom("all samples of a batch are the same", 0, certain=True)


@rule("data-not-shuffled")
def data_not_shuffled(seen: Seen):
    """Batches are far more of one kind than all labels together."""
    share = seen.column("label share")
    whole = max(seen.watch.labels.values()) / sum(seen.watch.labels.values())
    if share.mean() > whole + 0.3:
        step = share.index[min(len(share) - 1, 1)]
        text = f"{share.mean():.0%} of a batch have the same label, of all labels {whole:.0%}"
        return Symptom(text, int(step), certain=True)


@rule("class-imbalance", Change(samples="balanced"), recall=True)
def class_imbalance(seen: Seen):
    labels = seen.watch.labels
    total = sum(labels.values())
    seen.column("accuracy")
    if total >= 500 and max(labels.values()) > 10 * max(1, min(labels.values())):
        most = max(labels, key=labels.get)
        guessed = seen.final["guess share"].mean()
        text = f"{labels[most] / total:.0%} of the labels are {most}; {guessed:.0%} of the predictions one class"
        return Symptom(text, 0)


# ---- first weights


@rule("symmetric-init")
def symmetric_init(seen: Seen):
    """Units of a hidden layer begin equal, and are equal after steps."""
    if seen.steps < 2:
        raise NotRun("It needs two steps.")
    for _, w in seen.matrices[:-1].iterrows():
        units = seen.watch.parameters[w["name"]].detach().flatten(1)
        differ, size = (units - units[0]).abs().max(), units.square().mean().sqrt()
        if len(units) > 1 and w["units differ"] <= 1e-6 * w["gain"] and differ <= 1e-2 * size:
            return Symptom(f"the {len(units)} units of {w['layer']} began equal and still are", 2, w["layer"], True)


@rule("inputs-not-scaled", Change(inputs="scaled"))
def inputs_not_scaled(seen: Seen):
    """Inputs of sound programs have an rms of 0.3 (pixels in [0, 1]) to 1 (standardized)."""
    rms, mean, std = seen.inputs[["rms", "mean", "std"]].iloc[0]
    if not 0.05 < rms < 8 or abs(mean) > 4 * std:
        return Symptom(f"inputs have mean {mean:.3g} and std {std:.3g}", 0, seen.used[0] if seen.used else "")


@rule("init-too-large", Change(weights="sound"))
def init_too_large(seen: Seen):
    """First weights are twice He's or more."""
    w = seen.matrices
    worst = w.loc[w["gain"].idxmax()] if len(w) else None
    if worst is not None and worst["gain"] > GAINS[1]:
        rms = seen.first_places["rms"].iloc[-1]
        text = f"{worst['name']} multiplies by {worst['gain']:.3g} (He: {HE:.3g}); first outputs have rms {rms:.3g}"
        return Symptom(text, 0, worst["layer"])


@rule("dead-relu-at-init", Change(weights="sound"))
def dead_relu_at_init(seen: Seen):
    rows = seen.first_places.query("kind == 'activation'")
    if len(rows) and rows["dead units"].max() > DEAD:
        worst = rows.loc[rows["dead units"].idxmax()]
        text = f"{worst['dead units']:.0%} of the units after {worst['layer']} are 0 for all samples"
        return Symptom(text, 0, worst["layer"])


@rule("init-too-small", Change(weights="sound"))
def init_too_small(seen: Seen):
    """First weights are a tenth of He's or less."""
    w = seen.matrices
    worst = w.loc[w["gain"].idxmin()] if len(w) else None
    if worst is not None and worst["gain"] < GAINS[0]:
        text = f"{worst['name']} multiplies by {worst['gain']:.3g} (He: {HE:.3g})"
        return Symptom(text, 0, worst["layer"])


# ---- the network


@rule("no-nonlinearity")
def no_nonlinearity(seen: Seen):
    """No activation function was met, and the network is linear, too, for inputs drawn at random."""
    if len(seen.used) > 1 and not len(seen.first_places.query("kind == 'activation'")):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(16, *seen.watch.shape, generator=generator)
        linear = checks.nonlinearity(seen.model, (inputs, torch.zeros(16, dtype=torch.long)))
        if linear.verdict == "not run":
            raise NotRun(linear.advice)
        if linear.fires:
            return Symptom(f"{len(seen.used)} layers and no activation function", 0, seen.used[0], certain=True)


def first_gains_fit(seen: Seen) -> bool:
    return init_too_large(seen) is None and init_too_small(seen) is None


@rule("saturated-activations", Change(activations="normalized"), Change(activations="relu"))
def saturated_activations(seen: Seen):
    rows = seen.first_places.query("kind == 'activation'")
    if len(rows) and rows["saturated"].max() > SATURATED and inputs_not_scaled(seen) is None and first_gains_fit(seen):
        worst = rows.loc[rows["saturated"].idxmax()]
        text = f"{worst['saturated']:.0%} of the activations after {worst['layer']} are at a bound"
        return Symptom(text, 0, worst["layer"])


@rule("exploding-gradient", Change(activations="rescaled"), Change(activations="normalized"))
def exploding_gradient(seen: Seen):
    gradients = seen.at_first("gradient")
    rows = seen.first_places.query("kind == 'layer'")["rms"]
    if len(gradients) > 2 and first_gains_fit(seen) and inputs_not_scaled(seen) is None:
        growth = rows.iloc[-1] / rows.iloc[0]
        if growth > GROWTH or gradients.max() > LARGEST_GRADIENT:
            text = f"first gradients have norms up to {gradients.max():.3g}; the signal grows {growth:.3g} times"
            return Symptom(text, 0, gradients.idxmax())


@rule("vanishing-gradient", Change(activations="relu"), Change(activations="normalized"))
def vanishing_gradient(seen: Seen):
    gradients = seen.at_first("gradient")
    if len(gradients) > 2 and first_gains_fit(seen) and gradients.iloc[0] < FADED * gradients.iloc[-1]:
        ratio = gradients.iloc[0] / gradients.iloc[-1]
        text = f"the first gradient of {gradients.index[0]} is {ratio:.2g} of the last layer's"
        return Symptom(text, 0, gradients.index[0])


@rule("dropout-too-high", Change(dropout=0.3))
def dropout_too_high(seen: Seen):
    drops = {name: m.p for name, m in seen.model.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd)}
    if drops and max(drops.values()) > 0.5:
        name = max(drops, key=drops.get)
        return Symptom(f"dropout takes {drops[name]:.0%} away at {name}", 0, name)


# ---- the optimizer


@rule("clip-too-tight", Change())
def clip_too_tight(seen: Seen):
    """Gradients arrive at the step far shorter than backward() made them."""
    rows = seen.updates.dropna(subset=["gradient", "at step"])
    norms = whole_norms(rows, ["gradient", "at step"])
    scale = seen.passes.set_index("pass")["scale"].abs().reindex(norms.index)
    kept = norms["at step"] * scale / norms["gradient"]
    if often(kept < 0.1):
        return Symptom(f"in the middle, {kept.median():.2g} of the gradient is left at the step", 0)


@rule("over-regularized", Change(decay=0.0), Change())
def over_regularized(seen: Seen):
    """Weights shrink, or decay pulls harder than the loss does."""
    rows = seen.updates[seen.updates["dimensions"] > 1]
    norms = whole_norms(rows, ["weight"])["weight"]
    decay = max(group.get("weight_decay", 0) for group in seen.watch.optimizer.param_groups)
    shrunk = norms.iloc[-1] / norms.iloc[0] if norms.iloc[0] else 1.0
    if 0 < shrunk < 0.7 or (decay >= 0.01 and seen.steps):
        step = norms.index[(norms < 0.7 * norms.iloc[0]).argmax()] if shrunk < 0.7 else norms.index[0]
        return Symptom(f"weights are {shrunk:.2g} of what they were; weight decay {decay:g}", seen.step_of(step))


@rule("dead-relu", Change())
def dead_relu(seen: Seen):
    rows = seen.places[(seen.places["kind"] == "activation")]
    if not len(rows):
        return None
    by_place = rows.pivot_table(index="pass", columns=["layer", "place"], values="dead units", aggfunc="first")
    died = by_place.iloc[-FIRST:].mean() * (by_place.iloc[0] < 0.5)
    if died.max() > DEAD:
        worst = died.idxmax()
        when = by_place.index[(by_place[worst] > DEAD).argmax()]
        first, last = by_place[worst].iloc[[0, -1]]
        text = f"{first:.0%} of the units after {worst[0]} were dead at first, {last:.0%} at last"
        return Symptom(text, seen.step_of(when), worst[0])


@rule("lr-too-high", Change(rate=0.1), Change(rate=0.01), Change(rate=0.001))
def lr_too_high(seen: Seen):
    ratios = seen.relative_changes.groupby("pass")["ratio"].max()
    loss = seen.column("loss")
    high = often(ratios > LARGE_STEP)
    rises = (loss > 2 * loss.iloc[0]).any() or (len(loss) > FIRST and loss.iloc[-FIRST:].mean() >= loss.iloc[0])
    if len(ratios) and (high or rises):
        text = f"steps change weights by up to {ratios.median():.2g} of their size"
        return Symptom(text + ("; the loss does not fall" if rises else ""), 0)


@rule("lr-too-low", Change(rate=10.0), Change(rate=100.0), Change(rate=1000.0))
def lr_too_low(seen: Seen):
    ratios = seen.relative_changes.groupby("pass")["ratio"].max()
    if len(ratios) and often(ratios < LARGE_STEP):
        return Symptom(f"steps change weights by {ratios.median():.2g} of their size at most", 0)


# ---- the data, looked at as a whole


def roughness(images: Tensor) -> float:
    """Return how far neighbours in a row differ, 1 for noise, 0 for a plain area."""
    if images.ndim != 4 or images.shape[-1] < 4 or not images.is_floating_point():
        raise NotRun("It judges images, float (N, C, H, W).")
    difference = (images[..., 1:] - images[..., :-1]).square().mean().sqrt()
    return (difference / (math.sqrt(2) * images.std().clamp(min=1e-30))).item()


@rule("noisy-inputs", Change(inputs="smoothed"))
def noisy_inputs(seen: Seen):
    rough = roughness(seen.needed().train.inputs)
    test = roughness(seen.test.inputs) if seen.test else 0.3
    if rough > test + 0.2:
        text = f"neighbouring pixels differ by {rough:.2g} of what independent ones do"
        return Symptom(text + (f", in the test data by {test:.2g}" if seen.test else ""), 0, certain=bool(seen.test))


def is_rough(seen: Seen) -> bool:
    """Tell whether noise explains why inputs do not tell labels."""
    try:
        return noisy_inputs(seen) is not None
    except NotRun:
        return False


@rule("train-test-mismatch")
def train_test_mismatch(seen: Seen):
    """Inputs differ between training and test, those of the same class, too, and so does the accuracy."""
    lab = seen.needed(test=True)
    if differ(lab.train.inputs, seen.test.inputs) and differ_by_class(lab.train, seen.test):
        train, test = lab.train.inputs.float(), seen.test.inputs.float()
        own, other, alike = (lab.score(None, on=data) for data in (lab.held, seen.test, with_moments(seen.test, train)))
        moments = f"training inputs have mean {train.mean():.3g} and std {train.std():.3g}, test inputs"
        accuracy = f"accuracy {own:.0%} and {other:.0%}, {alike:.0%} with training's mean and std"
        text = f"{moments} {test.mean():.3g} and {test.std():.3g}; {accuracy}"
        return Symptom(text, 0, certain=own > other + 0.1 or alike > other + 0.03)


def with_moments(data: Data, like: Tensor) -> Data:
    """Return data with the mean and std of `like`."""
    inputs = data.inputs.float()
    return Data(like.mean() + (inputs - inputs.mean()) * (like.std() / inputs.std().clamp(min=1e-30)), data.targets)


def differ(train: Tensor, test: Tensor) -> bool:
    """Tell whether mean, std or mean image of inputs (N, ...) differ by more than chance: by 0.3 std, or half of it."""
    train, test = train.float(), test.float()
    std = train.std().clamp(min=1e-30)
    ratio, image = test.std() / std, ((test.mean(0) - train.mean(0)) / std).square().mean()
    chance = (train.var(0).mean() / std**2) * (1 / len(train) + 1 / len(test))
    return bool(not 0.67 < ratio < 1.5 or image - chance > 0.3**2)


def differ_by_class(train: Data, test: Data) -> bool:
    """Tell whether inputs of most classes differ, by the number of their samples; of all where there are no classes."""
    labels, test_labels = class_labels(train.targets), class_labels(test.targets)
    if labels is None or test_labels is None:
        return True
    pairs = [(train.inputs[labels == c], test.inputs[test_labels == c]) for c in labels.unique()]
    weighed = [(min(len(a), len(b)), differ(a, b)) for a, b in pairs if min(len(a), len(b)) >= 10]
    return sum(n for n, differs in weighed if differs) > sum(n for n, _ in weighed) / 2


@rule("labels-shuffled")
def labels_shuffled(seen: Seen):
    """Neighbours' labels tell nothing, and a training learns from them no more than from permuted ones."""
    lab = seen.needed()
    if max(seen.watch.labels.values()) > 0.9 * sum(seen.watch.labels.values()):
        raise NotRun("Nearly all labels are the same.")
    fits = checks.labels_fit_inputs(lab.train)
    if fits.verdict == "not run":
        raise NotRun(fits.advice)
    if fits.fires and constant_inputs(seen) is None and not is_rough(seen):
        given, permuted = lab.score(REFERENCE), lab.score(replace(REFERENCE, samples="permuted"))
        text = f"inputs tell labels by chance only; a training reaches {given:.0%}, with permuted labels {permuted:.0%}"
        return Symptom(text, 0, certain=given < permuted + 0.05)


@rule("label-noise")
def label_noise(seen: Seen):
    """Neighbours among the training data agree with test labels more often than with training labels."""
    lab = seen.needed(test=True)
    test = Data(*(part[: len(lab.held.inputs)] for part in seen.test[:2]))
    own, other = agreement(lab.train, lab.held), agreement(lab.train, test)
    error = math.sqrt(own * (1 - own) / len(lab.held.inputs) + other * (1 - other) / len(test.inputs))
    if other - own > max(0.05, 4 * error) and not is_rough(seen):
        text = f"neighbours agree with {own:.0%} of training labels and {other:.0%} of test labels"
        return Symptom(text, 0, certain=True)


def agreement(data: Data, queries: Data, k: int = 10) -> float:
    """Return the share of labels that the majority of the k nearest training samples has, too."""
    labels, wanted = class_labels(data.targets), class_labels(queries.targets)
    if labels is None or wanted is None:
        raise NotRun("It judges class indices.")
    distances = torch.cdist(queries.inputs.flatten(1).float(), data.inputs.flatten(1).float())
    nearest = labels[distances.topk(min(k, len(labels)), largest=False).indices]
    return (nearest.mode(1).values == wanted).float().mean().item()


# ---- the symptom of last resort


@rule("nan")
def not_a_number(seen: Seen):
    """The first number that is not finite, in the order input, place, loss, gradient."""
    tables = (
        (seen.places, "rms", "what comes {place} {layer} is", "layer"),
        (seen.passes, "loss", "the loss is", None),
        (seen.updates, "gradient", "the gradient of {name} is", "name"),
    )
    first = {}
    for order, (table, column, text, where) in enumerate(tables):
        if column in table:
            bad = table[~np.isfinite(table[column]) & table.get("reached", True)]
            if len(bad):
                first[bad["pass"].iloc[0], order] = text.format(**bad.iloc[0]), bad.iloc[0][where] if where else ""
    if not first:
        return None
    number, order = min(first)
    text, where = first[number, order]
    if seen.interventions and not seen.interventions.finite:
        return Symptom("some inputs of the probe are not finite", seen.step_of(number), certain=True)
    certain = text.startswith("what comes input")
    return Symptom(f"{text} the first that is not finite", seen.step_of(number), where, certain)
