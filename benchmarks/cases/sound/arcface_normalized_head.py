"""Additive angular margin (ArcFace): features and class vectors of length 1, the margin added while training only.

A careless tool could take labels among the model's inputs for a leak, or the lower accuracy in training for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, fashion


class ArcFace(nn.Module):
    def __init__(self, scale=16.0, margin=0.2):
        super().__init__()
        layers = [nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(256, 24)]
        self.body, self.classes = nn.Sequential(*layers), nn.Parameter(torch.randn(10, 24))
        self.scale, self.margin = scale, margin

    def forward(self, x, labels=None):
        cosine = F.linear(F.normalize(self.body(x)), F.normalize(self.classes)).clamp(-1 + 1e-6, 1 - 1e-6)
        if labels is not None:
            own = F.one_hot(labels, 10).bool()
            cosine = torch.where(own, torch.cos(torch.acos(cosine) + self.margin), cosine)
        return self.scale * cosine


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(8000, 1000)
    model = ArcFace()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i], y[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": (tx, ty)}
