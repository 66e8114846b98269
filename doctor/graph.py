"""The autograd graph: which tensors a backward pass reaches, and what stands between the last layer and the loss."""

from torch import Tensor

LONGEST = 20_000  # nodes that are followed: an unrolled recurrent network can have more

# Kinds of nodes, by their names without "Backward0".
VIEWS = {"View", "UnsafeView", "ReshapeAlias", "Transpose", "T", "Permute", "Squeeze", "Unsqueeze", "Slice", "Select"}
VIEWS |= {"Index", "Clone", "ToCopy", "Split", "Unbind", "Expand", "Movedim"}
SUMS = VIEWS | {"Add", "Sub", "Rsub", "Neg", "Mul", "Div", "Mean", "Sum", "Stack"}
FACTORS = {"Mul", "Div"}
LAYERS = {"Addmm", "Mm", "Bmm", "Convolution", "Embedding", "MkldnnRnnLayer"}
SQUASHED = {"Softmax": "softmax-before-loss", "Sigmoid": "sigmoid-before-loss"}  # what it is a fault to squash again
SQUASHING = {*SQUASHED, "LogSoftmax", "LogSigmoid", "BinaryCrossEntropyWithLogits"}


def kind(node) -> str:
    return node.name().partition("Backward")[0]


def children(node) -> list:
    """Return the nodes of what a node was computed from, without what needs no gradient."""
    return [child for child, _ in node.next_functions if child is not None]


def follow(tensors: list[Tensor], beyond=lambda node: True) -> set:
    """Return the nodes from some tensors down, without those below a node that `beyond` turns down; empty if too many.

    The set keeps the nodes alive, so that each stays the same object.
    """
    todo, seen = [t.grad_fn for t in tensors if t.grad_fn is not None], set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += children(node) if beyond(node) else []
        if len(seen) > LONGEST:
            return set()
    return seen


def leaves(tensors: list[Tensor]) -> list[Tensor] | None:
    """Return the tensors without a history that gradients of `tensors` reach; None if the graph is too large."""
    found = {id(t): t for t in tensors if t.grad_fn is None}
    seen = follow(tensors)
    if not seen and len(found) < len(tensors):
        return None
    return [*(found | {id(node.variable): node.variable for node in seen if hasattr(node, "variable")}).values()]


def terms(tensors: list[Tensor]) -> set:
    """Return the nodes of what is added up to `tensors`, perhaps times a constant."""
    return follow(tensors, lambda node: kind(node) in SUMS and (kind(node) not in FACTORS or len(children(node)) == 1))


def squashed_twice(tensors: list[Tensor]) -> tuple[str, str] | None:
    """Return a softmax or sigmoid behind the last layer and what squashes its outputs once more, by their kinds."""
    for node in follow(tensors, lambda node: kind(node) not in LAYERS):
        for child in children(node) if kind(node) in SQUASHING else ():
            while kind(child) in VIEWS and children(child):
                child = children(child)[0]
            if kind(child) in SQUASHED:
                return kind(child), kind(node)
    return None
