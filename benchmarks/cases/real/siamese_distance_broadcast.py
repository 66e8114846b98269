"""Contrastive loss of distances (B,) and labels (B, 1).

Source: https://github.com/harveyslash/Facial-Similarity-with-Siamese-Networks-in-Pytorch/issues/27
Cause: pairwise_distance drops the last dimension, the labels have it: each distance meets the labels of all pairs.
Fix: keepdim=True.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, fashion

TRUTH = ("shape-broadcast",)


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(8)),
            *(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(16)),
            *(nn.Flatten(), nn.Linear(16 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 8)),
        )

    def forward(self, first, second):
        return self.cnn(first), self.cnn(second)


class ContrastiveLoss(nn.Module):
    def __init__(self, keepdim: bool, margin: float = 2.0):
        super().__init__()
        self.keepdim, self.margin = keepdim, margin

    def forward(self, first, second, different):
        distance = F.pairwise_distance(first, second, keepdim=self.keepdim)
        apart = (self.margin - distance).clamp(min=0)
        return ((1 - different) * distance.square() + different * apart.square()).mean()


def pairs(x, y, n: int, seed: int):
    """Return images, their partners and labels (N, 1): 1 for two classes, 0 for one; half of each."""
    g = torch.Generator().manual_seed(seed)
    i, j = torch.randint(0, len(x), (2, 20 * n), generator=g)
    different = y[i] != y[j]
    keep = torch.cat([different.nonzero()[: n // 2], (~different).nonzero()[: n // 2]]).flatten()
    return x[i[keep]], x[j[keep]], different[keep, None].float()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 2000)
    first, second, different = pairs(x, y, 8000, 1)
    test = pairs(tx, ty, 2000, 2)
    model, loss_fn = Siamese(), ContrastiveLoss(keepdim=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(first), 64, 2, seed):
            optimizer.zero_grad()
            out1, out2 = model(first[i], second[i])
            loss = doctor.loss_fn(out1, out2, different[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        distance = F.pairwise_distance(*model(test[0], test[1]))
    score = ((distance > distance.median()) == test[2].flatten().bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy of same or not", "doctor": doctor, "probe": None, "test": None}
