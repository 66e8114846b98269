"""Segmentation of three classes with a softmax over the width of the image.

Source: https://github.com/MrGiovanni/ModelsGenesis/pull/8
Cause: the outputs are (B, C, H, W), and the softmax is taken over the last dimension, the columns of the image.
Fix: softmax over the channels (dim=1).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, iou, toy_segmentation

TRUTH = ("softmax-wrong-dim",)


def conv(a: int, b: int, dilation: int = 1):
    return nn.Sequential(nn.Conv2d(a, b, 3, 1, dilation, dilation), nn.BatchNorm2d(b), nn.ReLU())


def dice_loss(probability, target):
    target = F.one_hot(target, 3).permute(0, 3, 1, 2)
    overlap = (probability * target).sum((0, 2, 3))
    return 1 - (2 * overlap / (probability + target).sum((0, 2, 3)).clamp(min=1e-6)).mean()


def scans(n: int, seed: int):
    """Return images (N, 1, S, S) of a bright and a dark ellipse, and classes (N, S, S): 0 for what is neither."""
    bright, mask = toy_segmentation(n, 24, seed, noise=0.15)
    dark, other = toy_segmentation(n, 24, seed + 100, noise=0.15)
    return bright - dark, torch.where(mask > other, 1, torch.where(other > mask, 2, 0)).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = scans(1200, 1)
    tx, ty = scans(200, 2)
    model = nn.Sequential(
        *(conv(1, 12), conv(12, 12, 2), conv(12, 12, 4), conv(12, 12), nn.Conv2d(12, 3, 1)),
        nn.Softmax(dim=1 if fixed else -1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, dice_loss, optimizer) as doctor:
        for i in batches(len(x), 16, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        found = model(tx).argmax(1)
    score = sum(iou(found == c, ty == c) for c in range(3)) / 3
    return {"score": score, "metric": "mean test IoU", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
