"""Image data sets as tensors in memory: read from `data/`, downloaded, or replaced by a stand-in that says so."""

import contextlib
import functools
import hashlib
import io
import os
import shutil
import socket
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torchvision import datasets

from helpers import session

CLASSES = {
    "MNIST": tuple("0123456789"),
    "FashionMNIST": tuple(datasets.FashionMNIST.classes),
    "CIFAR10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
TIMEOUT = 15  # seconds without an answer from the server

# MD5 sums of the unpacked files; torchvision knows those of the archives and of all CIFAR-10 files.
IDX_MD5 = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
IDX_BYTES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


class DamagedDataError(RuntimeError):
    """A file of a data set is damaged or missing among others."""


class DownloadError(RuntimeError):
    """A data set is not there and cannot be downloaded."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Hold a whole data set: images uint8 (N, C, H, W), labels int64 (N,). Shared: change nothing in place."""

    name: str
    classes: tuple[str, ...]
    source: str  # "torchvision" | "stand-in"
    train_images: torch.Tensor = field(repr=False)
    train_labels: torch.Tensor = field(repr=False)
    test_images: torch.Tensor = field(repr=False)
    test_labels: torch.Tensor = field(repr=False)


_loaded: dict[tuple[str, Path], ImageData] = {}


def load(name: str, root: str | Path | None = None, allow_standin: bool = True) -> ImageData:
    """Return "MNIST", "FashionMNIST" or "CIFAR10" from `root` (`data/`), downloaded into it where it is not there.

    Where neither works, a generated stand-in takes its place, with one loud line and a caveat of the session; where
    that caveat is there already, as in the workers of a study, at once and silently.
    Raises DamagedDataError for a damaged or incomplete data set, DownloadError where a stand-in is not allowed.
    """
    if name not in CLASSES:
        raise ValueError(f'The data sets are "MNIST", "FashionMNIST" and "CIFAR10", not {name!r}.')
    root = Path(session.ROOT / "data" if root is None else root).resolve()
    data, caveat = _loaded.get((name, root)), f"stand-in {name}"
    if data is None or (data.source == "stand-in" and not allow_standin):
        try:
            if allow_standin and caveat in session.caveats:
                raise DownloadError  # it was tried, and told, before: here or in the process that began the study
            if not any(os.path.exists(root / file) for file in _files(name)):
                _download(name, root)
            data = _read(name, root)
        except DownloadError as error:
            if not allow_standin:
                raise
            from helpers import standin

            if caveat not in session.caveats:
                print(f"!!! A GENERATED STAND-IN, its numbers say nothing about {name} and no claim is judged: {error}")
            data = ImageData(name, CLASSES[name], "stand-in", *standin.make(name, copies=session.pick(1, 10)))
        _loaded[name, root] = data
    if data.source == "stand-in":
        session.add_caveat(caveat)
    return data


# The MD5 sums fix what it returns: changes of its code leave the results of studies valid (see fingerprint).
load.result_version = 1


def as_vectors(images: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return images uint8 (N, C, H, W) as vectors float32 (N, C * H * W) with values in [0, 1]."""
    return images.to(device).flatten(1).float() / 255


@functools.cache
def split(name: str, device: torch.device | str = "cpu", validation: int = 10_000) -> tuple[torch.Tensor, ...]:
    """Return training vectors (N, D) and labels (N,), then those of a validation part, all on `device`.

    The validation part is drawn at random from the training set, the same images in every process; the test set
    is not touched. Shared between calls: change nothing in place.
    """
    data = load(name)
    order = torch.randperm(len(data.train_labels), generator=torch.Generator().manual_seed(0))
    images, labels = as_vectors(data.train_images[order], device), data.train_labels[order].to(device)
    return images[validation:], labels[validation:], images[:validation], labels[:validation]


@functools.cache
def moments(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and std of each colour over all training images, as vectors (C * H * W,) like `as_vectors`."""
    images = load(name).train_images
    counts = torch.stack([images[:, channel].flatten().bincount(minlength=256) for channel in range(images.shape[1])])
    shares, values = counts / counts.sum(1, keepdim=True), torch.arange(256) / 255  # of each brightness
    mean = shares @ values
    std = (shares @ values**2 - mean**2).sqrt()
    pixels = images[0, 0].numel()
    return mean.repeat_interleave(pixels), std.repeat_interleave(pixels)


def _read(name: str, root: Path) -> ImageData:
    _verify(name, root, _files(name))  # CIFAR-10 comes as pickles: torchvision opens only what is verified
    splits = []
    for train in (True, False):
        dataset = _dataset_class(name)(root, train=train)
        images = torch.as_tensor(dataset.data)  # (N, H, W) or (N, H, W, C)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)  # (N, C, H, W)
        splits += [images.contiguous(), torch.as_tensor(dataset.targets, dtype=torch.int64)]
    return ImageData(name, CLASSES[name], "torchvision", *splits)


def _download(name: str, root: Path) -> None:
    """Let torchvision download into a temporary folder inside `root`; move what is verified into place.

    Archives that lie in `root` already are used. Raises DownloadError, and then leaves nothing behind.
    """
    files, archives = _files(name), _archives(name)
    archives_here = {archive: md5 for archive, md5 in archives.items() if os.path.exists(root / archive)}
    _verify(name, root, archives_here)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
            new = Path(temporary)
            for archive in archives_here:
                (new / archive).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / archive, new / archive)
            if len(archives_here) < len(archives):
                print(f"Downloading {name} (once) ...", flush=True)
            with _bounded_and_quiet():
                _dataset_class(name)(new, download=True)
            _verify(name, new, files)
            for archive in archives:
                (new / archive).unlink(missing_ok=True)
            folder = _folder(name)
            (root / folder).parent.mkdir(exist_ok=True)
            try:
                os.replace(new / folder, root / folder)  # in one step: nobody ever sees a half-filled folder ...
            except OSError:  # ... unless there is one already, with archives or from a process that was faster
                for file in files:
                    os.replace(new / file, root / file)
    except Exception as error:  # of the network, the server, the disk: the reason is passed on
        reason = textwrap.shorten(str(error) or type(error).__name__, 160, placeholder=" [...]")
        raise DownloadError(
            f"{name} is not in {session.shown(root)} and cannot be downloaded ({reason}): put the files there as "
            "data/README.md says, or run again with a network."
        ) from error


@contextlib.contextmanager
def _bounded_and_quiet():
    """Bound each wait for a server, and keep progress bars out of the notebook."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _verify(name: str, root: Path, files: dict[str, str]) -> None:
    """Raise DamagedDataError for the first of `files` (path below root -> MD5 sum) that is not as published."""
    for file, md5 in files.items():
        path = root / file
        try:
            content = path.read_bytes()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
                continue
            size, expected = len(content), IDX_BYTES.get(path.name)
            if expected in (None, size):
                fault = f"is damaged ({size:,} bytes whose MD5 sum is not {md5})"
            else:
                fault = f"is damaged ({size:,} bytes instead of {expected:,})"
        except FileNotFoundError:
            fault = f"is missing among the other files of {name}"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        rubbish = f"the folder {session.shown(root / _folder(name))}" if file in _files(name) else "it"
        advice = f"put the published file back, or delete {rubbish} and run again"
        raise DamagedDataError(f"{session.shown(path)} {fault}: {advice}.")


def _dataset_class(name: str) -> type:
    """Return torchvision's class, made blind to the unverified `processed/*.pt` that its old versions left behind."""
    return type(name, (getattr(datasets, name),), {"_check_legacy_exist": lambda self: False})


def _folder(name: str) -> str:
    return datasets.CIFAR10.base_folder if name == "CIFAR10" else f"{name}/raw"


def _files(name: str) -> dict[str, str]:
    """Return path below the root -> MD5 sum of each file that torchvision reads."""
    cifar = datasets.CIFAR10
    if name == "CIFAR10":
        sums = {**dict(cifar.train_list), **dict(cifar.test_list), cifar.meta["filename"]: cifar.meta["md5"]}
    else:
        sums = IDX_MD5[name]
    return {f"{_folder(name)}/{file}": md5 for file, md5 in sums.items()}


def _archives(name: str) -> dict[str, str]:
    """Return path below the root -> MD5 sum of each archive that torchvision downloads."""
    if name == "CIFAR10":
        return {datasets.CIFAR10.filename: datasets.CIFAR10.tgz_md5}
    return {f"{_folder(name)}/{file}": md5 for file, md5 in getattr(datasets, name).resources}
