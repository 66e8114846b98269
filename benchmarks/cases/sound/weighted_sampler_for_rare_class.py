"""A rare kind of item (2 %) is drawn more often by a WeightedRandomSampler with replacement; balanced accuracy counts.

A careless tool could take samples that come again in an epoch for repeated ones, or the test's classes for a mismatch.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


def items(n):
    x = torch.randn(n, 9)
    return x, ((x[:, 0] + x[:, 1] * x[:, 2] - x[:, 3]) > 3.4).long()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = items(8000), items(4000)
    weights = 1.0 / torch.bincount(y)[y].float()
    sampler = WeightedRandomSampler(weights, len(y), replacement=True)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, sampler=sampler)
    model = nn.Sequential(nn.Linear(9, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(6):
            for inputs, labels in loader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(inputs), labels)
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        right = (model(tx).argmax(1) == ty).float()
    score = (right[ty == 0].mean() + right[ty == 1].mean()).item() / 2
    return {"score": score, "metric": "balanced accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
