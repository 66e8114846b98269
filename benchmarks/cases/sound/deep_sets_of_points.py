"""Deep Sets (Zaheer et al. 2017): sets of points of many sizes, padded and masked, pooled by max; counts of clusters.

A careless tool could take padding, or a max over points through which most get no gradient, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches


class DeepSet(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width))
        self.rho = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, points, mask):
        h = self.phi(points)
        most = h.masked_fill(~mask[..., None], float("-inf")).amax(1)
        mean = (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.rho(torch.cat([most, mean], 1))


def sets(n, size=24):
    """Return points (N, 24, 2), a mask, and in how many of four quadrants there are points, less 1."""
    kinds = torch.rand(n, 4).argsort(1)
    groups = torch.randint(1, 5, (n,))
    chosen = kinds.gather(1, (torch.rand(n, size) * groups[:, None]).long())
    sign = torch.stack([chosen % 2, chosen // 2], 2) * 2 - 1
    mask = torch.arange(size) < torch.randint(16, size + 1, (n, 1))
    present = torch.stack([((chosen == k) & mask).any(1) for k in range(4)], 1)
    points = sign * (0.4 + torch.rand(n, size, 2))
    return points * mask[..., None], mask, present.sum(1) - 1


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, mask, y), (tx, test_mask, ty) = sets(4000), sets(1000)
    model = DeepSet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i], mask[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx, test_mask).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy (0.25 by chance)", "doctor": doctor, "probe": None, "test": None}
