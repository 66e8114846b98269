"""Records of what a watched training pass shows, and the recorder of a forward pass, which fills a part of them.

While a pass is watched, tensors of one element, still on their device, stand for numbers, until `fetch` gets them all.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

from doctor.measure import ALWAYS, BOUNDS, CUTS, LAYERS, function_name, is_activation, saturated_share, zero_shares

NAN = math.nan
ENOUGH = 10_000  # numbers tell a distribution; at least 8 samples are taken


@dataclass
class Place:
    """The input or output of the model, the input of a layer or the output of an activation function, in one pass."""

    kind: str  # "input", "output", "layer", "activation"
    place: str  # such as "into linear 2" for the second call in the pass
    layer: str = ""  # the one whose weight is used, or was last
    rms: float = NAN  # root mean square
    mean: float = NAN
    std: float = NAN
    variation: float = NAN  # rms of the std over samples / rms; 0 where nothing depends on the input
    zero_fraction: float = NAN
    dead_units: float = NAN  # share of dead units, as `measure.dead_units` has them
    saturated: float = NAN  # share of values near a bound of the function, NaN where it has none


@dataclass
class Update:
    """One parameter in the optimizer's step after a pass: norms, NaN where there was no gradient or no step."""

    name: str
    dimensions: int
    reached: bool  # whether the backward pass gave it a gradient
    weight: float  # before the step
    gradient: float = NAN  # after the backward pass
    at_step: float = NAN  # the gradient that the optimizer finds
    change: float = NAN  # by the step

    @property
    def ratio(self) -> float:
        """|change| / |weight|, as `measure.update_ratio` has it."""
        return self.change / self.weight if self.weight else math.inf * self.change


@dataclass
class Pass:
    """A watched training pass: its batch, loss, labels and rates, and the gradients left before it. None: not seen."""

    number: int  # of the backward pass after it
    step: int  # of the optimizer, before the pass
    rates: list[float]  # of the optimizer's groups
    training: bool  # the model's mode
    inside_step: bool  # made by the closure of a step
    for_inputs: bool  # the inputs need gradients, too: an attack, or a generator before the model
    places: list[Place] = field(default_factory=list)  # in the order of calls
    updates: list[Update] = field(default_factory=list)  # one for each parameter
    # of the loss
    loss: float | None = None
    blended: bool = False  # of several calls on the same outputs: what is differentiated counts
    size: int | None = None  # samples
    width: int | None = None  # outputs for each sample
    swapped: bool = False  # outputs stand where the loss takes targets
    # of the backward pass, as it begins
    useless: float | None = None  # what was added to the loss, and brings no gradient
    scale: float | None = None  # the factor between the loss and what is differentiated (accumulation, AMP, a sign)
    left: float | None = None  # the largest norm of a gradient that is there already
    batches_since_step: int | None = None  # backward passes, this one included
    waiting: bool = False  # gradients of an earlier watched pass have not been used by a step, nor weights changed
    # of classification
    label: int | None = None  # the most frequent one
    label_share: float | None = None  # its share
    guess_share: float | None = None  # of the most frequent prediction
    scored: int = 1  # passes that the next two are the mean of
    cross_entropy: float | None = None  # of the outputs as logits, whatever the loss is
    accuracy: float | None = None
    # of the first passes' outputs (B, C) as probabilities: how far sums over C (rows) and over B (columns) are off 1
    rows_off: float | None = None
    columns_off: float | None = None
    logarithms: bool = False  # of probabilities, as none is above 0


def score_outputs(watched: Pass, earlier: Pass | None, outputs: Tensor, labels: Tensor) -> None:
    """Note how well outputs (B, C) tell class indices (B,), averaged with an earlier pass of the same backward."""
    guesses = outputs.argmax(1)
    watched.guess_share = guesses.bincount().max() / len(labels)
    watched.accuracy = (guesses == labels).float().mean()
    watched.cross_entropy = cross_entropy(outputs.float(), labels)
    if earlier is not None and earlier.accuracy is not None:
        watched.scored = earlier.scored + 1
        for name in ("accuracy", "cross_entropy"):
            before = getattr(earlier, name)
            setattr(watched, name, before + (getattr(watched, name) - before) / watched.scored)


