"""The autograd graph: which tensors without a history a backward pass reaches."""

from torch import Tensor

LONGEST = 20_000  # nodes that are followed: an unrolled recurrent network can have more


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
