"""Copies of a model, its optimizer and some data, and short trainings of them: what is the caller's own stays as it is.

`Interventions` trains copies of a watched model, each with one thing changed: does it then learn better? A copy begins
with weights like the first ones (drawn anew with the mean and std that each parameter had), has the optimizer's
settings, and takes as many steps as the loop has, up to LONGEST: what wins, wins at equal effort.
"""

import contextlib
import copy
import functools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from doctor.baseline import loss_of_constant
from doctor.changes import Change, Functions
from doctor.measure import are_classes, by_class, class_labels, update_ratio
from doctor.optimizers import parameters_of

LOADED = 10_000  # samples taken from a DataLoader
SAMPLES = 300  # on which distributions are measured: a share is then known to 3 points
BATCH = 32  # of a short training
STEPS = 60  # of it: most leave the first guess, one class for all, and it is little for a CPU
ROUNDS = 5  # of STEPS for those that are slow to leave it
LONGEST = 300  # steps of an intervention: what helps at all shows in them, and they take a second
PROBED = 4000  # samples of the probe that are used; a quarter judges, so that accuracies are known to 1.5 points
AVERAGED = 10  # more passes of a model that is random in evaluation mode
LARGE = 10.0  # for a number of a vector of weights
LEAST = 100  # samples of a probe


