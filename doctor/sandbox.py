"""Short trainings of copies of a watched model, each with one thing changed: does it then learn better?

A copy begins with weights like the first ones (drawn anew with the mean and std that each parameter had), has the
optimizer's settings, and takes as many steps as the loop has, up to STEPS: what wins, wins at equal effort.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, relu
from torch.overrides import TorchFunctionMode

from doctor.experiments import BATCH, Data, adam, copies, ordinary_step, undisturbed
from doctor.passes import BOUNDS, RECTIFIERS
from doctor.watch import Watch, class_labels, is_classified

STEPS = 300  # of a training: what helps at all shows in them, and they take a second
SAMPLES = 4000  # of the probe that are used; a quarter of them judges, so that accuracies are known to 1.5 points
LEAST = 100  # samples of a probe


@dataclass(frozen=True)
class Change:
    """What a training of a copy does differently. As it stands it changes nothing: an ordinary loop, no clipping."""

    rate: float = 1.0  # factor
    decay: float = 1.0  # factor of the optimizer's weight decay
    dropout: float = 1.0  # factor of p
    weights: str = "first"  # "sound": He's, with biases of 0
    activations: str = "own"  # "relu" for all of them; "normalized" over the batch before each; "rescaled" after each
    trained: str = "own"  # "all" parameters
    inputs: str = "own"  # "scaled" to mean 0 and std 1; "smoothed": the mean of 3x3 neighbours
    samples: str = "own"  # "balanced": all classes alike; "permuted": the labels of other samples
    loss: str = "own"  # "mean" over the batch, or "mean of outputs"; "cross entropy"
    optimizer: str = "own"  # "Adam" at its default rate

    def __str__(self) -> str:
        own = vars(Change())
        changed = {key: value for key, value in vars(self).items() if value != own[key]}
        texts = [f"{key} x {v:g}" if isinstance(v, float) else f"{v} {key}" for key, v in changed.items()]
        return ", ".join(texts) or "an ordinary loop"


REFERENCE = Change(weights="sound", inputs="scaled", dropout=0.3, trained="all", loss="cross entropy", optimizer="Adam")


class Interventions:
    """Trainings on a part of the probe (inputs (N, ...), targets (N, ...)), scored on the rest of it.

    Raises ValueError for fewer than LEAST samples, or data that are no two tensors of the same length. The score is the
    accuracy, with `recall` its mean over classes; where targets are no class indices, the share of the first loss that
    is taken off.
    """

    def __init__(self, watch: Watch, probe, test=None):
        self.watch, passes = watch, watch.passes
        self.first_loss = passes["loss"].iloc[0] if "loss" in passes else math.nan
        self.batch = int(passes["size"].median()) if "size" in passes else BATCH
        self.steps = min(max(1, watch.count["steps"], watch.count["losses"]), STEPS)
        self.rates = typical_rates(passes["rates"])
        self.moved = frozenset(watch.updates.query("change > 0")["name"]) if len(watch.updates) else frozenset()
        with undisturbed():
            inputs, targets = Data.of(probe, watch.model).sample(SAMPLES)
        if len(inputs) < LEAST:
            raise ValueError(f"The probe has {len(inputs)} samples: give at least {LEAST}, better {SAMPLES}.")
        self.test = Data(*Data.of(test, watch.model)[:2]) if test is not None else None
        self.finite = not inputs.is_floating_point() or bool(inputs.isfinite().all())
        held = -(-len(inputs) // 4)
        self.train, self.held = Data(inputs[held:], targets[held:]), Data(inputs[:held], targets[:held])
        self._outputs = {}  # by change

    def gain(self, change: Change, recall: bool = False) -> float:
        """Return by how much a copy with the change beats the watched model, and a copy without it."""
        others = {None, Change()} - {change}
        return self.score(change, recall) - max(self.score(other, recall) for other in others)

    def score(self, change: Change | None, recall: bool = False, on: Data | None = None) -> float:
        """Return the score of a copy trained with the change; for None that of the watched model as it is.

        It is measured on the rest of the probe, recall on test data where there are: they have more of rare classes.
        """
        on = on or (self.test if recall and self.test else self.held)
        outputs = self.outputs(change, on)
        labels = labels_of(outputs, on.targets)
        if labels is None:
            loss = float(self.watch.plain_loss(outputs, on.targets)) / self.first_loss
            return 1 - loss if math.isfinite(loss) else -math.inf
        right = (outputs.argmax(1) == labels).float()
        return (torch.stack([right[labels == c].mean() for c in labels.unique()]) if recall else right).mean().item()

    def outputs(self, change: Change | None, on: Data) -> Tensor:
        """Return what a copy trained with the change gives for the held part or test data, the model itself for any."""
        with undisturbed():
            if change is None:
                return self.answers(copies(self.watch.model)[0], on.inputs, Change())
            if change not in self._outputs:
                model, parts = self.trained(change), [part for part in (self.held, self.test) if part]
                self._outputs[change] = {id(part): self.answers(model, part.inputs, change) for part in parts}
        return self._outputs[change][id(on)]

    @torch.no_grad()
    def answers(self, model: nn.Module, inputs: Tensor, change: Change) -> Tensor:
        model.eval()
        with Functions(change):
            return torch.cat([model(part) for part in self.prepared(inputs, change).split(1000)])

    def trained(self, change: Change) -> nn.Module:
        model, optimizer = self.first_model(change)
        inputs, targets = self.prepared(self.train.inputs, change), self.train.targets
        if change.samples == "permuted":
            targets = targets[torch.randperm(len(targets))]

        def loss_fn(outputs, targets):
            labels = labels_of(outputs, targets) if change.loss == "cross entropy" else None
            loss = self.watch.plain_loss(outputs, targets) if labels is None else cross_entropy(outputs, labels)
            return loss / {"mean": len(targets), "mean of outputs": outputs.numel()}.get(change.loss, 1)

        model.train()
        with Functions(change):
            for index in self.batches(balanced=change.samples == "balanced"):
                if not math.isfinite(ordinary_step(model, loss_fn, optimizer, inputs[index], targets[index])):
                    break  # nothing more is learned
        return model

    def batches(self, balanced: bool) -> Iterator[Tensor]:
        """Give the indices of each batch, in passes over the shuffled samples, or drawn with equal classes."""
        count, size = len(self.train.inputs), min(self.batch, len(self.train.inputs))
        if balanced:
            labels = class_labels(self.train.targets)
            index = torch.multinomial(1 / labels.bincount()[labels], self.steps * size, replacement=True)
        else:
            index = torch.cat([torch.randperm(count) for _ in range(-(-self.steps * size // count))])
        return iter(index[: self.steps * size].split(size))

    def prepared(self, inputs: Tensor, change: Change) -> Tensor:
        if change.inputs == "scaled":
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
        for group, rate in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * change.rate
            if "weight_decay" in group:
                group["weight_decay"] *= change.decay
        if change.trained == "all":
            train_all(model, optimizer, max(self.rates))
        self.draw_weights(model, optimizer, sound=change.weights == "sound")
        return model, adam(model) if change.optimizer == "Adam" else optimizer

    @torch.no_grad()
    def draw_weights(self, model: nn.Module, optimizer, sound: bool) -> None:
        """Draw parameters anew. What is not trained stays, such as a backbone; what has not moved is a first weight."""
        first = self.watch.weights.set_index("name")
        trained = {id(p) for group in optimizer.param_groups if group["lr"] for p in group["params"] if p.requires_grad}
        for name, p in model.named_parameters():
            if sound and id(p) in trained and p.ndim > 1:
                nn.init.kaiming_normal_(p, nonlinearity="relu")
            elif sound and id(p) in trained and name.endswith("bias"):
                p.zero_()
            elif name in self.moved:
                p.normal_(first["mean"][name], first["std"][name])


def train_all(model: nn.Module, optimizer, rate: float) -> None:
    """Let the optimizer train all parameters of the model."""
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for group in optimizer.param_groups:
        group["lr"] = rate
    if left_out := [p for p in model.parameters() if id(p) not in known]:
        optimizer.add_param_group({"params": left_out, "lr": rate})
    model.requires_grad_(True)


def typical_rates(rates) -> list[float]:
    """Return the middle of each group's rates, which a schedule may have ended near 0."""
    columns = zip(*(row for row in rates if len(row) == len(rates.iloc[-1])), strict=True)
    return [sorted(column)[len(column) // 2] for column in columns]


def labels_of(outputs, targets) -> Tensor | None:
    """Return class indices (B,) where outputs (B, C) can be judged by them."""
    labels = class_labels(targets)
    return labels if is_classified(outputs, labels) else None


class Functions(TorchFunctionMode):
    """Within it, what a model calls does as a Change says: other activation functions, nothing detached."""

    def __init__(self, change: Change):
        super().__init__()
        self.change = change

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").strip("_")  # relu_ works in place
        if self.change.trained == "all" and name == "detach":
            return args[0]
        if self.change.activations != "own" and (name in RECTIFIERS or name in BOUNDS):
            if self.change.activations == "relu":
                return relu(args[0])
            if self.change.activations == "rescaled":
                outputs = function(*args, **(kwargs or {}))
                return outputs / outputs.square().mean().sqrt().clamp(min=1e-30)
            args = (normalized(args[0]), *args[1:])
        return function(*args, **(kwargs or {}))


def normalized(x: Tensor) -> Tensor:
    """Return values with mean 0 and std 1 over the batch, unit by unit, as batch normalization does."""
    over = [d for d in range(x.ndim) if d != min(1, x.ndim - 1)]
    return (x - x.mean(over, keepdim=True)) / (x.std(over, correction=0, keepdim=True) + 1e-5)
