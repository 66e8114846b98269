"""Segmentation that minimizes the Dice coefficient itself.

Source: https://github.com/sraashis/easytorch/pull/38
Cause: the loss returns the Dice coefficient, which is 1 where all is right.
Fix: return 1 - dice.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, iou, toy_segmentation

TRUTH = ("loss-sign",)


class DiceLoss(nn.Module):
    def __init__(self, one_minus: bool, smooth: float = 1.0):
        super().__init__()
        self.one_minus, self.smooth = one_minus, smooth

    def forward(self, logits, mask):
        probability = torch.sigmoid(logits).flatten(1)
        mask = mask.flatten(1)
        overlap = 2 * (probability * mask).sum(1) + self.smooth
        dice = (overlap / (probability.sum(1) + mask.sum(1) + self.smooth)).mean()
        return 1 - dice if self.one_minus else dice


def down(a: int, b: int):
    return nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(2, b), nn.LeakyReLU(0.1))


def up(a: int, b: int):
    return nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1), nn.GroupNorm(2, b), nn.LeakyReLU(0.1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = toy_segmentation(1600, seed=1)
    tx, ty = toy_segmentation(300, seed=2)
    model = nn.Sequential(down(1, 16), down(16, 32), up(32, 16), up(16, 16), nn.Conv2d(16, 1, 3, padding=1))
    loss_fn = DiceLoss(one_minus=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 16, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = iou(model(tx) > 0, ty)
    return {"score": score, "metric": "test IoU", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