def compare_with_probabilities(watched: Pass, outputs: Tensor) -> None:
    """Note whether outputs (B, C), or their exponentials if none is above 0, sum to 1 over classes or over samples."""
    outputs = outputs.float()
    low, high = (extreme.item() for extreme in outputs.aminmax())
    watched.logarithms = high <= 0
    shares = outputs.exp() if high <= 0 else outputs if low >= 0 else outputs + math.inf
    watched.rows_off, watched.columns_off = ((shares.sum(d) - 1).abs().max() for d in (1, 0))


class Kept:
    """Samples of a pass: what the loss got."""

    def __init__(self, outputs: Tensor, targets=None, *others):
        self.outputs, self.targets, self.others = outputs, targets, others


@dataclass
class FirstWeight:
    """A parameter as it is at the beginning."""

    name: str
    dimensions: int
    inputs: int  # of each unit
    mean: float
    std: float
    differ: float  # the largest difference between a unit (a row) and the mean of all units

    @property
    def layer(self) -> str:
        return layer_of(self.name)

    @property
    def gain(self) -> float:
        """What a matrix multiplies the rms of independent inputs by."""
        return math.hypot(self.std, self.mean) * math.sqrt(self.inputs)


def layer_of(parameter: str) -> str:
    """Return the name of the module that a parameter belongs to; of a parameter of the model itself its own name."""
    return parameter.rpartition(".")[0] or parameter


def fetch(records: Iterable) -> None:
    """Put numbers in place of the tensors of one element that records hold, fetched from each device all at once."""
    everywhere = [(vars(r), key, value) for r in records for key, value in vars(r).items() if isinstance(value, Tensor)]
    for device in {tensor.device for *_, tensor in everywhere}:
        found = [entry for entry in everywhere if entry[2].device == device]
        numbers = torch.stack([t if t.dtype == torch.float32 else t.float() for *_, t in found]).tolist()
        for (record, key, _), number in zip(found, numbers, strict=True):
            record[key] = number


def first_weights(parameters: Mapping[str, Tensor]) -> list[FirstWeight]:
    """Return a record for each parameter."""
    records = []
    for name, p in parameters.items():
        w = p.detach().float().flatten(1) if p.ndim > 1 else p.detach().float().reshape(-1, 1)
        differ = (w - w.mean(0)).abs().max() if len(w) else 0.0
        records.append(FirstWeight(name, p.ndim, w.shape[1], w.mean(), w.std(correction=0), differ))
    fetch(records)
    return records


def record(model: nn.Module, inputs: Tensor) -> list[Place]:
    """Return the places that a forward pass without gradients meets, in the order of calls of modules or functions."""
    with torch.no_grad(), Recorder() as recorder:
        model(inputs)
    fetch(recorder.places)
    return recorder.places


