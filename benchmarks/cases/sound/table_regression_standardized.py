"""House prices from a table of columns with very different units: columns and price standardized by the training part.

A careless tool could take the back-transformed error (tens of thousands), or rare values of columns, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


def houses(n):
    area, rooms, age = 40 + 160 * torch.rand(n), torch.randint(1, 8, (n,)).float(), 100 * torch.rand(n)
    distance, income = 30 * torch.rand(n) ** 2, 30_000 * torch.exp(0.4 * torch.randn(n))
    pool = (torch.rand(n) < 0.05).float()
    price = area * (4000 - 90 * distance) + 15_000 * rooms - 800 * age + 2 * income + 60_000 * pool
    columns = torch.stack([area, rooms, age, distance, income, pool], 1)
    return columns, (price + 30_000 * torch.randn(n))[:, None]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, price), (tx, test_price) = houses(4000), houses(1000)
    mean, std = x.mean(0), x.std(0)
    x, tx = (x - mean) / std, (tx - mean) / std
    y, ty = ((p - price.mean()) / price.std() for p in (price, test_price))
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx) * price.std() + price.mean(), test_price)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
