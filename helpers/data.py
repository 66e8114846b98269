"""Image data sets as tensors in memory: read from `data/`, downloaded, or made from a small sample that says so."""

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

import numpy as np
import torch

from helpers import session

CLASSES = {
    "MNIST": tuple("0123456789"),
    "FashionMNIST": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
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

# The copies of each image of a sample, the one in place first, and the classes that look the same in a mirror.
SHIFTS = sorted(((y, x) for y in range(-2, 3) for x in range(-2, 3)), key=lambda shift: abs(shift[0]) + abs(shift[1]))
MIRRORED = {"MNIST": [], "FashionMNIST": [0, 1, 2, 3, 4, 6, 8], "CIFAR10": list(range(10))}  # all shoes point left


class DamagedDataError(RuntimeError):
    """A file of a data set is damaged or missing among others."""


class DownloadError(RuntimeError):
    """A data set is not there and cannot be downloaded."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Hold a whole data set: images uint8 (N, C, H, W), labels int64 (N,). Shared: change nothing in place."""

    name: str
    classes: tuple[str, ...]
    source: str  # "torchvision" | "sample"
    train_images: torch.Tensor = field(repr=False)
    train_labels: torch.Tensor = field(repr=False)
    test_images: torch.Tensor = field(repr=False)
    test_labels: torch.Tensor = field(repr=False)


def load(name: str, root: str | Path | None = None, allow_sample: bool = True) -> ImageData:
    """Return "MNIST", "FashionMNIST" or "CIFAR10" from `root` (`data/`), downloaded into it where it is not there.

    The environment variable DATA_MIRROR says from where, see data/README.md. Where nothing can be had, shifted and
    mirrored copies of some thousand real images take the place of the data set, with one loud line and a caveat of
    the session; where that caveat is there already, as in the workers of a study, at once and silently. The copies of
    an image are all in the training set or all in the test set; `split` keeps them together, other ways to part the
    training set do not, and then validate on images that were trained on.
    Raises DamagedDataError for a damaged or incomplete data set, DownloadError where no sample is allowed or there.
    """
    if name not in CLASSES:
        raise ValueError(f'The data sets are "MNIST", "FashionMNIST" and "CIFAR10", not {name!r}.')
    caveat = f"sample {name}"
    if allow_sample and caveat in session.caveats:
        return _sample(name)
    try:
        return _real(name, Path(session.ROOT / "data" if root is None else root).resolve())
    except DownloadError as error:
        if not allow_sample or not _sheet(name, "train").exists():
            raise
        session.add_caveat(caveat)
        print(f"!!! A SAMPLE of real images, shifted, stands for {name}: no claim is judged. {error}")
        return _sample(name)


def as_vectors(images: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return images uint8 (N, C, H, W) as vectors float32 (N, C * H * W) with values in [0, 1]."""
    return images.to(device).flatten(1).float() / 255


@functools.cache
def split(name: str, device: torch.device | str = "cpu", validation: int = 10_000) -> tuple[torch.Tensor, ...]:
    """Return training vectors (N, D) and labels (N,), then those of a validation part, all on `device`.

    The validation part is drawn at random from the training set, the same images in every process; the test set
    is not touched. All copies of an image of a sample come into one part. Shared: change nothing in place.
    """
    data = load(name)
    copies = len(SHIFTS) if data.source == "sample" else 1
    count = len(data.train_labels) // copies  # copy k of image i is at k * count + i
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    parts = []
    for images in (order[validation // copies :], order[: validation // copies]):
        index = (count * torch.arange(copies)[:, None] + images).flatten()
        parts += [as_vectors(data.train_images[index], device), data.train_labels[index].to(device)]
    return tuple(parts)


@functools.cache
def moments(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and std of each color over all training images, as vectors (C * H * W,) like `as_vectors`."""
    images = load(name).train_images
    counts = torch.stack([images[:, channel].flatten().bincount(minlength=256) for channel in range(images.shape[1])])
    shares, values = counts / counts.sum(1, keepdim=True), torch.arange(256) / 255
    mean = shares @ values
    std = (shares @ values**2 - mean**2).sqrt()
    pixels = images[0, 0].numel()
    return mean.repeat_interleave(pixels), std.repeat_interleave(pixels)


def _sheet(name: str, part: str) -> Path:
    return session.ROOT / "data" / "sample" / f"{name}-{part}.webp"


@functools.cache
def _sample(name: str) -> ImageData:
    """Make data of the usual sizes from the sheets: in each copy of the sample all images are shifted alike."""
    splits = []
    for part in ("train", "test"):
        images, labels = _cut_up(name, part)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        images, labels = images[order], labels[order]
        mirror = torch.isin(labels, torch.tensor(MIRRORED[name], dtype=torch.int64)).view(-1, 1, 1, 1)
        mirrored = torch.where(mirror, images.flip(3), images)
        copies = [_shift(mirrored if (y + x) % 2 else images, y, x) for y, x in SHIFTS]
        splits += [torch.cat(copies), labels.repeat(len(SHIFTS))]
    return ImageData(name, CLASSES[name], "sample", *splits)


def _cut_up(name: str, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images uint8 (N, C, H, W) of a sheet, class after class, and their labels."""
    from PIL import Image

    color, size = ("RGB", 32) if name == "CIFAR10" else ("L", 28)
    pixels = torch.from_numpy(np.array(Image.open(_sheet(name, part)).convert(color)))  # (height, width[, 3])
    rows = pixels.view(len(pixels) // size, size, -1, size, len(color) if color == "RGB" else 1)
    images = rows.permute(0, 2, 4, 1, 3).flatten(0, 1)  # (N, C, H, W)
    return images, torch.arange(10).repeat_interleave(len(images) // 10)


def _shift(images: torch.Tensor, y: int, x: int) -> torch.Tensor:
    """Move images (N, C, H, W) by some pixels; what comes in repeats the edge."""
    height, width = images.shape[2:]
    rows, columns = (torch.arange(height) - y).clamp(0, height - 1), (torch.arange(width) - x).clamp(0, width - 1)
    return images[:, :, rows][:, :, :, columns]


@functools.cache
def _real(name: str, root: Path) -> ImageData:
    files = _files(name)
    if not any(os.path.exists(root / file) for file in files):
        _download(name, root)
    _verify(name, root, files)  # CIFAR-10 comes as pickles: torchvision opens only what is verified
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
            fault = f"is damaged ({len(content):,} bytes whose MD5 sum is not {md5})"
        except FileNotFoundError:
            fault = f"is missing among the other files of {name}"
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        useless = f"the folder {session.shown(root / _folder(name))}" if file in _files(name) else "it"
        advice = f"put the published file back, or delete {useless} and run again"
        raise DamagedDataError(f"{session.shown(path)} {fault}: {advice}.")


def _dataset_class(name: str) -> type:
    """Return torchvision's class, downloading from DATA_MIRROR where it is set.

    It is made blind to the unverified `processed/*.pt` that its old versions left behind.
    """
    from torchvision import datasets

    changes = {"_check_legacy_exist": lambda self: False}
    if mirror := os.environ.get("DATA_MIRROR", "").rstrip("/"):
        changes |= {"mirrors": [f"{mirror}/{name}/raw/"], "url": f"{mirror}/{datasets.CIFAR10.filename}"}
    return type(name, (getattr(datasets, name),), changes)


def _folder(name: str) -> str:
    """Return the folder of the files, as torchvision has it."""
    return "cifar-10-batches-py" if name == "CIFAR10" else f"{name}/raw"


def _files(name: str) -> dict[str, str]:
    """Return path below the root -> MD5 sum of each file that torchvision reads."""
    if name == "CIFAR10":
        cifar = _dataset_class(name)
        sums = {**dict(cifar.train_list), **dict(cifar.test_list), cifar.meta["filename"]: cifar.meta["md5"]}
    else:
        sums = IDX_MD5[name]
    return {f"{_folder(name)}/{file}": md5 for file, md5 in sums.items()}


def _archives(name: str) -> dict[str, str]:
    """Return path below the root -> MD5 sum of each archive that torchvision downloads."""
    dataset_class = _dataset_class(name)
    if name == "CIFAR10":
        return {dataset_class.filename: dataset_class.tgz_md5}
    return {f"{_folder(name)}/{file}": md5 for file, md5 in dataset_class.resources}
