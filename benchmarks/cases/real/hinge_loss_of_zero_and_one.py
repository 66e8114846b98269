"""Hinge loss with labels 0 and 1.

Source: https://github.com/bfortuner/ml-glossary/pull/113 (also https://github.com/deepchem/deepchem/issues/5017)
Cause: max(0, 1 - label * output) wants labels -1 and 1: label 0 gives 1 whatever the output, so no negative teaches.
Fix: labels -1 and 1.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("wrong-loss",)


class HingeLoss(nn.Module):
    def __init__(self, remap: bool):
        super().__init__()
        self.remap = remap

    def forward(self, outputs, labels):
        if self.remap:
            labels = 2 * labels - 1
        return (1 - labels * outputs).clamp(min=0).mean()


def fingerprints(n: int, seed: int):
    """Return fingerprints of molecules (N, 128), bits as float, and labels (N,): does the molecule bind?"""
    g = torch.Generator().manual_seed(0)
    groups = (torch.rand(6, 128, generator=g) < 0.15).float()
    g = torch.Generator().manual_seed(seed)
    has = (torch.rand(n, 6, generator=g) < 0.5).float()
    bits = ((has @ groups > 0) ^ (torch.rand(n, 128, generator=g) < 0.05)).float()
    return bits, (has[:, :3].sum(1) > has[:, 3:].sum(1)).float()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = fingerprints(6000, 1)
    tx, ty = fingerprints(1500, 2)
    layers = [nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1), nn.Flatten(0)]
    model, loss_fn = nn.Sequential(*layers), HingeLoss(remap=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 50, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = ((model(tx) > 0) == ty.bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
