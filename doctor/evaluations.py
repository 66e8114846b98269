"""Evaluations, the passes without gradients: their inputs, and what the loop computes from their outputs."""

from dataclasses import dataclass

from torch import Tensor

from doctor.calls import Listener, tensors
from doctor.measure import some

MOST = 64  # evaluations that are looked at
ARGMAX, SORTS, EQUAL = {"argmax", "max"}, {"topk", "argsort", "sort"}, {"eq", "ne"}
COMPARED, HALF = {"gt", "ge", "lt", "le"}, 0.5


@dataclass
class Inputs:
    """A batch that an evaluation got, and the mode of the model."""

    size: int
    training: bool
    low: float
    high: float
    mean: float
    std: float


class Evaluations(Listener):
    """Notes inputs of evaluations, and what is done to their outputs (B, C), or to what has their shape.

    over: the dimensions along which the largest outputs were looked for, None for all at once
    beyond: the least and the greatest of outputs that were compared with one half, or rounded
    square: the shapes of B numbers that were each compared with B others
    """

    def __init__(self):
        super().__init__()
        self.inputs: list[Inputs] = []
        self.over, self.beyond, self.square, self._shape = set(), None, None, ()

    def take(self, training: bool, args: tuple) -> None:
        """Note what an evaluation gets."""
        if args and isinstance(args[0], Tensor) and args[0].ndim and len(self.inputs) < MOST:
            x = some(args[0]).float()
            numbers = (*x.aminmax(), x.mean(), x.std(correction=0))
            self.inputs.append(Inputs(len(args[0]), training, *(number.item() for number in numbers)))

    def listen_to(self, outputs) -> None:
        """Listen to what follows, if an evaluation gave one number, or a row of them, for each sample."""
        if isinstance(outputs, Tensor) and outputs.ndim in (1, 2) and len(outputs) > 1 and len(self.inputs) < MOST:
            self._shape = outputs.shape
            self.begin()

    def look(self, name: str, args: tuple, kwargs: dict, result) -> None:
        given = tensors([*args, *kwargs.values()])
        first, classes = given[0], self._shape[-1] if len(self._shape) > 1 else 1
        if name in ARGMAX | SORTS and first.ndim == 2 and len(first) != first.shape[1] == classes > 1:
            dims = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, int) and not isinstance(a, bool)]
            if name in SORTS:
                self.over.add(1)
            elif dims or name == "argmax":  # max() of all is the largest number, not its place
                self.over.add(dims[0] % 2 if dims else None)
        elif first.numel() != self._shape.numel():
            return
        elif name == "round" or (name in COMPARED and args[1:] == (HALF,)):
            self.beyond = tuple(bound.item() for bound in first.aminmax())
        elif name in EQUAL and len(given) == 2 and given[1].numel() == first.numel() < result.numel():
            self.square = tuple(first.shape), tuple(given[1].shape)
