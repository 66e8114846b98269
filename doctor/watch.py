"""Watches a training loop from outside: hooks of the model, the loss and the optimizer write down records of numbers.

Nothing of the loop changes: no output, gradient or random number. Tensors are looked at while they are there anyway;
copies of the parameters are kept during a watched step of the optimizer, and no longer. What is measured of a tensor
stays on its device until a watched step ends; then all numbers of that step are fetched at once.
"""

import contextlib
import functools
import math
from collections import Counter, deque

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from doctor.calls import BACKWARD, LONGER, LOSSES, TENSOR_BACKWARD, Hook
from doctor.evaluations import Evaluations
from doctor.graph import leaves, squashed_twice
from doctor.losses import misuse
from doctor.measure import by_class, class_labels, norms, requires_grad, some
from doctor.optimizers import parameters_of, unwrapped
from doctor.records import Kept, Pass, Recorder, Update, compare_with_probabilities, fetch, first_weights, score_outputs
from doctor.sandbox import copies
from doctor.sums import Sums

FIRST = 4  # passes that are watched whatever `every` is: what is wrong with loss, loop or first weights shows in them
KEPT = 256  # samples of the last watched passes
EARLIER = 16  # inputs of passes before the last one that go into the same backward pass


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


class Watch:
    """Write down every `every`-th training pass and the first ones, until `close`.

    A training pass is the last forward pass with gradients before a backward pass that reaches the model; other passes
    are only counted. `loss_fn` is to be called in the loop where the given one is a plain function, which has no hooks;
    where it is None, the loss is what backward() is called on. `weights` has a record for each parameter as it is at
    the beginning, `passes` one for each watched pass. Raises ValueError for `every` below 1.
    """

    def __init__(self, model: nn.Module, loss_fn, optimizer: torch.optim.Optimizer, every: int = 1):
        if every < 1:
            raise ValueError(f"every={every}: give 1 to watch each step, 16 to watch every 16th.")
        self.model, self.optimizer, self.every = model, unwrapped(optimizer), every
        self._note_parameters()
        self.count: Counter[str] = Counter()  # of passes, losses, backward passes, steps and evaluations
        self.like: Tensor | None = None  # a target, for its form: index or row with a single 1, of whole numbers or not
        self.shape: torch.Size | None = None  # of an input
        self.first_step: dict[str, int] = {}  # of each kind of evaluation
        self.labels: Counter[int] = Counter()  # of the classes in watched batches
        self.errors: Counter[str] = Counter()  # of what could not be watched
        self.cuts: Counter[str] = Counter()  # of calls that cut the graph in forward passes, by function
        self.strangers: list[tuple[nn.Parameter, int]] = []  # used, and not the model's, with their version then
        self.ending: tuple[str, int] | None = None  # the activation function that gives the outputs, and its number
        self.softmax_over_batch = self.softmax_of_one = ""  # the layer before such a softmax
        self.misuse = ""  # of a loss function of torch
        self.squashed: tuple[str, str] | None = None  # twice: a softmax or sigmoid, and what comes right behind it
        self.evaluations, self._sums = Evaluations(), Sums()
        self.first_inputs = self.first_targets = None  # of the first pass
        self.kept: deque[Kept] = deque()  # samples of the last watched passes
        self._passes: list[Pass] = []
        self._cut_off: list[Pass] = []  # passes before a backward pass that did not reach the model
        self._unfetched: list = []  # records that may hold tensors
        self._pass: Pass | None = None  # the last watched one, until the step after it
        self._recorder: Recorder | None = None  # of its forward pass, while that runs
        self._earlier: Pass | None = None  # the one before it, whose loss goes into the same backward pass
        self._inputs: Tensor | None = None  # of the last one
        self._judged = None  # the outputs that the loss got in it
        self._gradients: dict[str, Tensor] = {}  # their norms after its backward pass
        self._before: dict[str, Tensor] = {}  # parameters before the step under way
        self._at_step: dict[str, Tensor] = {}  # norms of the gradients then
        self._stepping = False  # within the optimizer's step
        self._batches_since_step = 0
        self._version = 0  # of all parameters as the last watched backward pass began; any change in place raises it
        self._taken = math.inf  # the step of the last state_dict()
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
        elif loss_fn is None:
            self.loss_fn = self.plain_loss = self._torch_loss = None
        else:
            self.loss_fn, self.plain_loss = self._watched(loss_fn), loss_fn
        self._hooks.append(self.model.register_forward_pre_hook(Hook(self._before_forward), with_kwargs=True))
        self._hooks.append(self.model.register_forward_hook(Hook(self._after_forward), always_call=True))
        self._hooks.append(self.model.register_state_dict_post_hook(Hook(self._after_state_dict)))
        self._hooks.append(self.model.register_load_state_dict_pre_hook(Hook(self._before_load)))
        self._hooks.append(self.optimizer.register_step_pre_hook(Hook(self._before_step)))
        self._hooks.append(self.optimizer.register_step_post_hook(Hook(self._after_step)))
        BACKWARD.listen(self._before_backward)
        TENSOR_BACKWARD.listen(self._sums.leave)
        LOSSES.listen(self._after_torch_loss)

    @property
    def passes(self) -> list[Pass]:
        """The watched passes so far; those without a gradient for the model only where there are no others."""
        self._fetch()
        return self._passes or self._cut_off

    def _fetch(self) -> None:
        fetch(self._unfetched)
        self._unfetched = [] if self._pass is None else [self._pass]

    def close(self) -> None:
        """Remove all hooks; what is written down stays."""
        self._end_pass()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        BACKWARD.ignore(self._before_backward)
        TENSOR_BACKWARD.ignore(self._sums.leave)
        LOSSES.ignore(self._after_torch_loss)

    def pause(self) -> None:
        """Listen to nothing until the next forward pass: what follows is no part of the loop."""
        self._sums.leave()
        self.evaluations.leave()

    def _end_pass(self) -> None:
        self.pause()
        if self._pass is None:
            return
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
        for hook in self._pass_hooks:
            hook.remove()
        self._pass_hooks.clear()
        if self._gradients:  # no step came
            self._note_updates({}, {})
        self._pass, self._recorder, self._inputs, self._judged = None, None, None, None
        self._fetch()

    def _note_updates(self, at_step: dict[str, Tensor], changes: dict[str, Tensor]) -> None:
        weights, columns = norms(self._before or self.parameters), (self._gradients, at_step, changes)
        for name, p in self.parameters.items():
            known = (column.get(name, math.nan) for column in columns)
            self._pass.updates.append(Update(name, p.ndim, name in self._gradients, weights[name], *known))
        self._unfetched += self._pass.updates
        self._gradients = {}

    def _due(self) -> bool:
        """Tell whether the pass before the next backward pass is to be watched."""
        return self.count["backwards"] % self.every == 0 or self.count["backwards"] < FIRST

    @_safely
    def _before_forward(self, module, args, kwargs):
        self.pause()
        if not torch.is_grad_enabled():
            self._note("evaluations in training mode" if module.training else "evaluations")
            self.evaluations.take(module.training, args)
            return
        self.count["passes"] += 1
        if not self._due():
            return
        last = self._pass
        self._end_pass()
        number, given = self.count["backwards"], bool(args) and isinstance(args[0], Tensor)
        rates = [float(group.get("lr", math.nan)) for group in self.optimizer.param_groups]
        for_inputs = given and args[0].requires_grad
        self._pass = Pass(number, self.count["steps"], rates, module.training, self._stepping, for_inputs)
        before = last is not None and last.left is None and last.training == module.training
        self._earlier = last if before else None
        self._recorder = Recorder(self.parameters, brief=number >= FIRST)
        if given:
            self.shape = args[0].shape[1:]
            self._recorder.add("input", "input", args[0])
            if len(args) == 1 and not kwargs:
                self._inputs = some(args[0])
        self._recorder.__enter__()

    def _note(self, kind: str) -> None:
        self.count[kind] += 1
        self.first_step.setdefault(kind, self.count["steps"])

    @_safely
    def _after_forward(self, module, args, outputs):
        if not torch.is_grad_enabled():
            self.evaluations.listen_to(outputs)
        if self._recorder is None:
            return
        recorder, self._recorder = self._recorder, None
        recorder.__exit__(None, None, None)
        if self._lazy:
            self._note_parameters()
        elif self._pass.number < FIRST:
            self.strangers += [(p, p._version) for p in recorder.strangers.values()]
        if isinstance(outputs, Tensor) and outputs.ndim:  # else a loss
            recorder.add("output", "output", outputs)
            self.ending = recorder.ending(outputs)
        self.softmax_over_batch = self.softmax_over_batch or recorder.softmax_over_batch
        self.softmax_of_one = self.softmax_of_one or recorder.softmax_of_one
        self.cuts.update(recorder.cuts)
        self.errors.update(recorder.errors)
        earlier = [place for place in self._earlier.places if place.kind == "input"] if self._earlier else []
        self._pass.places = recorder.places[:1] + earlier[:EARLIER] + recorder.places[1:]
        self._sums.begin_with(outputs)

    @_safely
    def _after_state_dict(self, *_):
        self._taken = self.count["steps"]

    @_safely
    def _before_load(self, module, state, *_):
        """Note that what is loaded is what was taken before other steps, and has been trained on."""
        own = [p.data_ptr() == state[name].data_ptr() for name, p in self.parameters.items() if name in state]
        if own and all(own) and self.count["steps"] > self._taken:
            self._note("weights loaded into themselves")

    def _watched(self, loss_fn):
        @functools.wraps(loss_fn)
        def watched(*args, **kwargs):
            loss = loss_fn(*args, **kwargs)
            self._after_loss(loss_fn, args, kwargs, loss)
            return loss

        return watched

    @_safely
    def _after_torch_loss(self, function, args, kwargs, loss):
        """Take the first loss function of torch that judges what needs gradients for the loop's."""
        given = (*args, *(kwargs[key] for key in ("input", "target") if key in kwargs))
        if self._pass is not None and self._pass.left is None and any(map(requires_grad, given[:2])):
            self.misuse = self.misuse or misuse(function.__name__, *given[:2])
        if self.loss_fn is not None:
            return
        if self._torch_loss is None and torch.is_grad_enabled() and any(map(requires_grad, given[:1])):
            self._torch_loss, rest = function, given[2:]
            options = {key: value for key, value in kwargs.items() if key not in ("input", "target")}
            self.plain_loss = lambda outputs, targets, *more: function(outputs, targets, *(more or rest), **options)
        if self._torch_loss is function:
            self._after_loss(function, given if function.__name__ in LONGER else given[:2], {}, loss)

    @_safely
    def _after_loss(self, loss_fn, args, kwargs, loss):
        if not torch.is_grad_enabled() or not isinstance(loss, Tensor):
            return  # an evaluation, or a loss of several parts
        self.count["losses"] += loss.requires_grad
        outputs, targets, *others = *args, *kwargs.values(), None, None
        if self._pass is None or self._pass.loss is not None:
            if self._pass is not None and outputs is self._judged:
                self._pass.blended = True
            return
        self._judged = outputs
        self._pass.loss = loss.detach().mean()
        if requires_grad(outputs) and requires_grad(targets):  # two outputs, as in metric learning
            outputs, targets, others = None, None, []
        self._pass.swapped = requires_grad(targets) and not requires_grad(outputs)
        if self._pass.swapped:
            outputs, targets = targets, outputs
        if isinstance(outputs, Tensor) and outputs.ndim:
            self._pass.size, self._pass.width = len(outputs), math.prod(outputs.shape[1:])
            self._keep(outputs, targets, tuple(others[:-2]))
        self._note_classes(outputs, targets)
        if loss.requires_grad:
            self._pass_hooks.append(loss.register_hook(self._note_scale))

    def _keep(self, outputs: Tensor, targets, others: tuple) -> None:
        """Keep some samples of a pass, and of the last passes only as many as are needed."""
        if self._inputs is not None and self.first_inputs is None:
            self.first_inputs, self.first_targets = self._inputs, targets
        size = len(some(outputs))
        parts = (
            p[:size] if isinstance(p, Tensor) and p.shape[:1] == outputs.shape[:1] else p for p in (targets, *others)
        )
        parts = (p.detach().clone() if isinstance(p, Tensor) else p for p in parts)
        self.kept.append(Kept(some(outputs), *parts))
        while sum(len(kept.outputs) for kept in self.kept) - len(self.kept[0].outputs) >= KEPT:
            self.kept.popleft()

    def _note_classes(self, outputs, targets) -> None:
        labels = class_labels(targets)
        if labels is not None:
            self.like = targets.detach()[:1]
        classified = by_class(outputs, targets, getattr(self.plain_loss, "ignore_index", -100))
        if classified is not None:
            labels = classified[1]
        if labels is not None and len(labels):
            counts = Counter(labels.tolist())
            self.labels.update(counts)
            self._pass.label_share, self._pass.label = max(counts.values()) / len(labels), max(counts, key=counts.get)
        if classified is None or (self._pass.width == 1 and set(self.labels) != {0, 1}):
            return  # targets that are all 0 are no classes
        score_outputs(self._pass, self._earlier, *classified)
        if self._pass.number < FIRST and outputs.ndim == 2 and outputs.shape[1] > 1:
            compare_with_probabilities(self._pass, outputs.detach())

    @_safely
    def _note_scale(self, gradient):
        self._pass.scale = gradient.mean()

    @_safely
    def _before_backward(self, function, args, kwargs, result):
        watched, (tensors, *_) = self._pass, (*args, *kwargs.values())
        roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        self._sums.leave()  # for a call of torch.autograd.backward()
        useless = self._sums.without_gradient(roots)
        if self._recorder is not None or (watched is not None and watched.left is not None):
            return  # within a forward pass; the second one after it
        if watched is not None:
            reached, own = leaves(roots), {id(p) for p in (*self.parameters.values(), *self.model.parameters())}
            if reached is not None and not any(id(leaf) in own for leaf in reached):
                self._note_cut(watched)
                return
            if any(isinstance(leaf, nn.Parameter) and id(leaf) not in own for leaf in reached or ()):
                self.count["passes through others"] += 1
            self._note_backward(watched, roots)
            watched.useless = useless
            if watched.number < FIRST:
                self.squashed = self.squashed or squashed_twice(roots)
        self.count["backwards"] += 1
        self._batches_since_step += 1

    def _note_cut(self, watched: Pass) -> None:
        """Keep a pass whose loss does not reach the model, as long as none has reached it."""
        self.count["backward passes elsewhere"] += 1
        if not self._passes and len(self._cut_off) < KEPT and all(p is not watched for p in self._cut_off[-1:]):
            self._cut_off.append(watched)
            self._unfetched += [watched, *watched.places]

    def _note_backward(self, watched: Pass, roots: list[Tensor]) -> None:
        there = norms(self._given_gradients()).values()
        watched.left = torch.stack(list(there)).amax() if there else 0.0
        watched.batches_since_step = self._batches_since_step + 1
        self._version = sum(p._version for p in self.parameters.values())
        watched.waiting = self._unused == self._version
        if watched.loss is None or watched.blended:
            watched.loss = sum(root.detach().mean() for root in roots)
        self._passes.append(watched)
        self._unfetched += [watched, *watched.places]
        for name, p in self.parameters.items():
            if p.requires_grad:
                hook = functools.partial(self._after_gradient, name)
                self._pass_hooks.append(p.register_post_accumulate_grad_hook(hook))

    @_safely
    def _after_gradient(self, name, p):
        self._gradients[name] = torch.linalg.vector_norm(p.grad)
        self._unused = None if self._stepping or self._pass.for_inputs else self._version

    def _given_gradients(self) -> dict[str, Tensor]:
        """Return the gradients that the optimizer is to use."""
        given = {id(p) for p in parameters_of(self.optimizer)}
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None and id(p) in given}

    @_safely
    def _before_step(self, optimizer, args, kwargs):
        self._stepping = True
        if self.count["steps"] < FIRST:
            self.count["steps with gradients"] += any(p.grad is not None for p in parameters_of(optimizer))
        by_closure = self._batches_since_step == 0 and (self._pass is None or self._pass.left is None)
        if self._pass is not None or (by_closure and self._due()):  # passes of a closure are still to come
            self._before = {name: p.detach().clone() for name, p in self.parameters.items()}
            self._at_step = {} if by_closure else norms(self._given_gradients())

    @_safely
    def _after_step(self, optimizer, args, kwargs):
        self.count["steps"] += 1
        self._stepping, self._unused, self._batches_since_step = False, None, 0
        if self._before and self._pass is not None and self._pass.left is not None:
            changes = {name: p.detach() - self._before[name] for name, p in self.parameters.items()}
            self._note_updates(self._at_step, norms(changes))
        self._before = {}
        self._end_pass()
