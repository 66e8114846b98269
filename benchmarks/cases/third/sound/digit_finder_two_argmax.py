"""Which digit is where? A grid of 6 by 6 cells on a larger picture, 11 classes in each: argmax over classes names the
content of each cell, argmax over cells says where the digit is, and a threshold of 0.3 whether there is any.

A careless tool could take an argmax over places, or a background that fills 35 of 36 cells, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import mnist

EMPTY, GRID, CELL = 10, 6, 8


def scatter_digits(images, labels):
    """Return pictures (N, 1, 48, 48) with clutter, a digit in four of five, and classes of the cells (N, 6, 6)."""
    n, size = len(images), GRID * CELL
    pictures = torch.zeros(n, 1, size, size)
    classes = torch.full((n, GRID, GRID), EMPTY)
    small = nn.functional.avg_pool2d(images, 2) * 1.3
    for k in range(n):
        r, c = torch.randint(size - 6, (2,)).tolist()
        a, b = torch.randint(3, 9, (2,)).tolist()
        other = small[int(torch.randint(n, ())), 0]  # a piece of it is clutter
        pictures[k, 0, r : r + 5, c : c + 5] += other[a : a + 5, b : b + 5]
        if torch.rand(()) < 0.8:
            row, column = torch.randint(GRID, (2,)).tolist()
            r, c = ((torch.tensor([row, column]) * CELL - 5 + torch.randint(4, (2,))).clamp(0, size - 14)).tolist()
            pictures[k, 0, r : r + 14, c : c + 14] += small[k, 0]
            classes[k, row, column] = labels[k]
    return (pictures + 0.05 * torch.randn(n, 1, size, size)).clamp(0, 1), classes


class GridNet(nn.Module):
    def __init__(self, width=16):
        super().__init__()

        def stage(a, b, stride):
            return nn.Sequential(
                nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)
            )

        self.stages = nn.Sequential(
            stage(1, width, 2), stage(width, 2 * width, 2), stage(2 * width, 3 * width, 2), stage(3 * width, 64, 1)
        )
        self.out = nn.Conv2d(64, EMPTY + 1, 1)

    def forward(self, x):
        return self.out(self.stages(x))


@torch.no_grad()
def evaluate(model, pictures, classes):
    """Return the share of cells and of whole pictures that are right."""
    model.eval()
    probabilities = torch.cat([model(part).softmax(dim=1) for part in pictures.split(250)])
    cells = (probabilities.argmax(dim=1) == classes).float().mean().item()
    digit = probabilities[:, :EMPTY]
    place = digit.sum(1).flatten(1).argmax(dim=1)
    there = digit.flatten(2)[torch.arange(len(place)), :, place]
    found, name = there.sum(1) > 0.3, there.argmax(dim=1)
    wanted = classes.flatten(1)
    exists = (wanted != EMPTY).any(1)
    right = (wanted.gather(1, place[:, None]).squeeze(1) == name) & found
    return cells, torch.where(exists, right, ~found).float().mean().item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(5000, 600)
    pictures, classes = scatter_digits(x, y)
    test_pictures, test_classes = scatter_digits(tx, ty)
    model = GridNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    epochs, size = 7, 50
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, epochs * len(pictures) // size, power=1.0)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(epochs):
            model.train()
            for idx in torch.randperm(len(pictures)).split(size):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(pictures[idx]), classes[idx])
                loss.backward()
                optimizer.step()
                scheduler.step()
            cells, score = evaluate(model, test_pictures, test_classes)
    return {
        "score": score,
        "metric": f"pictures right ({cells:.3f} of cells)",
        "doctor": doctor,
        "probe": (pictures[:2000], classes[:2000]),
        "test": (test_pictures, test_classes),
    }
