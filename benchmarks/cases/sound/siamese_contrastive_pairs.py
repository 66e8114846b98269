"""A siamese network: do two images show the same kind of clothes? Contrastive loss with a margin.

A careless tool could take two passes of the same layers, or targets of pairs, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import fashion


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(256, 16)
        )

    def forward(self, a, b):
        return F.pairwise_distance(self.branch(a), self.branch(b))


def contrastive(distance, same, margin=2.0):
    return (same * distance**2 + (1 - same) * (margin - distance).clamp(min=0) ** 2).mean()


def pairs(y, n):
    """Return indices of n pairs, half of them of one kind."""
    a, b = torch.randint(len(y), (n,)), torch.randint(len(y), (n,))
    for k in range(n // 2):
        kind = (y == y[a[k]]).nonzero().flatten()
        b[k] = kind[torch.randint(len(kind), ())]
    return a, b, (y[a] == y[b]).float()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(4000, 1000)
    model = Siamese()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, contrastive, optimizer) as doctor:
        for _ in range(350):
            a, b, same = pairs(y, 32)
            loss = doctor.loss_fn(model(x[a], x[b]), same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    a, b, same = pairs(ty, 1000)
    with torch.no_grad():
        score = ((model(tx[a], tx[b]) < 1.0).float() == same).float().mean().item()
    return {"score": score, "metric": "accuracy of pairs", "doctor": doctor, "probe": None, "test": None}
