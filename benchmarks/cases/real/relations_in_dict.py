"""Network over typed relations whose layers stand in a dictionary.

Source: https://github.com/pytorch/pytorch/issues/632
Cause: the layers and weights of each relation are kept in a Python dictionary: model.parameters() lacks them, they
stay as they were drawn.
Fix: nn.ModuleDict and nn.ParameterDict.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("module-not-registered", "parameters-not-in-optimizer")
RELATIONS, FEATURES = 5, 12


def graph(n: int, seed: int):
    """Return for each node the features of its neighbors (N, R, F), one for each relation, and its value (N, 1)."""
    w = torch.randn(RELATIONS, FEATURES, generator=torch.Generator().manual_seed(7))
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, RELATIONS, FEATURES, generator=g)
    y = torch.tanh((x * w).sum(2)).sum(1, keepdim=True)
    return x, y + 0.1 * torch.randn(n, 1, generator=g)


class RelationNet(nn.Module):
    def __init__(self, fixed: bool, hidden: int = 8):
        super().__init__()
        self.list_relations, self.waggrs = {}, {}
        for rel in range(RELATIONS):
            self.list_relations[f"r{rel}"] = nn.Linear(FEATURES, hidden)
            self.waggrs[f"r{rel}"] = nn.Parameter(1.0 + 0.1 * torch.randn(1, hidden))
        if fixed:
            self.list_relations, self.waggrs = nn.ModuleDict(self.list_relations), nn.ParameterDict(self.waggrs)
        self.out = nn.Sequential(nn.Linear(hidden, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        total = 0
        for k, rel in enumerate(self.list_relations):
            total = total + self.waggrs[rel] * torch.tanh(self.list_relations[rel](x[:, k]))
        return self.out(total)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = graph(4000, seed), graph(1000, seed + 100)
    model, criterion = RelationNet(fixed), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 64, 10, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
