"""Detector trained from scratch, the early layers of its backbone frozen.

Source: https://github.com/pytorch/vision/pull/2160 (issue #2164)
Cause: the function that makes the detector freezes the early layers and their batch norm, as is done with pretrained
weights; here these layers are random and stay so.
Fix: freeze nothing when the backbone is not pretrained.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2, toy_segmentation

TRUTH = ("layer-frozen",)


class Frozen(nn.Module):
    """Batch norm with fixed statistics and weights."""

    def __init__(self, n: int):
        super().__init__()
        self.register_buffer("scale", torch.ones(1, n, 1, 1))
        self.register_buffer("shift", torch.zeros(1, n, 1, 1))

    def forward(self, x):
        return x * self.scale + self.shift


def layer(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), Frozen(b), nn.ReLU())


def detector(freeze: bool) -> nn.Module:
    stages = [layer(1, 4), layer(4, 8), layer(8, 16)]
    if freeze:  # all but the last stage
        for stage in stages[:-1]:
            stage.requires_grad_(False)
    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(16 * 16, 32), nn.ReLU(), nn.Linear(32, 4))


def boxes(mask):
    """Return the box around each mask, from 0 to 1."""
    columns, rows = mask.amax((1, 2)), mask.amax((1, 3))
    size = mask.shape[-1]
    ends = [rows.argmax(1), columns.argmax(1), size - rows.flip(1).argmax(1), size - columns.flip(1).argmax(1)]
    return torch.stack(ends, 1) / size


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, mask), (tx, t_mask) = toy_segmentation(4000, seed=seed), toy_segmentation(1000, seed=seed + 100)
    y, ty = boxes(mask), boxes(t_mask)
    model, criterion = detector(freeze=not fixed), nn.SmoothL1Loss(beta=0.1)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 40, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx) - ty.mean(0), ty - ty.mean(0))
    return {"score": score, "metric": "test R2 of the boxes", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
