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
from PIL import Image

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
TRIES = 3  # of each address

# What torchvision reads, below the root; and the MD5 sums of the files, read one after the other.
IDX_FILES = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]
FILES = {name: [f"{name}/raw/{file}" for file in IDX_FILES] for name in ("MNIST", "FashionMNIST")}
FILES["CIFAR10"] = [f"cifar-10-batches-py/{file}" for file in BATCHES]
MD5 = {
    "MNIST": "017998840fb0ba3336e2cca627621f8d",
    "FashionMNIST": "7fb138cd6dc7fb99e48ca6a5a22923b2",
    "CIFAR10": "17334c8b874ac21198bbbcc18179dfee",
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
    mirrored copies of some thousand real images take the place of the data set, with one loud line and a caveat of the
    session; where that caveat is there already, as in workers, silently. All copies of an image are in the training
    set, or in the test set; `split`, and no other way to part the training set, keeps them together.
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
        session.caveats.append(caveat)
        print(f"!!! A SAMPLE of real images, shifted, stands for {name}: no claim is judged. {error}")
        return _sample(name)


def as_vectors(images: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return images uint8 (N, C, H, W) as vectors float32 (N, C * H * W) with values in [0, 1]."""
    return images.to(device).flatten(1) / 255


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
    mode, channels, size = ("RGB", 3, 32) if name == "CIFAR10" else ("L", 1, 28)
    splits = []
    for part in ("train", "test"):
        with Image.open(_sheet(name, part)) as sheet:  # class after class, row by row
            tiles = torch.from_numpy(np.array(sheet.convert(mode))).unflatten(0, (-1, size))
        images = tiles.view(*tiles.shape[:2], -1, size, channels).permute(0, 2, 4, 1, 3).flatten(0, 1)  # (N, C, H, W)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        images, labels = images[order], order // (len(order) // 10)
        same = torch.isin(labels, torch.tensor(MIRRORED[name], dtype=labels.dtype)).view(-1, 1, 1, 1)
        mirrored = torch.where(same, images.flip(3), images)
        places = torch.arange(size)  # what comes in repeats the edge
        rows = {shift: (places - shift).clamp(0, size - 1) for shift in range(-2, 3)}
        copies = [(mirrored if (y + x) % 2 else images)[:, :, rows[y]][..., rows[x]] for y, x in SHIFTS]
        splits += [torch.cat(copies), labels.repeat(len(SHIFTS))]
    return ImageData(name, CLASSES[name], "sample", *splits)


@functools.cache
def _real(name: str, root: Path) -> ImageData:
    if not any(os.path.exists(root / file) for file in FILES[name]):
        _download(name, root)
    _verify(name, root)  # CIFAR-10 comes as pickles: torchvision opens only what is verified
    splits = []
    for train in (True, False):
        dataset = _dataset_classes(name)[0](root, train=train)
        images = torch.as_tensor(dataset.data)  # (N, H, W) or (N, H, W, C)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)  # (N, C, H, W)
        splits += [images.contiguous(), torch.as_tensor(dataset.targets, dtype=torch.int64)]
    return ImageData(name, CLASSES[name], "torchvision", *splits)


def _dataset_classes(name: str) -> list[type]:
    """Return torchvision's class for each address, or for DATA_MIRROR; blind to files of old versions, not verified."""
    from torchvision import datasets

    plain, mirror = getattr(datasets, name), os.environ.get("DATA_MIRROR", "").rstrip("/")
    if name == "CIFAR10":
        addresses = [{"url": f"{mirror}/{plain.filename}" if mirror else plain.url}]
    else:
        addresses = [{"mirrors": [at]} for at in ([f"{mirror}/{name}/raw/"] if mirror else plain.mirrors)]
    return [type(name, (plain,), address | {"_check_legacy_exist": lambda self: False}) for address in addresses]


def _download(name: str, root: Path) -> None:
    """Let torchvision download into a temporary folder inside `root`; move what is verified into place.

    Archives that lie in `root` are used where they are whole. Raises DownloadError, and then leaves nothing behind.
    """
    print(f"Downloading or unpacking {name} (once) ...", flush=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
            new = Path(temporary)
            (new / FILES[name][0]).parent.mkdir(parents=True)
            for archive in root.glob("cifar-10-python.tar.gz" if name == "CIFAR10" else f"{name}/raw/*.gz"):
                shutil.copyfile(archive, new / archive.relative_to(root))
            _ask_all(name, new)
            _verify(name, new)
            for file in FILES[name]:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(new / file, root / file)
    except Exception as error:  # of the network, the server, the disk: the reason is passed on
        reason = textwrap.shorten(str(error) or type(error).__name__, 160, placeholder=" [...]")
        problem = f"{name} is not in {session.shown(root)} and cannot be downloaded ({reason})"
        advice = "put the files there as data/README.md says, or run again with a network"
        raise DownloadError(f"{problem}: {advice}.") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _ask_all(name: str, new: Path) -> None:
    """Ask each address up to TRIES times, as one may be silent or cut off; whole files of earlier tries are kept."""
    classes = _dataset_classes(name)
    for number, dataset_class in enumerate(tries := classes * TRIES, 1):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # no bars
                dataset_class(new, download=True)
            return
        except Exception:
            if number == len(tries):
                raise


def _verify(name: str, root: Path) -> None:
    """Raise DamagedDataError where a file is missing or the files are not those that were published."""
    digest, folder = hashlib.md5(usedforsecurity=False), (root / FILES[name][0]).parent
    try:
        for file in FILES[name]:
            digest.update((root / file).read_bytes())
        fault = "" if digest.hexdigest() == MD5[name] else "the MD5 sum of its files is another"
    except OSError as error:
        fault = f"{Path(error.filename).name} cannot be read: {error.strerror}"
    if fault:
        advice = "put the published files there, or delete the folder and run again"
        raise DamagedDataError(f"{session.shown(folder)} is damaged ({fault}): {advice}.")
