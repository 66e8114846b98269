"""Detector whose offsets of the box leave a ReLU.

Source: https://github.com/tsinghua-rll/VoxelNet-tensorflow/issues/10
Cause: the last layer has a ReLU as all others: no anchor can be moved left or up, nor shrunk.
Fix: no activation on the last layer.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2, toy_segmentation

TRUTH = ("activation-on-output",)


def conv(a: int, b: int, kernel: int = 3, stride: int = 2, activation: bool = True):
    layers = [nn.Conv2d(a, b, kernel, stride, kernel // 2 if stride == 2 else 0)]
    return nn.Sequential(*layers, nn.ReLU()) if activation else nn.Sequential(*layers)


def boxes(n: int, seed: int, size: int = 32):
    """Return images of an ellipse and the offsets (N, 4) of its box from an anchor of 14 pixels in the middle."""
    image, mask = toy_segmentation(n, size, seed, noise=0.3)
    sides = []
    for dim in (2, 3):
        seen = mask.amax(dim).squeeze(1) > 0
        low, high = seen.float().argmax(1), size - seen.flip(1).float().argmax(1)
        sides += [((low + high) / 2 - size / 2) / 5, ((high - low) / 14).log() * 4]
    return image, torch.stack(sides, 1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = boxes(3000, 1)
    tx, ty = boxes(500, 2)
    model = nn.Sequential(
        *(conv(1, 12), conv(12, 24), conv(24, 32), conv(32, 64, 4, 1)),
        *(conv(64, 4, 1, 1, activation=not fixed), nn.Flatten()),
    )
    loss_fn = nn.SmoothL1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 32, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
