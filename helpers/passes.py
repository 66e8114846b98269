"""What goes into layers and comes out of activation functions in a forward pass, be they modules or functions."""

import math
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

LAYERS = {"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
LAYERS |= {"bilinear", "matmul", "mm"}  # of a network written by hand
RECTIFIERS = {"relu", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardswish"}
RECTIFIERS |= {"rrelu", "hardtanh", "clamp", "clamp_min"}  # ReLU6 calls hardtanh
BOUNDS = {"sigmoid": (0, 1), "tanh": (-1, 1), "softsign": (-1, 1), "hardsigmoid": (0, 1)}
NEAR = 0.05  # of the range of a bounded function: nearer than this to a bound is saturated, as in `logbook`


def record(model: nn.Module, inputs: Tensor) -> list[dict]:
    """Return a row of numbers for each place that a forward pass without gradients meets, in the order of calls.

    A place is the input of a layer (linear, convolution, matrix product) or the output of an activation function. The
    mode of the model is the caller's. `variation`: root mean square of the std over samples / that of the values, 0
    where nothing depends on the input. `dead units`: share of units, of feature maps channels, that are zero for all
    `inputs`. `saturated`: share of values near a bound of the function, NaN where there is none.
    """
    with torch.no_grad(), Recorder() as recorder:
        model(inputs)
    return recorder.rows


class Recorder(TorchFunctionMode):
    """Collect the rows of `record` from all that is computed while it is entered.

    With `parameters`, by name, a row tells the layer, too: the one whose weight is used, or was last; and large batches
    are judged by their first samples.
    """

    def __init__(self, parameters: Mapping[str, Tensor] | None = None):
        super().__init__()
        self.rows, self.uses = [], Counter()
        self.layers = {id(p): name.rpartition(".")[0] or name for name, p in (parameters or {}).items()}
        self.layer = "" if self.layers else None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").strip("_")  # relu_ works in place, __matmul__ is @
        if name in LAYERS:  # before the call: what follows may change it in place
            if self.layers:
                self.layer = next((self.layers[id(a)] for a in args if id(a) in self.layers), self.layer)
            self.add("layer", f"into {name}", args[0])
        output = function(*args, **(kwargs or {}))
        if name in RECTIFIERS:
            self.add("activation", f"out of {name}", output)
        elif name in BOUNDS:
            self.add("activation", f"out of {name}", output, saturated=_near_bounds(output, *BOUNDS[name]))
        return output

    @torch.no_grad()
    def add(self, kind: str, place: str, values: Tensor, saturated: float = math.nan) -> None:
        values = few(values.detach()) if self.layers else values
        self.uses[place] += 1
        unit = -1 if values.ndim == 3 else min(1, values.ndim - 1)  # sequences have their units last
        zero = (values == 0).movedim(unit, 0).flatten(1)
        rms, over_samples = values.square().mean().sqrt(), std_over_samples(values)
        numbers = {
            "mean": values.mean(),
            "std": values.std(correction=0),
            "rms": rms,
            "variation": over_samples / rms,
            "zeros": zero.float().mean(),
            "dead units": zero.all(1).float().mean(),
        }
        fetched = torch.stack(list(numbers.values())).tolist()  # all at once, for the sake of GPUs
        row = dict(zip(numbers, fetched, strict=True)) | {"saturated": saturated}
        layer = {} if self.layer is None else {"layer": self.layer}
        self.rows.append({"kind": kind, "place": f"{place} {self.uses[place]}"} | layer | row)


def std_over_samples(batch: Tensor) -> Tensor:
    """Return the root mean square of the standard deviations over the samples of a batch (B, ...)."""
    return (batch - batch.mean(0)).square().mean().sqrt()  # var(0) would take five times as long


def few(batch: Tensor, numbers: int = 10_000) -> Tensor:
    """Return the first samples of a batch (B, ...): some 10,000 numbers tell a distribution."""
    return batch[: max(8, numbers * len(batch) // max(1, batch.numel()))] if batch.ndim else batch


@torch.no_grad()
def _near_bounds(values: Tensor, low: float, high: float) -> float:
    near = NEAR * (high - low)
    return ((values < low + near) | (values > high - near)).float().mean().item()
