"""What several cases need: data as tensors, batches of indices, scores, and `Plain`, in place of a doctor."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from helpers import data

Images = tuple[Tensor, Tensor, Tensor, Tensor]  # training and test images and labels


class Plain(contextlib.AbstractContextManager):
    """No doctor: the loop alone."""

    def __init__(self, model: nn.Module, loss_fn=None, optimizer=None):
        self.loss_fn = loss_fn

    def __exit__(self, *_) -> None:
        pass


def mnist(n: int = 10_000, m: int = 2_000, scale: bool = True) -> Images:
    """Return images (N, 1, 28, 28), float from 0 to 1 or, unscaled, uint8 from 0 to 255, and labels."""
    return images("MNIST", n, m, scale)


def fashion(n: int = 10_000, m: int = 2_000, scale: bool = True) -> Images:
    """Return FashionMNIST as `mnist` does."""
    return images("FashionMNIST", n, m, scale)


def cifar(n: int = 10_000, m: int = 2_000, scale: bool = True) -> Images:
    """Return images (N, 3, 32, 32), standardized by channel or, unscaled, uint8 from 0 to 255, and labels."""
    x, y, tx, ty = images("CIFAR10", n, m, scale)
    if scale:
        mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
        x, tx = (x - mean) / std, (tx - mean) / std
    return x, y, tx, ty


def images(name: str, n: int, m: int, scale: bool) -> Images:
    """Return the first n training and m test images of a data set of helpers.data, and their labels."""
    whole = data.load(name)
    x, tx = (part.float() / 255 if scale else part.clone() for part in (whole.train_images[:n], whole.test_images[:m]))
    return x, whole.train_labels[:n].clone(), tx, whole.test_labels[:m].clone()


def toy_segmentation(n: int, size: int = 32, seed: int = 0, large: bool = True, noise: float = 0.4):
    """Return images (N, 1, S, S) of one bright ellipse on noise, and its mask (N, 1, S, S) as float."""
    g = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    center = torch.rand(n, 2, generator=g) * (size - 12) + 6
    radius = torch.rand(n, 2, generator=g) * (6 if large else 1.5) + (4 if large else 1.5)
    dx, dy = xx - center[:, 0, None, None], yy - center[:, 1, None, None]
    inside = (dx / radius[:, 0, None, None]) ** 2 + (dy / radius[:, 1, None, None]) ** 2 <= 1
    mask = inside[:, None].float()
    return 0.8 * mask + noise * torch.randn(n, 1, size, size, generator=g), mask


def toy_text(n: int, length: int = 12, vocab: int = 50, seed: int = 0, min_length: int | None = None):
    """Return word indices (N, T), labels (N,) and lengths (N,): do words 1 to 10 outnumber words 11 to 20?

    0 is padding, behind `min_length` words or more. Texts without a majority are left out.
    """
    g = torch.Generator().manual_seed(seed)
    words, lengths = torch.randint(1, vocab, (n, length), generator=g), torch.full((n,), length)
    if min_length:
        lengths = torch.randint(min_length, length + 1, (n,), generator=g)
        words = words * (torch.arange(length) < lengths[:, None])
    good, bad = ((words >= 1) & (words <= 10)).sum(1), ((words >= 11) & (words <= 20)).sum(1)
    keep = good != bad
    return words[keep], (good > bad)[keep].long(), lengths[keep]


def batches(n: int, size: int, epochs: int, seed: int = 0, shuffle: bool = True) -> Iterator[Tensor]:
    """Give the indices of whole batches, epoch by epoch."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(n, generator=g) if shuffle else torch.arange(n)
        yield from (part for part in order.split(size) if len(part) == size)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, size: int = 500) -> float:
    """Return the share of right predictions in evaluation mode; the model's mode stays what it was."""
    was = model.training
    model.eval()
    outputs = torch.cat([model(part) for part in x.split(size)])
    model.train(was)
    return (outputs.argmax(1) == y).float().mean().item()


def r2(predicted: Tensor, wanted: Tensor) -> float:
    """Return the share of the variance that is explained."""
    predicted, wanted = predicted.flatten(), wanted.flatten()
    return (1 - (predicted - wanted).square().mean() / wanted.var(correction=0)).item()


def iou(mask: Tensor, wanted: Tensor) -> float:
    """Return intersection over union of two masks."""
    mask, wanted = mask.bool(), wanted.bool()
    return ((mask & wanted).sum() / (mask | wanted).sum().clamp(min=1)).item()
