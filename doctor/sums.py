"""What is added to a loss and brings no gradient."""

import weakref

from torch import Tensor

from doctor.calls import Listener, tensors
from doctor.graph import terms

ADDITIONS = {"add", "radd", "iadd", "sub", "rsub", "isub"}
OUT = {"numpy", "array", "tolist", "item"}  # of torch, where nothing can be followed


class Sums(Listener):
    """Notes single numbers that were computed from what has gradients, have none, and are added to one that has.

    It listens after a forward pass, and leaves before the backward pass.
    """

    def __init__(self):
        super().__init__()
        self._cut, self._added, self._out = {}, [], False

    def begin_with(self, outputs) -> None:
        """Begin anew; `outputs` of the model that have no gradient may have been cut off in it."""
        self._cut, self._added, self._out = {}, [], False
        self.begin()
        for value in tensors([outputs]):
            if not value.requires_grad:
                self._note_cut(value)

    def without_gradient(self, roots: list[Tensor]) -> Tensor | None:
        """Return the sum of what brings `roots` no gradient, and forget it; None where there is nothing."""
        added, self._added, self._cut = self._added, [], {}
        found = terms(roots) if added else ()
        useless = [value.detach().float().sum() for node, value in added if node in found]
        return sum(useless) if useless else None

    def look(self, name: str, args: tuple, kwargs: dict, result) -> None:
        given = tensors([*args, *kwargs.values()])
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
