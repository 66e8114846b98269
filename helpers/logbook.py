"""TensorBoard runs: written with a line or two for each step, read back as arrays.

    with Logbook(session.folder("runs") / "02" / run_name(fail=1, seed=0), every=16) as log:
        log.watch(model)
        for x, y in batches:
            loss = ...
            loss.backward()
            optimizer.step()
            log.step(len(x), loss=loss)             # after the optimizer's step, before the gradients are zeroed
            optimizer.zero_grad()
        log.evaluation(loss=validation_loss)

The x-axis of every run is the number of samples seen, so that runs with different batches can be compared; the tag
`step` counts the batches.
"""

import math
import os
import re
import struct
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from google.protobuf.message import DecodeError
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import masked_crc32c
from torch import Tensor, nn
from torch.utils.tensorboard import summary

from doctor import measure
from helpers import session
from helpers.hooks import Hook, check_not_compiled

PERCENTILES = (2, 50, 98)
BINS = 60  # of a histogram; TensorBoard shows 30
CALL = "call the model itself, as model(x), in training mode; if it is compiled, watch it before its first call"


def run_name(**config) -> str:
    """Return a folder's name that says the configuration, such as "fail-1_init-he_seed-0"."""
    return "_".join(f"{key}-{f'{value:g}' if isinstance(value, float) else value}" for key, value in config.items())


# ---- writing

_open: WeakValueDictionary[Path, "Logbook"] = WeakValueDictionary()  # by folder


