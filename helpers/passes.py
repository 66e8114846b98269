"""What goes into layers and comes out of activation functions in a forward pass, be they modules or functions."""

import math
from collections import Counter

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
    with torch.no_grad(), _Recorder() as recorder:
        model(inputs)
    return recorder.rows


class _Recorder(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.rows, self.uses = [], Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").strip("_")  # relu_ works in place, __matmul__ is @
        if name in LAYERS:  # before the call: what follows may change it in place
            self.add("layer", f"into {name}", args[0])
        output = function(*args, **(kwargs or {}))
        if name in RECTIFIERS:
            self.add("activation", f"out of {name}", output)
        elif name in BOUNDS:
            self.add("activation", f"out of {name}", output, saturated=_near_bounds(output, *BOUNDS[name]))
        return output

    def add(self, kind: str, place: str, values: Tensor, saturated: float = math.nan) -> None:
        self.uses[place] += 1
        unit = -1 if values.ndim == 3 else min(1, values.ndim - 1)  # sequences have their units last
        zero = (values == 0).movedim(unit, 0).flatten(1)
        rms, over_samples = values.square().mean().sqrt(), values.var(0, correction=0).mean().sqrt()
        numbers = {
            "mean": values.mean(),
            "std": values.std(correction=0),
            "rms": rms,
            "variation": over_samples / rms,
            "zeros": zero.float().mean(),
            "dead units": zero.all(1).float().mean(),
            "saturated": saturated,
        }
        row = {key: float(number) for key, number in numbers.items()}
        self.rows.append({"kind": kind, "place": f"{place} {self.uses[place]}"} | row)


def _near_bounds(values: Tensor, low: float, high: float) -> float:
    near = NEAR * (high - low)
    return ((values < low + near) | (values > high - near)).float().mean().item()
