"""Tests of helpers.standin: the shapes and statistics of the generated data sets, and that they can be learned."""

import functools
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import standin

NAMES = ["MNIST", "FashionMNIST", "CIFAR10"]
made = functools.cache(standin.make)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_types_and_classes(name):
    train_images, train_labels, test_images, test_labels = made(name)
    count, shape = (50_000, (3, 32, 32)) if name == "CIFAR10" else (60_000, (1, 28, 28))
    assert train_images.shape == (count, *shape)
    assert test_images.shape == (10_000, *shape)
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        assert images.dtype == torch.uint8 and images.is_contiguous()
        assert labels.dtype == torch.int64 and labels.shape == images.shape[:1]
        assert labels.bincount().tolist() == [len(labels) // 10] * 10
        assert labels[:200].unique().numel() == 10  # shuffled
    assert not torch.equal(train_images[:100], test_images[:100])


def test_copies_fill_a_smaller_set_up_to_its_size():
    for part, whole in zip(standin.make("MNIST", copies=20), made("MNIST"), strict=True):
        assert part.shape == whole.shape and part.is_contiguous()
        once = part[: len(part) // 20]
        assert torch.equal(part, once.repeat(20, *[1] * (part.ndim - 1)))


@pytest.mark.parametrize(
    ("name", "mean", "std", "zeros"),
    [("MNIST", 33, 79, 0.81), ("FashionMNIST", 73, 90, 0.50), ("CIFAR10", 121, 64, 0.0)],
)
def test_pixels_are_distributed_like_the_real_ones(name, mean, std, zeros):
    images = made(name)[0][:10_000]
    assert images.float().mean().item() == pytest.approx(mean, abs=10)
    assert images.float().std().item() == pytest.approx(std, abs=10)
    assert (images == 0).float().mean().item() == pytest.approx(zeros, abs=0.08)
    assert images.max() == 255


def test_same_numbers_on_each_call_and_global_random_state_untouched():
    first = [tensor.clone() for tensor in made("MNIST")]
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 (the global state is what is tested)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    for again, before in zip(standin.make("MNIST"), first, strict=True):
        assert torch.equal(again, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "linear_range", "mlp_range", "gain"),
    [
        ("MNIST", (0.80, 0.94), (0.93, 0.995), 0.04),
        ("FashionMNIST", (0.70, 0.86), (0.77, 0.92), 0.02),
        ("CIFAR10", (0.25, 0.42), (0.38, 0.60), 0.06),
    ],
)
def test_an_mlp_learns_it_better_than_a_linear_model(name, linear_range, mlp_range, gain):
    linear, mlp = accuracy(name), accuracy(name, 256)
    assert linear_range[0] < linear < linear_range[1]
    assert mlp_range[0] < mlp < mlp_range[1]
    assert mlp > linear + gain


def accuracy(name: str, *hidden: int) -> float:
    """Train an MLP for a few epochs on a part of the stand-in; return its accuracy on a part of the test images."""
    images, labels, test_images, test_labels = (tensor[:20_000] for tensor in made(name))
    mean, std = images.float().mean(), images.float().std()
    inputs, test_inputs = ((x.float().flatten(1) - mean) / std for x in (images, test_images))
    widths = [inputs.shape[1], *hidden, 10]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(*pair) for pair in pairwise(widths)]
        model = torch.nn.Sequential(layers[0], *(x for layer in layers[1:] for x in (torch.nn.ReLU(), layer)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02 if hidden else 0.003, momentum=0.9)
        steps = 4 * len(inputs) // 100
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.02, steps)
        for step in range(steps):
            batch = torch.arange(100) + step * 100 % len(inputs)  # the labels are shuffled already
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return (model(test_inputs).argmax(1) == test_labels).float().mean().item()
