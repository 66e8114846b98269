"""Metric learning: digits embedded in 8 dimensions by TripletMarginLoss of anchor, positive and negative.

A careless tool could take three passes of one network for a step, or a loss that becomes 0 for a vanished gradient.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 8))

    def forward(self, x):
        return F.normalize(self.layers(x))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    members = [(y == k).nonzero().flatten() for k in range(10)]
    model = Embedder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.TripletMarginLoss(margin=0.4), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            others = (y[i] + torch.randint(1, 10, (len(i),))) % 10
            like, unlike = ([members[k][torch.randint(len(members[k]), ())] for k in kinds] for kinds in (y[i], others))
            anchor, positive, negative = model(x[i]), model(x[torch.stack(like)]), model(x[torch.stack(unlike)])
            loss = doctor.loss_fn(anchor, positive, negative)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        nearest = torch.cdist(model(tx), model(x)).topk(5, largest=False).indices
    score = (y[nearest].mode(1).values == ty).float().mean().item()
    return {"score": score, "metric": "accuracy of neighbors in 8-D", "doctor": doctor, "probe": None, "test": None}
