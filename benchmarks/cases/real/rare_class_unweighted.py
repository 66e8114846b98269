"""Segmentation of a street in which hardly a pixel is a car.

Source: https://github.com/hellochick/ICNet-tensorflow/issues/65 (also dmlc/gluon-cv#644)
Cause: background and road fill almost all pixels, so that a network that never says "car" has a small loss.
Fix: class weights in the loss, large for the rare class.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, iou

TRUTH = ("class-imbalance",)
SIZE = 32


def streets(n, seed):
    """Return noisy images (N, 3, S, S) and classes (N, S, S): 0 background, 1 road, 2 car (1 % of the pixels)."""
    g = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    horizon = torch.randint(8, 16, (n, 1, 1), generator=g)
    classes = ((row > horizon) & ((column - 16).abs() < (row - horizon))).long()
    car_row, car_column = (torch.randint(a, b, (n, 1, 1), generator=g) for a, b in ((20, 30), (12, 20)))
    classes[((row - car_row).abs() <= 1) & ((column - car_column).abs() <= 1)] = 2
    colors = torch.tensor([[0.3, 0.5, 0.3], [0.4, 0.4, 0.5], [0.7, 0.4, 0.5]])
    images = colors[classes] + 0.25 * torch.randn(n, SIZE, SIZE, 3, generator=g)
    return images.permute(0, 3, 1, 2).contiguous(), classes


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = streets(1000, 1), streets(200, 2)
    weight = torch.tensor([1.0, 1.0, 10.0]) if fixed else None
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 3, 1),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with watch(model, nn.CrossEntropyLoss(weight=weight), optimizer) as doctor:
        for i in batches(len(x), 10, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        predicted = model(tx).argmax(1)
    score = iou(predicted == 2, ty == 2)
    return {
        "score": score,
        "metric": "test IoU of the cars",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
