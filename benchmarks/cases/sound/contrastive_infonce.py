"""Contrastive learning without labels (SimCLR): two views of each image, the other images of the batch are negatives.

A careless tool could take a loss over the batch for mixed samples, or targets 0 to 63 for labels of wrong images.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist


def view(x):
    dx, dy = torch.randint(-3, 4, (2,)).tolist()
    x = torch.roll(x, (dx, dy), (2, 3)) + 0.2 * torch.randn_like(x)
    return x * (0.7 + 0.6 * torch.rand(len(x), 1, 1, 1))


def info_nce(first, second, temperature=0.2):
    similarity = F.normalize(first) @ F.normalize(second).T / temperature
    own = torch.arange(len(first))
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(5000, 500)
    body = nn.Sequential(
        nn.Conv2d(1, 12, 5, 2), nn.ReLU(), nn.Conv2d(12, 24, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(384, 32)
    )
    model = nn.Sequential(body, nn.ReLU(), nn.Linear(32, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, info_nce, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            loss = doctor.loss_fn(model(view(x[i])), model(view(x[i])))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        first, second = F.normalize(model(view(tx))), F.normalize(model(view(tx)))
    score = ((first @ second.T).argmax(1) == torch.arange(len(tx))).float().mean().item()
    return {"score": score, "metric": "other view found (0.002)", "doctor": doctor, "probe": None, "test": None}
