"""What is added to a loss and brings no gradient."""

import contextlib
import weakref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from doctor.graph import terms
from doctor.measure import function_name

ADDITIONS = {"add", "radd", "iadd", "sub", "rsub", "isub"}
OUT = {"numpy", "array", "tolist", "item"}  # of torch, where nothing can be followed


class Sums(TorchFunctionMode):
    """Notes single numbers that were computed from what has gradients, have none, and are added to one that has.

    It listens from `begin`, after a forward pass, until `leave`, before the backward pass, and only where no other mode
    is entered: so it disturbs none.
    """

    def __init__(self):
        super().__init__()
        self._listening, self._entered, self._cut, self._added, self._out = False, False, {}, [], False

    def begin(self, outputs) -> None:
        """Begin anew; `outputs` of the model that have no gradient may have been cut off in it."""
        self.leave()
        self._cut, self._added, self._out = {}, [], False
        if torch._C._len_torch_function_stack():
            return
        self._listening = self._entered = True
        self.__enter__()
        for value in outputs if isinstance(outputs, (list, tuple)) else (outputs,):
            if isinstance(value, Tensor) and not value.requires_grad:
                self._note_cut(value)

    def leave(self, *_) -> None:
        """Leave the stack of modes, unless another one has been entered since."""
        self._listening = False
        if self._entered and _get_current_function_mode() is self:
            self.__exit__(None, None, None)
            self._entered = False

    def without_gradient(self, roots: list[Tensor]) -> Tensor | None:
        """Return the sum of what brings `roots` no gradient, and forget it; None where there is nothing."""
        added, self._added, self._cut = self._added, [], {}
        found = terms(roots) if added else ()
        useless = [value.detach().float().sum() for node, value in added if node in found]
        return sum(useless) if useless else None

    @torch._disable_dynamo
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if self._listening:
            with contextlib.suppress(Exception):
                self._look(function_name(function), (*args, *(kwargs or {}).values()), result)
        return result

    def _look(self, name: str, given: tuple, result) -> None:
        given = [t for v in given for t in (v if isinstance(v, (list, tuple)) else (v,)) if isinstance(t, Tensor)]
        from_model = any(t.requires_grad or self._is_cut(t) for t in given)
        self._out = self._out or (from_model and name in OUT and given[0].numel() > 1)
        if not isinstance(result, Tensor):
            return
        if from_model and not result.requires_grad:
            self._note_cut(result)
        elif name in ADDITIONS and result.requires_grad and result.numel() == 1:
            without = [t for t in given if not t.requires_grad and (self._out or self._is_cut(t))]
            self._added += [(result.grad_fn, t) for t in without]

    def _note_cut(self, value: Tensor) -> None:
        self._cut[id(value)] = weakref.ref(value)  # a strong one would keep what the loop is done with

    def _is_cut(self, value: Tensor) -> bool:
        return id(value) in self._cut and self._cut[id(value)]() is value
