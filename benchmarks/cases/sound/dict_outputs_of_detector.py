"""A tiny detector returns a dict: is there an ellipse, and where is its box? The box counts only where there is one.

A careless tool could take outputs and targets in dicts, or a box loss of half of the samples, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, toy_segmentation


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(1, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(), nn.Flatten()]
        self.body = nn.Sequential(*layers, nn.Linear(1536, 64), nn.ReLU())
        self.there, self.box = nn.Linear(64, 1), nn.Linear(64, 4)

    def forward(self, x):
        h = self.body(x)
        return {"there": self.there(h).squeeze(1), "box": self.box(h).sigmoid()}


def detection_loss(outputs, targets):
    there = F.binary_cross_entropy_with_logits(outputs["there"], targets["there"])
    box = F.smooth_l1_loss(outputs["box"], targets["box"], reduction="none").sum(1) * targets["there"]
    return there + 5 * box.sum() / targets["there"].sum().clamp(min=1)


def scenes(n, seed):
    x, mask = toy_segmentation(n, seed=seed)
    rows, columns = mask.amax(3).squeeze(1), mask.amax(2).squeeze(1)
    box = [rows.argmax(1), columns.argmax(1), 32 - rows.flip(1).argmax(1), 32 - columns.flip(1).argmax(1)]
    there = (torch.arange(n) % 2).float()
    return x - 0.8 * mask * (1 - there).view(-1, 1, 1, 1), {"there": there, "box": torch.stack(box, 1) / 32}


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = scenes(3000, 1), scenes(500, 2)
    model = Detector()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, detection_loss, optimizer) as doctor:
        for i in batches(len(x), 32, 6, seed):
            loss = doctor.loss_fn(model(x[i]), {name: part[i] for name, part in y.items()})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        found, there = model(tx), ty["there"] > 0
    error = (found["box"] - ty["box"])[there].abs().mean().item()
    score = ((found["there"] > 0) == there).float().mean().item() - error
    return {"score": score, "metric": "accuracy minus error of box", "doctor": doctor, "probe": None, "test": None}
