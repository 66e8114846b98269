"""Make the sheets in this folder from the real data sets: python -m data.sample.make_sample

The first 240 training images of each class (200 of CIFAR-10) and its first 40 test images, class after class, 40 in
a row, losslessly: `helpers.data` reads the labels from the places.
"""

from pathlib import Path

import torch
from PIL import Image

from helpers import data

TRAIN, TEST, COLUMNS = {"MNIST": 240, "FashionMNIST": 240, "CIFAR10": 200}, 40, 40


def make_sheet(path: Path, images: torch.Tensor, labels: torch.Tensor, per_class: int) -> None:
    """Write the first images uint8 (N, C, H, W) of each class as one picture."""
    chosen = images[torch.cat([(labels == label).nonzero()[:per_class, 0] for label in range(10)])]
    rows = chosen.unflatten(0, (-1, COLUMNS))  # (rows, COLUMNS, C, H, W)
    pixels = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows * H, COLUMNS * W, C)
    Image.fromarray(pixels.squeeze(2).numpy()).save(path, lossless=True, quality=100, method=6)


if __name__ == "__main__":
    for name, per_class in TRAIN.items():
        real, folder = data.load(name, allow_sample=False), Path(__file__).parent
        make_sheet(folder / f"{name}-train.webp", real.train_images, real.train_labels, per_class)
        make_sheet(folder / f"{name}-test.webp", real.test_images, real.test_labels, TEST)
