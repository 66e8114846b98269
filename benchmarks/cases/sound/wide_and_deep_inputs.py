"""Two inputs, numbers and categories: embeddings and a deep part, plus a wide linear part; income above a limit.

A careless tool could take several inputs, or whole numbers among them, for unscaled ones.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

SIZES = (12, 40, 5)


class WideAndDeep(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(n, 6) for n in SIZES])
        self.deep = nn.Sequential(nn.Linear(6 * 3 + 4, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU())
        self.wide = nn.ModuleList([nn.Embedding(n, 1) for n in SIZES])
        self.out = nn.Linear(32, 1)

    def forward(self, numbers, categories):
        parts = [table(categories[:, k]) for k, table in enumerate(self.tables)]
        wide = sum(table(categories[:, k]) for k, table in enumerate(self.wide))
        return self.out(self.deep(torch.cat([*parts, numbers], 1))) + wide


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    n = 6000
    numbers = torch.randn(n, 4)
    categories = torch.stack([torch.randint(size, (n,)) for size in SIZES], 1)
    effects = [torch.randn(size) for size in SIZES]
    worth = sum(effect[categories[:, k]] for k, effect in enumerate(effects))
    worth = worth + numbers[:, 0] * effects[0][categories[:, 0]]
    y = (worth + 0.3 * torch.randn(n) > 0).float()[:, None]
    model = WideAndDeep()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for i in batches(5000, 64, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(numbers[i], categories[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = ((model(numbers[5000:], categories[5000:]) > 0) == y[5000:].bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": None}