class Data(NamedTuple):
    """Training data, inputs (N, ...) and targets (N, ...), and perhaps test data."""

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor | None = None
    test_targets: Tensor | None = None

    @classmethod
    def of(cls, data, model: nn.Module | None = None) -> "Data":
        """Return what a caller gave as data, on the model's device.

        `data`: a DataLoader, of which the first LOADED samples are taken, or two or four tensors. Raises ValueError for
        anything else, for no samples, and for inputs and targets of different lengths.
        """
        if isinstance(data, torch.utils.data.DataLoader):
            batches = islice(data, -(-LOADED // (data.batch_size or 1)))
            with contextlib.suppress(TypeError):  # of batches of other things than tensors
                data = [torch.cat(parts)[:LOADED] for parts in zip(*batches, strict=True)]
        fits = isinstance(data, (tuple, list)) and len(data) in (2, 4)
        if not fits or not all(isinstance(part, Tensor) or part is None for part in data) or data[0] is None:
            raise ValueError("data must be a DataLoader, or tensors: (inputs, targets), perhaps with those for test.")
        data = cls(*data)
        for inputs, targets in (data[:2], data[2:]):
            if inputs is not None and not len(inputs) == len(targets) > 0:
                raise ValueError(f"{len(inputs)} inputs and {len(targets)} targets: give as many, at least 1.")
        device = None if model is None else next((p.device for p in model.parameters()), None)
        return cls(*(None if part is None else part.detach().to(device) for part in data))

    def sample(self, size: int = SAMPLES) -> tuple[Tensor, Tensor]:
        """Return copies of at most `size` training samples, drawn without replacement."""
        index = torch.randperm(len(self.inputs))[:size].to(self.inputs.device)
        return self.inputs[index], self.targets[index]

    def rounds(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Give up to ROUNDS times STEPS batches, in one pass over the data or less: nothing is learned by heart."""
        count = max(1, min(ROUNDS, len(self.inputs) // (BATCH * STEPS)))
        batches = self.batches(count * STEPS)
        for _ in range(count):
            yield list(islice(batches, STEPS))

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Give `steps` batches drawn with replacement, the same ones each time."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            index = torch.randint(len(self.inputs), (BATCH,), generator=generator).to(self.inputs.device)
            yield self.inputs[index], self.targets[index]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Draw the same random numbers each time, leave the caller's random states alone, and let gradients be recorded."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (what a student's code may draw from)
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def copies(model: nn.Module, optimizer=None) -> tuple:
    """Return copies of a model and its optimizer (or None) that belong together, without the hooks of the caller."""
    # Outputs that a model has kept cannot be copied with their graph.
    kept = [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor) and t.grad_fn is not None]
    twin, twin_optimizer = copy.deepcopy((model, optimizer), {id(t): t.detach() for t in kept})
    if isinstance(twin_optimizer, torch.optim.LBFGS):  # keeps its parameters twice, and a copy of it but once
        twin_optimizer._params, twin_optimizer._numel_cache = twin_optimizer.param_groups[0]["params"], None
    for m in twin.modules():
        for hooks in (m._forward_pre_hooks, m._forward_hooks, m._backward_pre_hooks, m._backward_hooks):
            for key in [key for key, hook in hooks.items() if not type(hook).__module__.startswith("torch.")]:
                del hooks[key]  # those of torch, such as spectral norm's, are a part of the model
    return twin, twin_optimizer


def quiet(model: nn.Module) -> nn.Module:
    """Put a model into training mode, but dropout into evaluation mode; return it.

    So nothing is random, and batch normalization works before its running averages have been learned.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def adam(model: nn.Module, rate: float = 1e-3) -> torch.optim.Optimizer:
    """Return Adam, by default at rate 1e-3, which most models can stand, whatever the scale of their gradients.

    Raises ValueError where no parameter requires a gradient.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("No parameter requires a gradient: there is nothing to train.")
    return torch.optim.Adam(parameters, rate)


def ordinary_step(model, loss_fn, optimizer, inputs: Tensor, targets: Tensor) -> float:
    """Make one training step; return the loss before it."""

    def closure():
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        return loss

    return optimizer.step(closure).item()


def update_ratios(model: nn.Module, step: Callable[[], object]) -> dict[str, float]:
    """Call `step`; return |change| / |weight before| of each parameter with two or more dimensions: the real update."""
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters() if p.ndim > 1}
    step()
    return {name: update_ratio(old, p).item() for name, (p, old) in before.items()}


def train(model, loss_fn, optimizer, batches: Iterable[tuple[Tensor, Tensor]], step=ordinary_step) -> None:
    """Train in place, in training mode, one step for each batch."""
    model.train()
    for batch in batches:
        step(model, loss_fn, optimizer, *batch)


def loss_of(model: nn.Module, loss_fn, inputs: Tensor, targets: Tensor) -> float:
    """Return the loss in the mode that the model is in, without recording a gradient."""
    with torch.no_grad():
        return float(loss_fn(model(inputs), targets))


class Direction:
    """Whether a watched loop drives its loss down or up."""

    def __init__(self, watch):
        scales = [p.scale for p in watch.passes if p.scale is not None]
        self.loss_fn = watch.plain_loss
        self.differentiated = -1.0 if 2 * sum(scale < 0 for scale in scales) > len(scales) else 1.0  # times the loss
        maximizes = any(group.get("maximize") for group in watch.optimizer.param_groups)
        self.sign = -self.differentiated if maximizes else self.differentiated  # -1: up

    def minimized(self, outputs: Tensor, targets) -> Tensor:
        """Return the loss, or minus what the loop maximizes."""
        return self.sign * self.loss_fn(outputs, targets)


class Interventions:
    """Trainings of copies on a part of the probe (inputs (N, ...), targets (N, ...)), scored on the rest of it.

    The score is the accuracy, with `recall` its mean over classes; where samples have no classes, the share of the loss
    of the best constant prediction that is gone, at least 0. Raises ValueError for fewer than LEAST samples, or no two
    tensors of the same length.
    """

    def __init__(self, watch, probe, test=None):
        self.watch, self.direction, passes = watch, Direction(watch), watch.passes
        sizes = [p.size for p in passes if p.size is not None]
        self.batch = int(np.median(sizes)) if sizes else BATCH
        self.steps = min(max(1, watch.count["steps"], watch.count["losses"]), LONGEST)
        self.rates = list(zip(*(p.rates for p in passes if len(p.rates) == len(passes[-1].rates)), strict=True))
        self.moved = frozenset(update.name for p in passes for update in p.updates if update.change > 0)
        with undisturbed():
            inputs, targets = Data.of(probe, watch.model).sample(PROBED)
        if len(inputs) < LEAST:
            raise ValueError(f"The probe has {len(inputs)} samples: give at least {LEAST}, better {PROBED}.")
        self.test = Data(*Data.of(test, watch.model)[:2]) if test is not None else None
        self.finite = not inputs.is_floating_point() or bool(inputs.isfinite().all())
        held = -(-len(inputs) // 4)
        self.train, self.held = Data(inputs[held:], targets[held:]), Data(inputs[:held], targets[:held])
        self._outputs, self._constants = {}, {}  # by change; by part of the data

    def gain(self, change: Change, recall: bool = False) -> float:
        """Return by how much a copy with the change beats the watched model, and a copy without it."""
        others = {None, Change()} - {change}
        return self.score(change, recall) - max(self.score(other, recall) for other in others)

    def score(self, change: Change | None, recall=False, on: Data | None = None, training=False, size=None) -> float:
        """Return the score of a copy trained with the change; for None that of the watched model as it is.

        It is measured on the rest of the probe, recall on test data where there are: they have more of rare classes.
        `size`: of the batches that the watched model gets; by default 1,000, in training mode that of the loop.
        """
        on = on or (self.test if recall and self.test else self.held)
        return self._score_of(self.outputs(change, on, training, size), on, recall)

    def won_by_averaging(self) -> float:
        """Return what the mean of several passes scores more than one does: 0 where evaluations are not random."""
        model = copies(self.watch.model)[0]
        with undisturbed():
            first, *others = (self._evaluate(model, self.held.inputs, Change()) for _ in range(2))
            if by_class(first, self.held.targets) is None or torch.equal(first, others[0]):
                return 0.0
            others += [self._evaluate(model, self.held.inputs, Change()) for _ in range(AVERAGED)]
        mean = torch.stack([part.softmax(1) if part.ndim > 1 else part for part in others]).mean(0)
        return self._score_of(mean, self.held) - self._score_of(first, self.held)

    def _score_of(self, outputs: Tensor, on: Data, recall: bool = False) -> float:
        classified = by_class(outputs, on.targets) if recall or outputs.ndim < 3 else None
        if classified is None:
            return self._skill(outputs, on)
        right, labels = (classified[0].argmax(1) == classified[1]).float(), classified[1]
        return (torch.stack([right[labels == c].mean() for c in labels.unique()]) if recall else right).mean().item()

    def _skill(self, outputs: Tensor, on: Data) -> float:
        """Return the share of the loss of the best constant prediction that is gone, 0 where the loss is larger."""
        if not outputs.isfinite().all():
            return 0.0
        if id(on) not in self._constants:
            self._constants[id(on)] = loss_of_constant(self.direction.minimized, [(outputs, on.targets)])
        constant, loss = self._constants[id(on)], self.direction.minimized(outputs, on.targets).mean().item()
        skill = (constant - loss) / max(abs(constant), 1e-12)
        return min(1.0, max(0.0, skill)) if math.isfinite(skill) else 0.0

    def outputs(self, change: Change | None, on: Data, training: bool = False, size: int | None = None) -> Tensor:
        """Return what a copy trained with the change gives for the held part or test data, the model itself for any."""
        with undisturbed():
            if change is None:
                size = size or (self.batch if training else 1000)
                return self._evaluate(copies(self.watch.model)[0], on.inputs, Change(), training, size)
            if change not in self._outputs:
                model, parts = self._train(change), [part for part in (self.held, self.test) if part]
                self._outputs[change] = {id(part): self._evaluate(model, part.inputs, change) for part in parts}
        return self._outputs[change][id(on)]

    @torch.no_grad()
    def _evaluate(self, model: nn.Module, inputs: Tensor, change: Change, training=False, size=1000) -> Tensor:
        model.train(training)
        functions = Functions(change, self.watch.ending)
        outputs = torch.cat([functions.call(model, part) for part in self._prepare(inputs, change).split(size)])
        return outputs * self._scale[1] + self._scale[0] if change.targets == "scaled" else outputs

    def _train(self, change: Change) -> nn.Module:
        """Return a copy that is trained with the change."""
        model, optimizer = self.first_model(change)
        inputs, targets = self._prepare(self.train.inputs, change), self.train.targets
        if change.targets == "scaled":
            targets = (targets - self._scale[0]) / self._scale[1]
        if change.samples == "permuted":
            targets = targets[torch.randperm(len(targets))]

        sign = self.direction.sign if change.optimizer == "Adam" else self.direction.differentiated

        def loss_fn(outputs, targets):
            by_labels = change.loss == "cross entropy" and are_classes(outputs, labels := class_labels(targets))
            if change.samples == "balanced" and targets.ndim > 1:
                return self._balanced_loss(outputs, targets)
            loss = cross_entropy(outputs, labels) if by_labels else sign * self.watch.plain_loss(outputs, targets)
            return loss / {"mean": len(targets), "mean of outputs": outputs.numel()}.get(change.loss, 1)

        model.train()
        forward = functools.partial(Functions(change, self.watch.ending).call, model)
        for index in self._batches(change):
            if not math.isfinite(ordinary_step(forward, loss_fn, optimizer, inputs[index], targets[index])):
                break  # nothing more is learned
        return model

    def _balanced_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of outputs (B, C, ...) or (B, T, C), all classes weighted alike."""
        outputs = outputs if outputs.shape[2:] == targets.shape[1:] else outputs.movedim(-1, 1)
        labels = self.train.targets.flatten()
        counts = labels[labels >= 0].bincount(minlength=outputs.shape[1])
        return cross_entropy(outputs, targets, 1 / counts.clamp(min=1))

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and std of the training targets."""
        return self.train.targets.mean(0), self.train.targets.std(0).clamp(min=1e-30)

    def _batches(self, change: Change) -> Iterator[Tensor]:
        """Give the indices of each batch, in passes over the shuffled samples, or drawn with equal classes."""
        count = len(self.train.inputs)
        size = min(round(self.batch * change.batch), count)
        if change.samples == "balanced" and (labels := class_labels(self.train.targets)) is not None:
            index = torch.multinomial(1 / labels.bincount()[labels], self.steps * size, replacement=True)
        else:
            index = torch.cat([torch.randperm(count) for _ in range(-(-self.steps * size // count))])
        return iter(index[: self.steps * size].split(size))

    def _prepare(self, inputs: Tensor, change: Change) -> Tensor:
        if change.inputs == "scaled" and inputs.is_floating_point():
            return (inputs - self.train.inputs.mean()) / self.train.inputs.std().clamp(min=1e-30)
        return avg_pool2d(inputs, 3, 1, 1) if change.inputs == "smoothed" else inputs

    def first_model(self, change: Change) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return a copy with weights like the first ones, or with sound ones, and its optimizer."""
        model, optimizer = copies(self.watch.model, self.watch.optimizer)
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._NormBase):
                m.reset_running_stats()
            if isinstance(m, nn.modules.dropout._DropoutNd):
                m.p *= change.dropout
        optimizer.state.clear()
        rates = [max(column) if change.schedule == "highest" else np.mean(column) for column in self.rates]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = float(rate) * change.rate
            if "weight_decay" in group:
                group["weight_decay"] *= change.decay
        if change.trained == "all":
            train_all(model, optimizer, max(map(max, self.rates)))
        self._draw_weights(model, optimizer, sound=change.weights == "sound")
        return model, adam(model) if change.optimizer == "Adam" else optimizer

    @torch.no_grad()
    def _draw_weights(self, model: nn.Module, optimizer, sound: bool) -> None:
        """Draw parameters anew. What is not trained stays, such as a backbone; what has not moved is a first weight."""
        first = {weight.name: weight for weight in self.watch.weights}
        trained = {id(p) for group in optimizer.param_groups if group["lr"] for p in group["params"] if p.requires_grad}
        for name, p in model.named_parameters():
            if sound and id(p) in trained and p.ndim > 1:
                nn.init.kaiming_normal_(p, nonlinearity="relu")
            elif sound and id(p) in trained and p.ndim == 1 and p.abs().max() > LARGE:
                p.normal_(0, p.numel() ** -0.5)
            elif sound and id(p) in trained and name.endswith("bias"):
                p.zero_()
            elif name in self.moved:
                p.normal_(first[name].mean, first[name].std)


def train_all(model: nn.Module, optimizer, rate: float) -> None:
    """Let the optimizer train all parameters of the model."""
    known = {id(p) for p in parameters_of(optimizer)}
    for group in optimizer.param_groups:
        group["lr"] = rate
    if left_out := [p for p in model.parameters() if id(p) not in known]:
        optimizer.add_param_group({"params": left_out, "lr": rate})
    model.requires_grad_(True)
