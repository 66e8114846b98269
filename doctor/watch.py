"""Watches a training loop from outside: hooks of the model, the loss and the optimizer write down running numbers.

Nothing of the loop changes: no output, gradient or random number. Tensors are looked at while they are there anyway;
copies of the parameters are kept during a watched step of the optimizer, and no longer.
"""

import functools
import math
from collections import Counter

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from doctor.experiments import copies
from doctor.passes import Recorder, fetched, finish

FIRST = 4  # passes that are watched whatever `every` is: what is wrong with loss, loop or first weights shows in them
COLUMNS = {  # that rules rely on; passes have more, as far as they can be watched
    "passes": ("pass", "step"),
    "places": ("pass", "kind", "place", "layer", "mean", "std", "rms", "variation", "zeros", "dead units", "saturated"),
    "updates": ("pass", "name", "dimensions", "reached", "weight", "gradient", "at step", "change"),
}


def _safely(method):
    """Never let the loop suffer from its watcher: what `method` raises is written down, and the step is left out."""

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
            self._gradients, self._before = {}, {}
            self._end_row()

    return guarded


class Watch:
    """Write down every `every`-th training pass and the first ones, until `close`.

    A training pass is a forward pass in training mode with gradients; passes in evaluation mode are only counted.
    `loss_fn` is to be called in the loop where the given one is a plain function, which has no hooks. Of the tables

    weights  has a row for each parameter as it is at the beginning,
    passes   one for each watched pass: its batch, labels, loss, rates, and the gradients left before it,
    places   one for the input and the output, each layer's input and each activation function's output in it (see
             doctor.passes),
    updates  one for each parameter in the optimizer's step after it: norms of weight, gradient and change, and whether
             the backward pass reached it.
    """

    def __init__(self, model: nn.Module, loss_fn, optimizer: torch.optim.Optimizer, every: int = 1):
        if every < 1:
            raise ValueError(f"every={every}: give 1 to watch each step, 16 to watch every 16th.")
        self.model, self.optimizer, self.every = model, optimizer, every
        self.parameters = dict(model.named_parameters())
        self.plain_loss = loss_fn
        self.count: Counter[str] = Counter()  # of passes, losses, steps and evaluations
        self.like: Tensor | None = None  # a target, for its form: index or row with a single 1, of whole numbers or not
        self.shape: torch.Size | None = None  # of an input
        self.first_step: dict[str, int] = {}  # of each kind of evaluation
        self.labels: Counter[int] = Counter()  # of the classes in watched batches
        self.errors: Counter[str] = Counter()  # of what could not be watched
        self.weights = pd.DataFrame(first_weights(self.parameters))
        self._tables = {"passes": [], "places": [], "updates": []}
        self._finished = Counter()  # rows of each table whose numbers are fetched from the device
        self._row, self._recorder = None, None  # of the last pass that is watched, until the step after it
        self._gradients: dict[str, Tensor] = {}  # their norms after its backward pass
        self._before: dict[str, Tensor] = {}  # parameters before the step under way
        self._losses_since_step = 0
        self._row_hooks = []
        self._hooks = [
            model.register_forward_pre_hook(self._before_pass),
            model.register_forward_hook(self._after_pass, always_call=True),
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        if isinstance(loss_fn, nn.Module):
            self.loss_fn, self.plain_loss = loss_fn, copies(loss_fn)[0]
            self._hooks.append(loss_fn.register_forward_hook(self._after_loss_module, with_kwargs=True))
        else:
            self.loss_fn = self._watched(loss_fn)

    passes = property(lambda self: self._table("passes"))
    places = property(lambda self: self._table("places"))
    updates = property(lambda self: self._table("updates"))

    def _table(self, name: str) -> pd.DataFrame:
        self._fetch()
        return pd.DataFrame(self._tables[name] or {column: [] for column in COLUMNS[name]})

    def _fetch(self) -> None:
        """Put numbers in place of the tensors of one element that the last rows hold, all at once."""
        new = [row for name, rows in self._tables.items() for row in rows[self._finished[name] :]]
        for row, numbers in zip(new, fetched(new), strict=True):
            row |= numbers
        for row in self._tables["places"][self._finished["places"] :]:
            finish(row)
        self._finished = Counter({name: len(rows) for name, rows in self._tables.items()})

    def close(self) -> None:
        """Remove all hooks; what is written down stays."""
        self._end_row()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _end_row(self) -> None:
        if self._row is None:
            return
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
        for hook in self._row_hooks:
            hook.remove()
        self._row_hooks.clear()
        if self._gradients:  # no step came
            self._note_updates({}, {})
        self._fetch()
        self._row, self._recorder = None, None

    def _note_updates(self, at_step: dict[str, Tensor], changes: dict[str, Tensor]) -> None:
        """Write a row for each parameter with its norms."""
        weights = norms(self._before or self.parameters)
        columns = {"weight": weights, "gradient": self._gradients, "at step": at_step, "change": changes}
        for name, p in self.parameters.items():
            row = {"pass": self._row["pass"], "name": name, "dimensions": p.ndim, "reached": name in self._gradients}
            self._tables["updates"].append(row | {key: column.get(name, math.nan) for key, column in columns.items()})
        self._gradients = {}

    def _due(self) -> bool:
        """Tell whether the next pass is to be watched."""
        return self.count["passes"] % self.every == 0 or self.count["passes"] < FIRST

    # ---- the forward pass

    @_safely
    def _before_pass(self, module, args):
        if not (module.training and torch.is_grad_enabled()):
            kind = "evaluations in training mode" if module.training else "evaluations"
            self.count[kind] += 1
            self.first_step.setdefault(kind, self.count["steps"])
            return
        due, number = self._due(), self.count["passes"]
        self.count["passes"] += 1
        if due:
            self._end_row()
            self._row = {"pass": number, "step": self.count["steps"]}
            self._row["rates"] = [float(group.get("lr", math.nan)) for group in self.optimizer.param_groups]
            self._recorder = Recorder(self.parameters, brief=number >= FIRST)
            if args and isinstance(args[0], Tensor):
                self.shape = args[0].shape[1:]
                self._recorder.add("input", "input", args[0])
            self._recorder.__enter__()

    @_safely
    def _after_pass(self, module, args, outputs):
        if self._recorder is None:
            return
        recorder, self._recorder = self._recorder, None
        recorder.__exit__(None, None, None)
        if isinstance(outputs, Tensor):
            recorder.add("output", "output", outputs)
        self._tables["places"] += [{"pass": self._row["pass"]} | row for row in recorder.rows]
        self._tables["passes"].append(self._row)

    # ---- the loss and the backward pass

    def _watched(self, loss_fn):
        @functools.wraps(loss_fn)
        def watched(*args, **kwargs):
            loss = loss_fn(*args, **kwargs)
            self._after_loss(loss, *args, *kwargs.values())
            return loss

        return watched

    def _after_loss_module(self, module, args, kwargs, loss):
        self._after_loss(loss, *args, *kwargs.values())

    @_safely
    def _after_loss(self, loss, outputs, targets, *_):
        if not (isinstance(loss, Tensor) and loss.requires_grad):
            return  # of an evaluation
        self.count["losses"] += 1
        self._losses_since_step += 1
        if self._row is None or "loss" in self._row:
            return
        self._row["loss"] = loss.detach().mean()
        if isinstance(outputs, Tensor) and outputs.ndim:
            self._row |= {"size": len(outputs), "width": outputs[0].numel()}
        if (labels := class_labels(targets)) is not None:
            self.like = targets.detach()[:1]
            counts = Counter(labels.tolist())
            self.labels.update(counts)
            self._row["label share"] = max(counts.values()) / len(labels)
        if is_classified(outputs, labels):
            self._row |= judged(outputs, labels)
            if self._row["pass"] < FIRST:
                self._row |= probabilities(outputs)
        self._row_hooks.append(loss.register_hook(self._at_backward))
        for name, p in self.parameters.items():
            if p.requires_grad:
                hook = functools.partial(self._after_gradient, name)
                self._row_hooks.append(p.register_post_accumulate_grad_hook(hook))

    @_safely
    def _at_backward(self, gradient):
        """Note the gradients that are there before it, and by what the loss is scaled (accumulation, AMP, a sign)."""
        there = norms(self._all_gradients()).values()
        self._row["scale"] = gradient.mean()
        self._row["left"] = torch.stack(list(there)).amax() if there else 0.0
        self._row["losses since step"] = self._losses_since_step

    @_safely
    def _after_gradient(self, name, p):
        self._gradients[name] = torch.linalg.vector_norm(p.grad)

    # ---- the step

    def _all_gradients(self) -> dict[str, Tensor]:
        """Return the gradients that the optimizer is to use."""
        given = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None and id(p) in given}

    @_safely
    def _before_step(self, optimizer, args, kwargs):
        by_closure = self._row is None and self._losses_since_step == 0  # the passes of this step are still to come
        if self._row is not None or (by_closure and self._due()):
            self._before = {name: p.detach().clone() for name, p in self.parameters.items()}
            self._at_step = {} if by_closure else norms(self._all_gradients())

    @_safely
    def _after_step(self, optimizer, args, kwargs):
        self.count["steps"] += 1
        self._losses_since_step = 0
        if self._before and self._row is not None:
            changes = {name: p.detach() - self._before[name] for name, p in self.parameters.items()}
            self._note_updates(self._at_step, norms(changes))
        self._before = {}
        self._end_row()


