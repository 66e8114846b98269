"""Learning to rank: which of two items is preferred? MarginRankingLoss of two scores, judged by order on test items.

A careless tool could take scores without a scale, or a loss of three arguments, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches


def value(items):
    return items[:, 0] - items[:, 1] ** 2 + 2 * torch.sin(items[:, 2]) * items[:, 3]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    items = torch.randn(2000, 6)
    worth = value(items)
    first, second = torch.randint(1600, (2, 8000))
    preferred = torch.sign(worth[first] - worth[second])
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.MarginRankingLoss(margin=0.5), optimizer) as doctor:
        for i in batches(8000, 64, 5, seed):
            a, b = model(items[first[i]]).squeeze(1), model(items[second[i]]).squeeze(1)
            loss = doctor.loss_fn(a, b, preferred[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        scores = model(items[1600:]).squeeze(1)
    a, b = torch.randint(400, (2, 2000))
    right = (scores[a] > scores[b]) == (worth[1600:][a] > worth[1600:][b])
    score = right[a != b].float().mean().item()
    return {"score": score, "metric": "pairs in right order", "doctor": doctor, "probe": None, "test": None}
