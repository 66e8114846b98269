"""What the loss is: its sign, its scale, and whether it suits the outputs and the targets."""

import math
from statistics import median

import torch
from torch.overrides import TorchFunctionMode

from doctor.evidence import CLASSES, GAIN, LOSS, Evidence, NotRun, Symptom, close, is_float, often, total_norm
from doctor.measure import BOUNDS, function_name

MANY = 0.3  # of the targets, that nobody puts out of reach
FAR = 20.0  # logits that leave no doubt
UNBALANCED = 100.0  # times the gradients of another part of the loss
RECTIFIED = ("relu", "clamp", "clamp_min", "clip")
# What activation functions can give, by the names of their torch functions.
RANGES = BOUNDS | dict.fromkeys((*RECTIFIED, "softplus"), (0, math.inf)) | {"relu6": (0, 6)}


def class_weights_wrong(evidence: Evidence) -> Symptom | None:
    """The loss gives frequent classes larger weights, and rare ones smaller weights, than it gives on average."""
    weight = getattr(evidence.watch.plain_loss, "weight", None)
    counts = evidence.class_counts
    if not isinstance(weight, torch.Tensor) or max(counts, default=0) >= len(weight) or len(counts) < 2:
        raise NotRun("It judges weights of classes in the loss.")
    shares = torch.tensor([float(counts[c]) for c in range(len(weight))])
    if weight.max() > 1.5 * weight.min() and torch.corrcoef(torch.stack([shares, weight.float().cpu()]))[0, 1] > 0.5:
        most = int(shares.argmax())
        text = f"class {most}, the most frequent one, has weight {weight[most]:.3g}, others {weight.min():.3g} and more"
        return Symptom(text, 0)


def loss_sign(evidence: Evidence) -> Symptom | None:
    """What the loop drives up is lower where outputs are right, or what it drives down is higher there."""
    evidence.passes_with(lambda p: p.scale, LOSS)
    upward = evidence.sign < 0
    text = "the optimizer has maximize=True, or backward() is called on minus the loss"
    try:
        right, wrong = evidence.right_and_wrong()
    except NotRun:
        return Symptom(text, 0) if upward else None
    if evidence.sign * (right - wrong) > 1e-6:
        text = text if upward else f"right outputs have a loss of {right:.3g}, wrong ones of {wrong:.3g}"
        # A sound loss may mean something else by its outputs, such as distances, but none falls without end, and
        # masks mean what they say.
        endless = evidence.sign * (evidence.right_and_wrong(100.0)[1] - wrong) < -1.0
        return Symptom(text, 0, certain=endless or are_masks(evidence))


def are_masks(evidence: Evidence) -> bool:
    """Tell whether targets are 0 or 1 at each place of the outputs (B, C, ...)."""
    kept = evidence.watch.kept[-1] if evidence.watch.kept else None
    same = kept is not None and kept.outputs.ndim > 2 and kept.targets.shape == kept.outputs.shape
    return same and bool(((kept.targets == 0) | (kept.targets == 1)).all())


def softmax_wrong_dim(evidence: Evidence) -> Symptom | None:
    """Outputs sum to 1 over the batch; or the loss does not see what is added to all samples, as softmax over them."""
    if (layer := evidence.watch.softmax_over_batch) and evidence.samples_mix:
        return Symptom(f"softmax runs over the samples of the batch, after {layer}", 0, layer, certain=True)
    weights = {w.layer: evidence.watch.parameters[w.name] for w in evidence.matrices}
    if (layer := evidence.watch.softmax_of_one) in weights and len(weights[layer]) == 1:
        return Symptom(f"softmax of the single output of {layer} is 1 whatever it is", 0, layer, certain=True)
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
    if found := squashed_twice(evidence, "Softmax"):
        return found
    least = math.log(math.e + evidence.width - 1) - 1
    if are_probabilities(evidence) and evidence.ignores_shift(0):
        text = f"outputs are probabilities, so the loss stays above {least:.3g}"
        return Symptom(text, 0, evidence.used[-1], certain=True)
    if close(evidence.loss_of_right(100.0), least):
        return Symptom(f"the loss of the best outputs is {least:.3g}: it applies softmax twice", 0, certain=True)


