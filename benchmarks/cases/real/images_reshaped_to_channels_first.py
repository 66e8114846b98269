"""Images (N, H, W, 3) that are brought into shape (N, 3, H, W) by reshape.

Source: https://github.com/Selen-Suyue/DensePolicy2D/issues/3
Cause: reshape keeps the order of the numbers: each "channel" shows a third of the image, its colors side by side.
Fix: permute(0, 3, 1, 2).
New cause: axes-scrambled: view or reshape where permute was meant: the numbers of a sample land in wrong places.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, cifar

TRUTH = ("axes-scrambled",)


def channels_first(images, permute: bool):
    n, height, width, channels = images.shape
    return images.permute(0, 3, 1, 2) if permute else images.reshape(n, channels, height, width)


def block(a: int, b: int):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(5000, 1000)
    x, tx = (part.permute(0, 2, 3, 1).contiguous() for part in (x, tx))  # as an image library loads them
    x, tx = (channels_first(part, permute=fixed).contiguous() for part in (x, tx))
    model = nn.Sequential(
        block(3, 16), block(16, 32), block(32, 64), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1024, 10)
    )
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 50, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:4000], y[:4000]),
        "test": (tx, ty),
    }
