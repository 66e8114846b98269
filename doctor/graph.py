"""The autograd graph: it says when backward() is called, and which tensors without a history it reaches."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

LONGEST = 20_000  # nodes that are followed: an unrolled recurrent network can have more

_backward = torch.autograd.backward
_listeners: list[Callable[[list[Tensor]], None]] = []


@functools.wraps(_backward)
def _announced(tensors, *args, **kwargs):
    for listener in list(_listeners):
        listener([tensors] if isinstance(tensors, Tensor) else list(tensors))
    return _backward(tensors, *args, **kwargs)


def listen(listener: Callable[[list[Tensor]], None]) -> None:
    """Call `listener` with the tensors whenever a backward pass begins, also one that `Tensor.backward` begins."""
    _listeners.append(listener)
    torch.autograd.backward = _announced


def ignore(listener: Callable[[list[Tensor]], None]) -> None:
    """End what `listen` began; after the last one torch is as it was."""
    if listener in _listeners:
        _listeners.remove(listener)
    if not _listeners:
        torch.autograd.backward = _backward


def leaves(tensors: list[Tensor]) -> list[Tensor] | None:
    """Return the tensors without a history that gradients of `tensors` reach; None if the graph is too large."""
    found = {id(t): t for t in tensors if t.grad_fn is None}
    todo = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(todo)  # it keeps them alive, so that each node stays the same object
    while todo:
        node = todo.pop()
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        following = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= following
        todo += following
        if len(seen) > LONGEST:
            return None
    return list(found.values())
