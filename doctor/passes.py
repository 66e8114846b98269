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
    return [finish(row) for row in fetched(recorder.rows)]


class Recorder(TorchFunctionMode):
    """Collect rows of all that is computed while it is entered; `fetched` and `finish` make them those of `record`.

    With `parameters`, by name, a row tells the layer, too: the one whose weight is used, or was last; and large batches
    are judged by their first samples. A `brief` one notes but `rms` and `dead units`, which takes a third of the time.
    """

    def __init__(self, parameters: Mapping[str, Tensor] | None = None, brief: bool = False):
        super().__init__()
        self.rows, self.uses, self.brief = [], Counter(), brief
        self.layers = {id(p): name.rpartition(".")[0] or name for name, p in (parameters or {}).items()}
        self.layer = "" if self.layers else None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").strip("_")  # relu_ works in place, __matmul__ is @
        if name in LAYERS:  # before the call: what follows may change it in place
            if self.layers:
                self.layer = next((self.layers[id(a)] for a in args if id(a) in self.layers), self.layer)
            self.add("layer", f"into {name}", args[0])
        output = function(*args, **(kwargs or {}))
        if name in RECTIFIERS or name in BOUNDS:
            self.add("activation", f"out of {name}", output, BOUNDS.get(name))
        return output

    @torch.no_grad()
    def add(self, kind: str, place: str, values: Tensor, bounds: tuple[float, float] | None = None) -> None:
        values = few(values.detach()) if self.layers else values
        self.uses[place] += 1
        row = {"kind": kind, "place": f"{place} {self.uses[place]}"}
        row |= {} if self.layer is None else {"layer": self.layer}
        row |= {"count": values.numel(), "rms": torch.linalg.vector_norm(values.float())}
        if kind == "activation" or not self.layers:
            row |= zeros(values)
        if not self.brief:
            row |= distribution(values.float())
            row |= {"saturated": math.nan if bounds is None else _near(values, *bounds)}
        self.rows.append(row)


# Sums are tensors of one element, float32 and still on their device, until `fetched` and `finish` make them means.


def distribution(values: Tensor) -> dict:
    """Return the sum of values (B, ...) and the norm of their deviations from the mean over samples."""
    over_samples = values.sum(0)
    deviations = torch.sub(values, over_samples, alpha=1 / max(1, len(values)))  # mean(0) would take far longer
    return {"mean": over_samples.sum(), "variation": torch.linalg.vector_norm(deviations)}


def zeros(values: Tensor) -> dict:
    """Return how many of values (B, units, ...) or (B, T, units) are 0, and how many units are for all samples."""
    unit = -1 if values.ndim == 3 else min(1, values.ndim - 1)  # sequences have their units last
    over = [d for d in range(values.ndim) if d != unit % max(1, values.ndim)]
    found = (values == 0).sum(over, dtype=torch.float32) if over else (values == 0).float()
    dead = found == values.numel() // max(1, found.numel())
    return {"zeros": found.sum(), "units": found.numel(), "dead units": dead.sum(dtype=torch.float32)}


def fetched(rows: list[dict]) -> list[dict]:
    """Return the rows with numbers in place of tensors of one element, fetched from their device all at once."""
    tensors = [value for row in rows for value in row.values() if isinstance(value, Tensor)]
    numbers = iter(
        torch.stack([t if t.dtype == torch.float32 else t.float() for t in tensors]).tolist() if tensors else ()
    )
    return [{key: next(numbers) if isinstance(v, Tensor) else v for key, v in row.items()} for row in rows]


def finish(row: dict) -> dict:
    """Turn the sums of a fetched row into means, in place; return it."""
    count = max(1, row.pop("count"))
    row["rms"] /= math.sqrt(count)
    if "mean" in row:
        row["mean"] /= count
        row["variation"] = row["variation"] / math.sqrt(count) / row["rms"] if row["rms"] else math.nan
        row["std"] = math.sqrt(max(0.0, row["rms"] ** 2 - row["mean"] ** 2))
    if "zeros" in row:
        row["zeros"] /= count
        row["dead units"] /= max(1, row.pop("units"))
    return row


def few(batch: Tensor, numbers: int = 10_000) -> Tensor:
    """Return the first samples of a batch (B, ...): some 10,000 numbers tell a distribution."""
    return batch[: max(8, numbers * len(batch) // max(1, batch.numel()))] if batch.ndim else batch


def _near(values: Tensor, low: float, high: float) -> Tensor:
    near = NEAR * (high - low)
    return (((values - (low + high) / 2).abs()) > (high - low) / 2 - near).float().mean()
