"""Contrastive learning: argmax without a dimension in the accuracy.

Source: https://github.com/Zasder3/train-CLIP/issues/6
Cause: the accuracy takes torch.argmax of the whole matrix of similarities, one number in the flattened matrix, instead
of the best partner of each row. Training goes well; the accuracy reported is almost 0.
Fix: argmax along a dimension.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist

TRUTH = ("metric-wrong",)


class TwoTowers(nn.Module):
    """Upper and lower halves of images, brought into one space."""

    def __init__(self):
        super().__init__()
        self.upper, self.lower = (
            nn.Sequential(nn.Flatten(), nn.Linear(392, 128), nn.ReLU(), nn.Linear(128, 32)) for _ in range(2)
        )
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        upper, lower = self.upper(images[:, :, :14]), self.lower(images[:, :, 14:])
        return self.scale.exp() * F.normalize(upper, dim=1) @ F.normalize(lower, dim=1).T


def both_ways(similarity, partner):
    return (F.cross_entropy(similarity, partner) + F.cross_entropy(similarity.T, partner)) / 2


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(6000, 960)
    partner = torch.arange(32)
    model = TwoTowers()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with watch(model, both_ways, optimizer) as doctor:
        for epoch in range(4):
            for i in batches(len(x), 32, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), partner)
                loss.backward()
                optimizer.step()
            right = 0
            with torch.no_grad():
                for images in tx.split(32):
                    similarity = model(images)
                    best = similarity.argmax(1) if fixed else similarity.argmax()
                    right += (best == partner).sum().item()
    return {
        "score": right / len(tx),
        "metric": "accuracy of partners as reported",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
