"""Normalizing constants for pixels from 0 to 1, used on pixels from 0 to 255.

Source: https://github.com/mosaicml/composer/pull/1641
Cause: the function that makes batches of images leaves them at 0 to 255, but mean and standard deviation are those of
pixels from 0 to 1. The inputs reach 1000 instead of 2, and training diverges.
Fix: multiply the constants by 255.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, cifar

TRUTH = ("inputs-not-scaled",)
MEAN, STD = (torch.tensor(numbers).view(3, 1, 1) for numbers in ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)))


class NormalizationFn:
    def __init__(self, scale):
        self.mean, self.std = scale * MEAN, scale * STD

    def __call__(self, images):
        return (images.float() - self.mean) / self.std


def block(channels, out):
    return nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.Conv2d(out, out, 3, 2, 1), nn.ReLU()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(3000, 500, scale=False)
    normalize = NormalizationFn(255 if fixed else 1)
    x, tx = normalize(x), normalize(tx)
    model = nn.Sequential(nn.AvgPool2d(2), *block(3, 16), *block(16, 32), nn.Flatten(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    with watch(model, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer) as doctor:
        for i in batches(len(x), 50, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:2000], y[:2000]),
        "test": (tx, ty),
    }