# ---- numbers


def norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the norm of each tensor, as a tensor of one element."""
    found = torch._foreach_norm([tensor.detach() for tensor in tensors.values()]) if tensors else []
    return dict(zip(tensors, found, strict=True))


def first_weights(parameters: dict[str, Tensor]) -> list[dict]:
    """Return a row for each parameter: its distribution, and how far its units (rows) differ from each other."""
    rows = []
    for name, p in parameters.items():
        w = p.detach().float().flatten(1) if p.ndim > 1 else p.detach().float().reshape(-1, 1)
        row = {"name": name, "dimensions": p.ndim, "inputs": w.shape[1]}
        differ = (w - w.mean(0)).abs().max() if len(w) else 0.0
        rows.append(row | {"mean": w.mean(), "std": w.std(correction=0), "units differ": differ})
    return fetched(rows)


def class_labels(targets) -> Tensor | None:
    """Return what may be class indices (B,): whole numbers from 0 on, one for each sample, or rows with a single 1."""
    if not isinstance(targets, Tensor) or targets.ndim not in (1, 2) or not len(targets):
        return None
    if targets.ndim == 2 and targets.shape[1] > 1:
        one_hot = ((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all()
        return targets.argmax(1) if one_hot else None
    labels = targets.flatten().long()
    whole = not targets.is_floating_point() or bool((labels == targets.flatten()).all())
    return labels if whole and labels.min() >= 0 else None


def is_classified(outputs, labels: Tensor | None) -> bool:
    """Tell whether outputs (B, C) can be judged by class indices (B,)."""
    fits = labels is not None and isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == len(labels)
    return fits and bool(labels.max() < outputs.shape[1] > 1)


@torch.no_grad()
def judged(outputs: Tensor, labels: Tensor) -> dict:
    """Return accuracy, the share of the commonest prediction, and the cross-entropy whatever the loss is."""
    guesses = outputs.argmax(1)
    return {
        "accuracy": (guesses == labels).float().mean(),
        "guess share": guesses.bincount().max() / len(labels),
        "cross entropy": cross_entropy(outputs.float(), labels),
    }


@torch.no_grad()
def probabilities(outputs: Tensor) -> dict:
    """Tell whether outputs, or their exponentials if none is above 0, sum to 1 over classes or over samples.

    `rows off 1`, `columns off 1`: how far the sums are from it at most; infinite where some outputs are negative.
    """
    outputs = outputs.float()
    low, high = (extreme.item() for extreme in outputs.aminmax())
    shares = outputs.exp() if high <= 0 else outputs if low >= 0 else outputs + math.inf
    kind = "logarithms" if high <= 0 else "plain" if low >= 0 else ""
    off = {f"{name} off 1": (shares.sum(d) - 1).abs().max() for name, d in (("columns", 0), ("rows", 1))}
    return {"probabilities": kind} | off