def squashed_twice(evidence: Evidence, kind: str) -> Symptom | None:
    """Tell of what the loss is made of whether a softmax, or a sigmoid, is squashed once more."""
    first, second = evidence.watch.squashed or ("", "")
    if first == kind:
        layer = evidence.used[-1] if evidence.used else ""
        return Symptom(f"in the loss {second} comes right behind {first}", 0, layer, certain=True)


def sigmoid_before_loss(evidence: Evidence) -> Symptom | None:
    """Outputs of sigmoid, and a loss that falls far beyond what they can reach."""
    return squashed_twice(evidence, "Sigmoid") or beyond_reach(evidence, ("sigmoid", "hardsigmoid"))


def activation_on_output(evidence: Evidence) -> Symptom | None:
    """The last activation function cannot give the targets, or the logits that the loss asks for."""
    ending = evidence.watch.ending
    if not ending:
        return None
    if found := beyond_reach(evidence, set(RANGES) - {"sigmoid", "hardsigmoid"}):
        return found
    outputs, targets = (torch.cat([part.flatten() for part in parts]) for parts in zip(*evidence.pairs, strict=True))
    low, high = RANGES.get(ending[0]) or observed_range(outputs)
    if targets.is_floating_point() and outputs.shape == targets.shape:
        outside = ((targets < low - 0.01) | (targets > high + 0.01)).float().mean().item()
        if outside > 0.02:
            text = f"{outside:.0%} of the targets are outside of what {ending[0]} gives"
            return Symptom(text, 0, evidence.used[-1], certain=ending[0] in RANGES and outside > MANY, needs=GAIN)


def observed_range(outputs: torch.Tensor) -> tuple[float, float]:
    """Return least and greatest output if a tenth of them is there, as behind a bounded function; else no bounds."""
    low, high = outputs.min().item(), outputs.max().item()
    near = 0.01 * (high - low)
    at_bounds = ((outputs < low + near) | (outputs > high - near)).float().mean().item()
    return (low, high) if at_bounds > 0.1 else (-math.inf, math.inf)


def beyond_reach(evidence: Evidence, names) -> Symptom | None:
    """Tell whether the loss of logits goes on falling where an activation function, of these names, ends."""
    ending = evidence.watch.ending
    if not ending or ending[0] not in names:
        return None
    outputs, targets = evidence.pairs[0]
    low, high = (max(-FAR, min(FAR, bound)) for bound in RANGES[ending[0]])
    if outputs.shape != targets.shape:
        reached, beyond = evidence.loss_of_right(high, low), evidence.loss_of_right(FAR, -FAR)
    elif ((targets == 0) | (targets == 1)).all():
        best = [a + (b - a) * targets.float() for a, b in ((low, high), (-FAR, FAR))]
        reached, beyond = (evidence.own_loss(outputs, targets) for outputs in best)
    else:
        return None
    if ending[0] in RECTIFIED and evidence.width > 1 and evidence.ignores_shift(0):  # a logit at 0 gets no gradient
        zero = torch.cat([o.flatten(1) for o, _ in evidence.pairs]) <= 0
        dead, share = int(zero.all(0).sum()), zero.float().mean().item()
        text = f"{ending[0]} makes {share:.0%} of the logits 0, without a gradient; {dead} classes always"
        return Symptom(text, 0, evidence.used[-1], certain=dead > 0) if share > 0.05 else None
    if reached > 0.01 and beyond < 0.5 * reached:
        text = f"outputs come from {ending[0]}: the loss cannot fall below {reached:.3g}, and logits could"
        return Symptom(text, 0, evidence.used[-1], certain=True)


def shape_broadcast(evidence: Evidence) -> Symptom | None:
    outputs, targets = evidence.pairs[0]
    if outputs.shape == targets.shape or not targets.is_floating_point():
        return None
    try:
        whole = torch.broadcast_shapes(outputs.shape, targets.shape)
    except RuntimeError:
        return None  # the loss must know better
    square = targets.shape == 2 * outputs.shape[:1]  # as where targets have been broadcast before the loss
    if whole.numel() <= max(outputs.numel(), targets.numel()) and not square:
        return None
    if outputs.numel() == targets.numel():
        own, aligned = (evidence.own_loss(o, targets) for o in (outputs, outputs.reshape(targets.shape)))
        if close(own, aligned):
            return None
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    return Symptom(f"the loss compares {shapes} as {tuple(whole)}", 0, certain=True)