class Logbook(AbstractContextManager):
    """Write one TensorBoard run, the first step and then every `every`-th, or the steps in it; also a context manager.

    A run that is in the folder already is replaced, and a Logbook of this process that still writes it is closed.
    Numbers may be tensors of one element. Raises session.CannotSave on a full or read-only disk. A network of modules
    is watched, `watch(model)`. For one written by hand, hand over its tensors:

        if log.due:
            log.activations({"hidden 1": h1, "hidden 2": h2})
            log.parameters({"W1": W1, "W2": W2})    # after backward, before the update
    """

    def __init__(self, run_dir: str | Path, every: int | Container[int] = 1):
        if isinstance(every, int) and every < 1:
            raise ValueError(f"every={every}: give 1 to write each step, 16 to write every 16th.")
        self.folder, self.every, self.steps, self.samples = Path(run_dir), every, 0, 0
        if older := _open.get(self.folder.absolute()):
            older.close()  # first: Windows deletes no file that is open
        with session.saving(self.folder):
            for old in _event_files(run_dir):
                old.unlink()
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
            self._file = open(self.folder / name, "xb", buffering=0)  # noqa: SIM115
            self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        _open[self.folder.absolute()] = self
        self._pending: list[Summary.Value] = []  # of the step under way
        self._hooks, self._uses = [], Counter()  # how often a module was used in the step under way
        self._names: dict[nn.Module, str] = {}  # of the leaf modules that are watched
        self._seen = False  # whether a watched model was called
        self._watched: dict[str, Tensor] = {}  # name -> parameter
        self._before: dict[str, tuple[Tensor, Tensor]] = {}  # name -> parameter, its copy from before the update

    @property
    def due(self) -> bool:
        """Whether the step under way is to be written."""
        return self.steps % self.every == 0 if isinstance(self.every, int) else self.steps in self.every

    def watch(self, model: nn.Module) -> None:
        """Write from now on, at each step that is due, the outputs of all leaf modules and all parameters.

        Further models come behind the first. Forward passes in evaluation mode are left out. Outputs, gradients and
        random state stay as they are. Raises ValueError for a model that torch.compile gave.
        """
        check_not_compiled(model)
        known = set(map(id, self._watched.values()))
        new = [(name, p) for name, p in model.named_parameters() if id(p) not in known]
        self._watched |= _numbered(new, len(self._watched))
        leaves = [(name, m) for name, m in model.named_modules() if not any(m.children()) and m not in self._names]
        names = {module: name for name, module in _numbered(leaves, len(self._names)).items()}
        self._names |= names
        self._hooks += [model.register_forward_pre_hook(Hook(self._before_pass))]
        self._hooks += [module.register_forward_hook(Hook(self._after_layer, model)) for module in names]

    def activations(self, layers: Mapping[str, Tensor], bounds: tuple[float, float] | None = None) -> None:
        """Write the distributions of the outputs of `layers`, (batch, units) or feature maps (batch, channels, ...).

        Besides mean, std and percentiles: the share of zeros, and of the units that are zero for this whole batch (of
        feature maps: channels); with the `bounds` of the activation function the share of outputs close to one.
        """
        for name, outputs in _numbered(layers.items()).items():
            self._activation(name, outputs, bounds)

    def parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Write distributions and norms of parameters and of their gradients, and (in `step`) of the coming update.

        Call it after `backward` and before the update. The update is what has really changed, not rate x gradient.
        """
        named = _numbered(parameters.items())
        self._copy(named)
        self._gradients(named)

    def step(self, samples: int, **numbers: float | Tensor) -> None:
        """End a step of `samples` samples; the numbers, such as `loss`, become tags such as `loss/train`.

        Call it after the update, and before the gradients are zeroed if a model is watched.
        """
        if self.due:
            self._gradients(self._watched)
            for name, (parameter, before) in self._before.items():
                self._distribution("weight", name, before)
                self.scalar(f"weight_norm/{name}", torch.linalg.vector_norm(before))
                self.scalar(f"update_to_weight/{name}", measure.update_ratio(before, parameter.detach()))
            for name, number in numbers.items():
                self.scalar(f"{name}/train", number)
            self.scalar("step", self.steps)
            self._before, self._uses = {}, Counter()
            if self._names and not self._seen:
                warnings.warn(f"No pass of the watched model was seen: {CALL}.", stacklevel=2)
            self._seen = True  # once is enough
        self._write()
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def evaluation(self, **numbers: float | Tensor) -> None:
        """Write numbers of the validation data, such as `loss`, under tags such as `loss/validation`."""
        self.scalar("step", self.steps)
        for name, number in numbers.items():
            self.scalar(f"{name}/validation", number)

    def scalar(self, tag: str, number: float | Tensor) -> None:
        value = number.item() if isinstance(number, Tensor) else number
        self._pending.append(Summary.Value(tag=tag, simple_value=value))

    def images(self, tag: str, images: Tensor) -> None:
        """Write a batch of images, (N, H, W) or (N, C, H, W) with 1 or 3 channels, as one picture with N tiles.

        One matrix of activations (batch, units) is `matrix[None]`. The smallest value of the batch becomes black and
        its largest white; they are the scalars `image_min/TAG` and `image_max/TAG`. NaN becomes black.
        """
        images = images.detach().cpu().float()
        images = images[:, None] if images.ndim == 3 else images
        values = images[images.isfinite()]
        low, high = (values.min().item(), values.max().item()) if len(values) else (math.nan, math.nan)
        scaled = ((images - low) / max(high - low, 1e-12)).nan_to_num(0).clamp(0, 1)
        self._pending += summary.image(tag, scaled).value
        self.scalar(f"image_min/{tag}", low)
        self.scalar(f"image_max/{tag}", high)

    def hyperparameters(self, config: Mapping, **results: float) -> None:
        """Fill this run's row in the tab HParams; once, at the end of the run."""
        results = {f"result/{name}": float(value) for name, value in results.items()}
        simple = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in config.items()}
        self._pending += [value for part in summary.hparams(simple, results) for value in part.value]
        for tag, value in results.items():
            self.scalar(tag, value)

    def close(self) -> None:
        """Write what is pending, and remove every hook."""
        while self._hooks:
            self._hooks.pop().remove()
        if not self._file.closed:
            self._write()
            self._file.close()

    def __exit__(self, *exception) -> None:
        self.close()

    def _write(self) -> None:
        """Write all that is pending as one event, which takes a fraction of the time of an event for each tag."""
        pending, self._pending = self._pending, []
        if pending and self._file.closed:
            raise ValueError(f"{self.folder.name} was closed, or is written by a newer Logbook: open a new one.")
        for value in pending:  # TensorBoard would replace the same, and print a line for each
            value.tag = re.sub(r"[^-/\w.]", "_", value.tag)
        if pending:
            with session.saving(self.folder):
                self._append(Event(wall_time=time.time(), step=self.samples, summary=Summary(value=pending)))

    def _append(self, event: Event) -> None:
        """Append an event at once, or nothing of it; the format is that which `_events` reads."""
        data, end = event.SerializeToString(), self._file.tell()
        length = struct.pack("<Q", len(data))
        content = length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
        try:
            while content:  # on a disk that gets full a part is written, and only what comes next raises
                content = content[self._file.write(content) :]
        except OSError:
            self._file.truncate(end)
            self._file.seek(end)
            raise

    def _before_pass(self, module, args) -> None:
        self._seen |= module.training
        if module.training and self.due:
            self._copy(self._watched)

    def _after_layer(self, module, args, output, model) -> None:
        if model.training and self.due and isinstance(output, Tensor):
            self._uses[module] += 1
            use = f":{self._uses[module]}" if self._uses[module] > 1 else ""
            self._activation(self._names[module] + use, output, measure.BOUNDS.get(type(module).__name__.lower()))

    def _copy(self, parameters: Mapping[str, Tensor]) -> None:
        self._before |= {name: (p, p.detach().clone()) for name, p in parameters.items()}

    def _activation(self, name: str, outputs: Tensor, bounds: tuple[float, float] | None) -> None:
        values = self._distribution("activation", name, outputs)
        numbers = {"zeros": measure.zero_fraction(outputs)}
        if outputs.ndim > 1:
            numbers["units_at_zero"] = measure.dead_units(outputs).float().mean()
        if len(values):
            numbers |= {"mean": values.mean(), "std": values.std(correction=0)}  # defined for a single value, too
            levels = np.percentile(values.numpy(), PERCENTILES)
            numbers |= {f"p{level:02d}": value for level, value in zip(PERCENTILES, levels, strict=True)}
        if bounds and len(values):
            numbers["saturated"] = measure.saturated_share(values, bounds)
        for what, number in numbers.items():
            self.scalar(f"activation_{what}/{name}", number)

    def _gradients(self, parameters: Mapping[str, Tensor]) -> None:
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                gradient = parameter.grad.to_dense()  # that of an embedding may be sparse
                self._distribution("gradient", name, gradient)
                self.scalar(f"gradient_norm/{name}", torch.linalg.vector_norm(gradient))

    def _distribution(self, kind: str, name: str, tensor: Tensor) -> Tensor:
        """Write the histogram of the values that are finite, and return them, (n,); say how many are not."""
        parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        values = parts.detach().flatten().cpu().double()  # exploding numbers overflow float32
        finite = values[values.isfinite()]
        if lost := len(values) - len(finite):
            self.scalar(f"{kind}_not_finite/{name}", lost)
        if len(finite):
            low, high = (bound.item() for bound in finite.aminmax())
            low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
            numbers = low, high, len(finite), finite.sum().item(), finite.dot(finite).item()
            limits, counts = np.linspace(low, high, BINS + 1)[1:], finite.histc(BINS, low, high).numpy()
            self._pending += summary.histogram_raw(f"{kind}/{name}", *numbers, limits, counts).value
        return finite


