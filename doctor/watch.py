"""Watches a training loop from outside: hooks of the model, the loss and the optimizer write down records of numbers.

Nothing of the loop changes: no output, gradient or random number. Tensors are looked at while they are there anyway;
copies of the parameters are kept during a watched step of the optimizer, and no longer. What is measured of a tensor
stays on its device until a watched step ends; then all numbers of that step are fetched at once.
"""

import contextlib
import functools
import math
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parameter import is_lazy

from doctor.measure import are_classes, class_labels, norms
from doctor.records import Pass, Recorder, Update, fetch, first_weights
from doctor.sandbox import copies

FIRST = 4  # passes that are watched whatever `every` is: what is wrong with loss, loop or first weights shows in them


def _safely(method):
    """Never let the loop suffer from its watcher: what `method` raises is written down, and the step is left out."""

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
            self._gradients, self._before = {}, {}
            self._end_pass()

    return guarded


class Hook:
    """Calls a method of a watch; with a model that is copied or saved goes one that does nothing."""

    def __init__(self, method=None):
        self.method = method

    def __call__(self, *args, **kwargs) -> None:
        if self.method:
            self.method(*args, **kwargs)

    def __reduce__(self):
        return Hook, ()


class Watch:
    """Write down every `every`-th training pass and the first ones, until `close`.

    A training pass is a forward pass in training mode with gradients; other passes are only counted. `loss_fn` is to be
    called in the loop where the given one is a plain function, which has no hooks. `weights` has a record for each
    parameter as it is at the beginning, `passes` one for each watched pass. Raises ValueError for `every` below 1.
    """

    def __init__(self, model: nn.Module, loss_fn, optimizer: torch.optim.Optimizer, every: int = 1):
        if every < 1:
            raise ValueError(f"every={every}: give 1 to watch each step, 16 to watch every 16th.")
        self.model, self.optimizer, self.every = model, unwrapped(optimizer), every
        self._note_parameters()
        self.count: Counter[str] = Counter()  # of passes, losses, steps and evaluations
        self.like: Tensor | None = None  # a target, for its form: index or row with a single 1, of whole numbers or not
        self.shape: torch.Size | None = None  # of an input
        self.first_step: dict[str, int] = {}  # of each kind of evaluation
        self.labels: Counter[int] = Counter()  # of the classes in watched batches
        self.errors: Counter[str] = Counter()  # of what could not be watched
        self._passes: list[Pass] = []
        self._unfetched: list = []  # records that may hold tensors
        self._pass: Pass | None = None  # the last watched one, until the step after it
        self._recorder: Recorder | None = None  # of its forward pass, while that runs
        self._gradients: dict[str, Tensor] = {}  # their norms after its backward pass
        self._before: dict[str, Tensor] = {}  # parameters before the step under way
        self._at_step: dict[str, Tensor] = {}  # norms of the gradients then
        self._stepping = False  # within the optimizer's step
        self._batches_since_step, self._pass_of_loss = 0, 0
        self._version = 0  # of all parameters as the last watched backward pass began; any change in place raises it
        self._unused: int | None = None  # that version while gradients wait for a step
        self._pass_hooks, self._hooks = [], []
        self._add_hooks(loss_fn)

    def _note_parameters(self) -> None:
        """Note the parameters as they are; those of lazy modules are there after the first pass only."""
        named = dict(self.model.named_parameters())
        self._lazy = any(map(is_lazy, named.values()))
        self.parameters = {name: p for name, p in named.items() if not is_lazy(p)}
        self.weights = first_weights(self.parameters)

    def _add_hooks(self, loss_fn) -> None:
        if isinstance(loss_fn, nn.Module):
            self.loss_fn, self.plain_loss = loss_fn, loss_fn.forward  # past the hooks
            with contextlib.suppress(Exception):  # some cannot be copied, such as one that holds an open file
                self.plain_loss = copies(loss_fn)[0]
            self._hooks.append(loss_fn.register_forward_hook(Hook(self._after_loss), with_kwargs=True))
        else:
            self.loss_fn, self.plain_loss = self._watched(loss_fn), loss_fn
        self._hooks.append(self.model.register_forward_pre_hook(Hook(self._before_forward)))
        self._hooks.append(self.model.register_forward_hook(Hook(self._after_forward), always_call=True))
        self._hooks.append(self.optimizer.register_step_pre_hook(Hook(self._before_step)))
        self._hooks.append(self.optimizer.register_step_post_hook(Hook(self._after_step)))

    @property
    def passes(self) -> list[Pass]:
        """The watched passes so far."""
        self._fetch()
        return self._passes

    def _fetch(self) -> None:
        fetch(self._unfetched)
        self._unfetched = [] if self._pass is None else [self._pass]

    def close(self) -> None:
        """Remove all hooks; what is written down stays."""
        self._end_pass()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _end_pass(self) -> None:
        if self._pass is None:
            return
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
        for hook in self._pass_hooks:
            hook.remove()
        self._pass_hooks.clear()
        if self._gradients:  # no step came
            self._note_updates({}, {})
        self._pass, self._recorder = None, None
        self._fetch()

    def _note_updates(self, at_step: dict[str, Tensor], changes: dict[str, Tensor]) -> None:
        weights, columns = norms(self._before or self.parameters), (self._gradients, at_step, changes)
        for name, p in self.parameters.items():
            known = (column.get(name, math.nan) for column in columns)
            self._pass.updates.append(Update(name, p.ndim, name in self._gradients, weights[name], *known))
        self._unfetched += self._pass.updates
        self._gradients = {}

    def _due(self) -> bool:
        """Tell whether the next pass is to be watched."""
        return self.count["passes"] % self.every == 0 or self.count["passes"] < FIRST

    @_safely
    def _before_forward(self, module, args):
        if not (module.training and torch.is_grad_enabled()):
            kind = "evaluations in training mode" if module.training else "evaluations"
            self.count[kind] += 1
            self.first_step.setdefault(kind, self.count["steps"])
            return
        due, number = self._due(), self.count["passes"]
        self.count["passes"] += 1
        if due:
            self._end_pass()
            rates = [float(group.get("lr", math.nan)) for group in self.optimizer.param_groups]
            given = bool(args) and isinstance(args[0], Tensor)
            self._pass = Pass(number, self.count["steps"], rates, self._stepping, given and args[0].requires_grad)
            self._recorder = Recorder(self.parameters, brief=number >= FIRST)
            if given:
                self.shape = args[0].shape[1:]
                self._recorder.add("input", "input", args[0])
            self._recorder.__enter__()

    @_safely
    def _after_forward(self, module, args, outputs):
        if self._recorder is None:
            return
        recorder, self._recorder = self._recorder, None
        recorder.__exit__(None, None, None)
        if self._lazy:
            self._note_parameters()
        if isinstance(outputs, Tensor):
            recorder.add("output", "output", outputs)
        self.errors.update(recorder.errors)
        self._pass.places = recorder.places
        self._passes.append(self._pass)
        self._unfetched += [self._pass, *recorder.places]

    def _watched(self, loss_fn):
        @functools.wraps(loss_fn)
        def watched(*args, **kwargs):
            loss = loss_fn(*args, **kwargs)
            self._after_loss(loss_fn, args, kwargs, loss)
            return loss

        return watched

    @_safely
    def _after_loss(self, loss_fn, args, kwargs, loss):
        outputs, targets = (*args, *kwargs.values(), None, None)[:2]
        if not (isinstance(loss, Tensor) and loss.requires_grad):
            return  # an evaluation
        self.count["losses"] += 1
        if self._pass_of_loss != self.count["passes"]:  # several losses may judge the same outputs
            self._pass_of_loss = self.count["passes"]
            self._batches_since_step += 1
        if self._pass is None or self._pass.loss is not None:
            return
        self._pass.loss = loss.detach().mean()
        if isinstance(outputs, Tensor) and outputs.ndim:
            self._pass.size, self._pass.width = len(outputs), math.prod(outputs.shape[1:])
        self._note_classes(outputs, targets)
        self._pass_hooks.append(loss.register_hook(self._at_backward))
        for name, p in self.parameters.items():
            if p.requires_grad:
                hook = functools.partial(self._after_gradient, name)
                self._pass_hooks.append(p.register_post_accumulate_grad_hook(hook))

    def _note_classes(self, outputs, targets) -> None:
        labels = class_labels(targets)
        if labels is not None:
            self.like = targets.detach()[:1]
            counts = Counter(labels.tolist())
            self.labels.update(counts)
            self._pass.label_share = max(counts.values()) / len(labels)
        if are_classes(outputs, labels):
            score_outputs(self._pass, outputs.detach(), labels)
            if self._pass.number < FIRST:
                compare_with_probabilities(self._pass, outputs.detach())

    @_safely
    def _at_backward(self, gradient):
        there, watched = norms(self._given_gradients()).values(), self._pass
        watched.scale = gradient.mean()
        watched.left = torch.stack(list(there)).amax() if there else 0.0
        watched.batches_since_step = self._batches_since_step
        self._version = sum(p._version for p in self.parameters.values())
        watched.waiting = self._unused == self._version

    @_safely
    def _after_gradient(self, name, p):
        self._gradients[name] = torch.linalg.vector_norm(p.grad)
        self._unused = None if self._stepping or self._pass.for_inputs else self._version

    def _given_gradients(self) -> dict[str, Tensor]:
        """Return the gradients that the optimizer is to use."""
        given = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None and id(p) in given}

    @_safely
    def _before_step(self, optimizer, args, kwargs):
        self._stepping = True
        by_closure = self._pass is None and self._batches_since_step == 0  # the passes of this step are still to come
        if self._pass is not None or (by_closure and self._due()):
            self._before = {name: p.detach().clone() for name, p in self.parameters.items()}
            self._at_step = {} if by_closure else norms(self._given_gradients())

    @_safely
    def _after_step(self, optimizer, args, kwargs):
        self.count["steps"] += 1
        self._stepping, self._unused, self._batches_since_step = False, None, 0
        if self._before and self._pass is not None:
            changes = {name: p.detach() - self._before[name] for name, p in self.parameters.items()}
            self._note_updates(self._at_step, norms(changes))
        self._before = {}
        self._end_pass()


def unwrapped(optimizer) -> torch.optim.Optimizer:
    """Return an optimizer, or the one within an object that sets its rate; raises TypeError where there is none."""
    for candidate in (optimizer, *getattr(optimizer, "__dict__", {}).values()):
        if isinstance(candidate, torch.optim.Optimizer):
            return candidate
    raise TypeError(f"{type(optimizer).__name__} is no optimizer, and holds none: give one of torch.optim.")


def score_outputs(watched: Pass, outputs: Tensor, labels: Tensor) -> None:
    """Note how well outputs (B, C) tell class indices (B,)."""
    watched.guess_share = outputs.argmax(1).bincount().max() / len(labels)
    watched.cross_entropy = cross_entropy(outputs.float(), labels)


def compare_with_probabilities(watched: Pass, outputs: Tensor) -> None:
    """Note whether outputs (B, C), or their exponentials if none is above 0, sum to 1 over classes or over samples."""
    outputs = outputs.float()
    low, high = (extreme.item() for extreme in outputs.aminmax())
    watched.logarithms = high <= 0
    shares = outputs.exp() if high <= 0 else outputs if low >= 0 else outputs + math.inf
    watched.rows_off, watched.columns_off = ((shares.sum(d) - 1).abs().max() for d in (1, 0))