def wrong_loss(evidence: Evidence) -> Symptom | None:
    """The loss compares outputs with class indices as if they were amounts, or takes logits for log-probabilities."""
    if evidence.watch.misuse:
        return Symptom(evidence.watch.misuse, 0, certain=True)
    labels = evidence.watch.labels
    if often(p.swapped for p in evidence.passes):
        pairs = evidence.pairs
        if not close(evidence.own_loss(*pairs[0]), evidence.own_loss(*reversed(pairs[0]))):
            return Symptom("the loss gets the targets first and the outputs second", 0, certain=True)
    if evidence.width == 1:
        if set(labels) == {0, 1} and evidence.untaught:
            return Symptom(f"samples of class {evidence.untaught[0]} have no gradient, whatever the output", 0)
        if len(labels) > 2 and max(labels) < 1000 and len(labels) >= 0.9 * (max(labels) + 1):
            return Symptom(f"one output is fitted to whole numbers from 0 to {max(labels)}, as if to classes", 0)
        return None
    outputs, indices = evidence.made_up
    if close(evidence.loss_of(indices[:, None].expand_as(outputs).float(), indices), 0.0):
        return Symptom("the loss is 0 where outputs equal the class index", 0, certain=True)
    unbounded = close(evidence.loss_of_right(60.0), evidence.loss_of_right(30.0) - 30)
    if unbounded and not are_probabilities(evidence, logarithms=True):
        text = "the loss is minus the right output and has no lower bound, but outputs are no log-probabilities"
        return Symptom(text, 0, certain=True)


def loss_terms_unbalanced(evidence: Evidence) -> Symptom | None:
    """A part of the loss pulls more than a hundred times as hard as another one."""
    kept = evidence.watch.kept[-1] if evidence.watch.kept else None
    if kept is None or evidence.watch.plain_loss is None:
        raise NotRun(f"It needs {LOSS}.")
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(o.shape, generator=generator).to(o.device) if is_float(o) else o for o in kept.others]
    like_outputs = is_float(kept.targets) and kept.targets.shape == kept.outputs.shape
    made = [kept.targets.roll(1, 0) if like_outputs else kept.outputs, *others]  # the target of another sample
    made = [m.detach().clone().requires_grad_() if is_float(m) else m for m in made]
    with Terms() as terms, torch.enable_grad():
        evidence.watch.plain_loss(made[0], kept.targets, *made[1:])
    sizes = []
    for term in terms.found:
        wanted = [m for m in made if is_float(m)]
        gradients = torch.autograd.grad(term, wanted, retain_graph=True, allow_unused=True)
        sizes.append(total_norm(g.norm().item() for g in gradients if g is not None))
    sizes = [size for size in sizes if size > 0]
    if len(sizes) > 1 and max(sizes) > UNBALANCED * min(sizes):
        times = f"{max(sizes) / min(sizes):.2g} times"
        return Symptom(f"of {len(sizes)} parts of the loss one has gradients {times} those of another", 0)


class Terms(TorchFunctionMode):
    """Collect the numbers that are added up, or subtracted, where both depend on what needs gradients."""

    def __init__(self):
        super().__init__()
        self.found, self.sums = [], set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        if function_name(function) in ("add", "radd", "iadd", "sub", "rsub") and len(args) > 1:
            parts = [a for a in args[:2] if isinstance(a, torch.Tensor) and a.ndim == 0 and a.requires_grad]
            if len(parts) == 2:
                self.found += [part for part in parts if id(part) not in self.sums]
                self.sums.add(id(result))
        return result


def loss_summed(evidence: Evidence) -> Symptom | None:
    """The loss of a batch doubles when each sample comes twice; or losses of batches are added up before a step."""
    added = [p.batches_since_step for p in evidence.passes if p.batches_since_step]
    scales = [abs(p.scale) for p in evidence.passes if p.scale]
    if added and scales and max(added) > 2 and median(scales) == 1 and evidence.steps:
        return Symptom(f"the losses of up to {max(added)} batches are added up before a step, and not divided", 0)
    outputs, labels = evidence.made_up
    single = evidence.loss_of(outputs, labels)
    double = evidence.loss_of(torch.cat([outputs, outputs]), torch.cat([labels, labels]))
    if math.isfinite(single) and close(double, 2 * single):
        return Symptom("the loss is a sum over the batch", 0)