def _numbered(named: Iterable[tuple[str, object]], after: int = 0) -> dict[str, object]:
    """Put the position before each name: TensorBoard sorts tags, and layers should stand in their order."""
    return {f"{number:02d}_{name}": thing for number, (name, thing) in enumerate(named, after + 1)}


# ---- reading


class Series(NamedTuple):
    """What one tag of a run holds: T entries over samples (int64, (T,)) and steps (int64, (T,))."""

    samples: np.ndarray
    steps: np.ndarray
    values: np.ndarray | list  # numbers (T,); or T histograms (edges, counts), T images (H, W, C)


def read(run_dir: str | Path) -> dict[str, Series]:
    """Return what a run has written, by tag, sorted: numbers, histograms and images.

    A run that is still written or was cut off is read up to its last whole entry.
    Raises FileNotFoundError where no run is.
    """
    files = _event_files(run_dir)
    if not files:
        raise FileNotFoundError(f"There is no run in {run_dir}: give the folder that holds a file of tfevents.")
    found: dict[str, list[tuple[int, object]]] = defaultdict(list)
    for event in (event for path in files for event in _events(path)):
        for value in event.summary.value:
            if (kind := value.WhichOneof("value")) in DECODERS:
                found[value.tag].append((event.step, DECODERS[kind](value)))
    at, number = np.array(found.get("step", ()), dtype=np.int64).reshape(-1, 2).T
    series = {}
    for tag, entries in sorted(found.items()):
        samples, values = np.array([sample for sample, _ in entries], dtype=np.int64), [value for _, value in entries]
        steps = number[np.searchsorted(at, samples, side="right") - 1] if len(at) else np.zeros_like(samples)
        series[tag] = Series(samples, steps, np.array(values) if isinstance(values[0], float) else values)
    return series


def _event_files(run_dir: str | Path) -> list[Path]:
    return sorted(Path(run_dir).glob("*tfevents.*"))  # TensorBoard asks for no more than this word


def _events(path: Path) -> Iterator[Event]:
    """Yield the events of a file up to its last whole one; warn where the file is damaged.

    The format (TFRecord): length uint64, its checksum uint32, data, their checksum uint32, which is not looked at:
    in Python that takes longer than all the rest.
    """
    content, at = path.read_bytes(), 0
    while at + 12 <= len(content):
        length, checksum = struct.unpack_from("<QI", content, at)
        try:
            if masked_crc32c(content[at : at + 8]) != checksum:
                raise DecodeError("checksum")
            if at + 16 + length > len(content):
                return
            yield Event.FromString(content[at + 12 : at + 12 + length])
        except DecodeError:
            warnings.warn(f"{path.name} is damaged from byte {at} on; what comes after is left out.", stacklevel=3)
            return
        at += 16 + length


DECODERS = {
    "simple_value": lambda value: value.simple_value,
    "histo": lambda value: (np.array([value.histo.min, *value.histo.bucket_limit]), np.array(value.histo.bucket)),
    "image": lambda value: np.asarray(Image.open(BytesIO(value.image.encoded_image_string))),
}
