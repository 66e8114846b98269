"""A small U-Net segments ellipses; the loss adds BCE of logits and 1 minus the soft Dice of their sigmoid.

A careless tool could take the sigmoid inside the loss for a second one, or the much larger background for imbalance.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, iou, toy_segmentation


def conv(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.down1, self.down2, self.mid = conv(1, c), conv(c, 2 * c), conv(2 * c, 2 * c)
        self.up2, self.up1, self.out = conv(4 * c, c), conv(2 * c, c), nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        u = self.up2(torch.cat([F.interpolate(m, scale_factor=2), b], 1))
        return self.out(self.up1(torch.cat([F.interpolate(u, scale_factor=2), a], 1)))


def bce_dice(logits, masks):
    p = torch.sigmoid(logits)
    overlap = (p * masks).sum((1, 2, 3))
    dice = (2 * overlap + 1) / (p.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + 1 - dice.mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = toy_segmentation(1000, seed=1), toy_segmentation(200, seed=2)
    model = UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, bce_dice, optimizer) as doctor:
        for i in batches(len(x), 16, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = iou(model(tx) > 0, ty)
    return {"score": score, "metric": "test IoU", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
