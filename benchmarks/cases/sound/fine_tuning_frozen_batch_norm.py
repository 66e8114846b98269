"""Fine-tuning with small batches: batch norms stay in eval mode, with the statistics and scales of the first training.

A careless tool could take modules in eval mode during training for a mode that someone forgot to set back.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches, fashion, mnist


def freeze_norms(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, *_ = mnist(6000)
    body = []
    for a, b in ((1, 12), (12, 24), (24, 32)):
        body += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    model = nn.Sequential(*body, nn.Flatten(), nn.Linear(512, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for i in batches(len(x), 64, 2, seed):
        optimizer.zero_grad()
        F.cross_entropy(model(x[i]), y[i]).backward()
        optimizer.step()
    x, y, tx, ty = fashion(4000, 1000)
    model[-1] = nn.Linear(512, 10)
    model.train()
    freeze_norms(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 8, 2, seed + 1):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