class Recorder(TorchFunctionMode):
    """Collect the places that are met while it is entered, with tensors of one element, until `fetch`.

    With `parameters`, by name, a place tells the layer, too, and large batches are judged by their first samples.
    A `brief` one measures but `rms` and `dead_units`, which takes a third of the time. What cannot be measured stands
    in `errors`: the watched model never fails by it.
    """

    def __init__(self, parameters: Mapping[str, Tensor] | None = None, brief: bool = False):
        super().__init__()
        self.places: list[Place] = []
        self.uses, self.errors, self.brief = Counter(), Counter(), brief
        self.layers = {id(p): layer_of(name) for name, p in (parameters or {}).items()}
        self.layer = ""
        self.strangers: dict[int, nn.Parameter] = {}  # parameters that are none of those
        self.cuts: Counter[str] = Counter()  # calls that cut the graph, by function
        self.softmax_over_batch = self.softmax_of_one = ""  # the layer before a softmax over samples, or over 1
        self._batch, self._activations, self._last = None, 0, None  # size; calls so far; the last call's output

    @torch._disable_dynamo  # it is no part of a compiled graph
    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = function_name(function), kwargs or {}
        self._safely(self._add_layer, name, (*args, *kwargs.values()))  # before the call, which may change it in place
        self._safely(self._look, function, name, args, kwargs)
        output = function(*args, **kwargs)
        self._safely(self._add_activation, name, args, kwargs, output)
        return output

    def _look(self, function, name: str, args: tuple, kwargs: dict) -> None:
        """Look for what a graph, or a batch, should not meet."""
        if self.layers:
            flat = (v for a in (*args, *kwargs.values()) for v in (a if isinstance(a, (list, tuple)) else (a,)))
            new = (v for v in flat if isinstance(v, nn.Parameter) and v.requires_grad and id(v) not in self.layers)
            self.strangers.update((id(v), v) for v in new)
        first = args[0] if args else None
        if not isinstance(first, Tensor):
            return
        if first.requires_grad and (name in CUTS or getattr(function, "__self__", None) is Tensor.data):
            self.cuts[".data" if name == "get" else name] += 1
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if name in ("softmax", "log_softmax") and first.ndim > 1 and len(first) == self._batch and isinstance(dim, int):
            if self._batch > 1 and dim % first.ndim == 0:
                self.softmax_over_batch = self.layer or "the input"
            elif first.shape[dim] == 1:
                self.softmax_of_one = self.layer

    def ending(self, outputs: Tensor) -> tuple[str, int] | None:
        """Return the name and the number of the activation function whose output, perhaps in another shape, these are.

        "tanh, scaled" is one behind which no layer came, but arithmetic. The number counts the calls of activation
        functions in the pass, from 0 on.
        """
        name, last = self._last or ("", None)
        if last is None or last.numel() != outputs.numel():
            return None
        same = last.data_ptr() == outputs.data_ptr()
        return name if same else f"{name}, scaled", self._activations - 1

    def _safely(self, add, *arguments) -> None:
        """Never let the model suffer from what is looked at, such as a sparse tensor or one without dimensions."""
        try:
            add(*arguments)
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1

    def _add_layer(self, name: str, given: tuple) -> None:
        if name in LAYERS:
            self._last = None
            self.layer = next((self.layers[id(a)] for a in given if id(a) in self.layers), self.layer)
            self.add("layer", f"into {name}", given[0])

    def _add_activation(self, name: str, args: tuple, kwargs: dict, output) -> None:
        if is_activation(name, args, kwargs):
            self._activations, self._last = self._activations + 1, (name, output)
            bounds = None if name == "hardtanh" else BOUNDS.get(name)  # its zeros as ReLU6 are no saturation
            self.add("activation", f"out of {name}", output, bounds)

    def add(self, kind: str, place: str, values: Tensor, bounds: tuple[float, float] | None = None) -> None:
        self.uses[place] += 1
        found = Place(kind, f"{place} {self.uses[place]}", self.layer)
        if kind == "input" and values.ndim:
            self._batch = len(values)
        self._safely(lambda: self._measure(found, values.detach(), bounds))
        self.places.append(found)

    @torch.no_grad()
    def _measure(self, found: Place, values: Tensor, bounds: tuple[float, float] | None) -> None:
        if values.is_meta:
            return
        if self.layers and values.ndim:
            values = values[: max(8, ENOUGH * len(values) // max(1, values.numel()))]
        size, root = torch.linalg.vector_norm(values.float()), math.sqrt(max(1, values.numel()))
        found.rms = size / root if values.numel() else NAN
        if found.kind == "activation" or not self.layers:
            zeros = zero_shares(values)
            found.dead_units = (zeros >= ALWAYS).mean(dtype=torch.float32)
            found.zero_fraction = NAN if self.brief else zeros.mean()
        if not self.brief:
            over_samples = values.float().sum(0)
            deviations = torch.sub(values, over_samples, alpha=1 / max(1, len(values)))  # mean(0) would take far longer
            found.mean = over_samples.sum() / root**2
            found.std = (found.rms**2 - found.mean**2).clamp(min=0).sqrt()
            found.variation = torch.linalg.vector_norm(deviations) / size
            found.saturated = NAN if bounds is None else saturated_share(values, bounds)
