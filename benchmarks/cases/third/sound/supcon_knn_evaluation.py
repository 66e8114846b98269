"""Supervised contrastive learning (Khosla et al. 2020): pairs of a batch attract if their labels agree, and a kNN vote
in the loop says how good the features are.

A careless tool could take the labels compared with each other for a broadcast by mistake, or the samples of the batch
in the softmax for mixing.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import fashion


class SupConLoss(nn.Module):
    def __init__(self, temperature=0.1):
        super().__init__()
        self.temperature = temperature

    def forward(self, features, labels):
        similarity = features @ features.T / self.temperature
        itself = torch.eye(len(features), dtype=torch.bool)
        positive = (labels.view(-1, 1) == labels.view(1, -1)) & ~itself
        log_prob = similarity - similarity.masked_fill(itself, float("-inf")).logsumexp(dim=1, keepdim=True)
        return -((positive * log_prob).sum(1) / positive.sum(1).clamp(min=1)).mean()


class Encoder(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 49, 128),
            nn.ReLU(),
        )
        self.projector = nn.Linear(128, dim)

    def forward(self, x):
        return F.normalize(self.projector(self.trunk(x)), dim=1)


def shifted(images):
    dx, dy = torch.randint(-2, 3, (2,)).tolist()
    return torch.roll(images, (dy, dx), dims=(2, 3)) + 0.05 * torch.randn_like(images)


@torch.no_grad()
def knn_accuracy(model, bank, bank_labels, queries, query_labels, k=15):
    model.eval()
    keys = torch.cat([model.trunk(part) for part in bank.split(500)])
    found = torch.cat([model.trunk(part) for part in queries.split(500)])
    nearest = (F.normalize(found, dim=1) @ F.normalize(keys, dim=1).T).topk(k, dim=1).indices
    votes = F.one_hot(bank_labels[nearest], 10).sum(1)
    precision = (bank_labels[nearest] == query_labels[:, None]).float().mean().item()
    return (votes.argmax(1) == query_labels).float().mean().item(), precision


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    x, tx = (x - 0.29) / 0.35, (tx - 0.29) / 0.35
    model = Encoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    history = []
    with watch(model, SupConLoss(), optimizer) as doctor:
        for _epoch in range(7):
            model.train()
            for idx in torch.randperm(len(x)).split(125):
                loss = doctor.loss_fn(model(shifted(x[idx])), y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            history.append(knn_accuracy(model, x, y, tx, ty))
    return {
        "score": history[-1][0],
        "metric": "test accuracy of 15 neighbors",
        "doctor": doctor,
        "probe": (shifted(x[:2000]), y[:2000]),
        "test": (tx, ty),
    }
