"""What a training of a copy does differently: one thing, to see whether it then learns better."""

import contextlib
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import relu
from torch.overrides import TorchFunctionMode

from doctor.measure import function_name, is_activation


@dataclass(frozen=True)
class Change:
    """What a training of a copy does differently. As it stands it changes nothing: an ordinary loop, no clipping."""

    rate: float = 1.0  # factor
    schedule: str = "own"  # on average; "highest": the highest rate all the time
    batch: float = 1.0  # factor of the samples in a batch
    decay: float = 1.0  # factor of the optimizer's weight decay
    dropout: float = 1.0  # factor of p
    weights: str = "first"  # "sound": He's, with biases of 0
    outputs: str = "own"  # "free": without the activation function that gives them
    activations: str = "own"  # "relu" for all of them; "normalized" over the batch before each; "rescaled" after each
    trained: str = "own"  # "all" parameters
    inputs: str = "own"  # "scaled" to mean 0 and std 1; "smoothed": the mean of 3x3 neighbors
    targets: str = "own"  # "scaled" to mean 0 and std 1
    samples: str = "own"  # "balanced": all classes alike; "permuted": the targets of other samples
    loss: str = "own"  # "mean" over the batch, or "mean of outputs"; "cross entropy"
    optimizer: str = "own"  # "Adam" at its default rate

    def __str__(self) -> str:
        own = vars(Change())
        changed = {key: value for key, value in vars(self).items() if value != own[key]}
        texts = [f"{key} x {v:g}" if isinstance(v, float) else f"{v} {key}" for key, v in changed.items()]
        return ", ".join(texts) or "an ordinary loop"


REFERENCE = Change(weights="sound", inputs="scaled", dropout=0.3, trained="all", loss="cross entropy", optimizer="Adam")


class Functions(TorchFunctionMode):
    """What a model calls through it does as a Change says: other activation functions, nothing detached.

    `ending`: the name and number, from 0 on, of the activation function that gives the outputs.
    """

    def __init__(self, change: Change, ending: tuple[str, int] | None = None):
        super().__init__()
        self.change, self.calls = change, 0
        self.skipped = ending[1] if ending and change.outputs == "free" else None
        # Where no function changes, a training without them takes a quarter less.
        self.needed = change.trained == "all" or change.activations != "own" or self.skipped is not None

    def call(self, model: nn.Module, inputs: Tensor):
        """Return what the model gives."""
        self.calls = 0
        with self if self.needed else contextlib.nullcontext():
            return model(inputs)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = function_name(function), kwargs or {}
        if self.change.trained == "all" and name == "detach":
            return args[0]
        if not is_activation(name, args, kwargs):
            return function(*args, **kwargs)
        self.calls += 1
        if self.calls - 1 == self.skipped:
            return args[0]
        if self.change.activations == "relu":
            return relu(args[0])
        if self.change.activations == "rescaled":
            outputs = function(*args, **kwargs)
            return outputs / outputs.square().mean().sqrt().clamp(min=1e-30)
        if self.change.activations == "normalized":
            args = (normalize(args[0]), *args[1:])
        return function(*args, **kwargs)


def normalize(x: Tensor) -> Tensor:
    """Return values with mean 0 and std 1 over the batch, unit by unit, as batch normalization does."""
    over = [d for d in range(x.ndim) if d != min(1, x.ndim - 1)]
    return (x - x.mean(over, keepdim=True)) / (x.std(over, correction=0, keepdim=True) + 1e-5)
