"""Regression whose coefficients depend on the context: an encoder mixes archetypes of coefficients for each sample.

Source: https://github.com/AdaptInfer/Contextualized/issues/33
Cause: the archetypes start as torch.rand, from 0 to 1: all positive and large, so that the predictions begin as the sum
of all features.
Fix: center them and make them small.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("init-too-large",)
CONTEXT, GENES = 6, 40


def patients(n, seed):
    """Return contexts (N, CONTEXT), expressions of genes that rise and fall together (N, GENES), and responses."""
    rules = torch.Generator().manual_seed(8)
    types = torch.randn(4, GENES, generator=rules) * (torch.rand(4, GENES, generator=rules) < 0.3)
    tell = torch.randn(CONTEXT, 4, generator=rules)
    g = torch.Generator().manual_seed(seed)
    context = torch.randn(n, CONTEXT, generator=g)
    genes = 0.7 * torch.randn(n, 1, generator=g) + 0.7 * torch.randn(n, GENES, generator=g)
    coefficients = (2 * context @ tell).softmax(1) @ types
    return torch.cat([context, genes], 1), (coefficients * genes).sum(1) + 0.3 * torch.randn(n, generator=g)


class Explainer(nn.Module):
    """A mixture of k archetypes for each sample."""

    def __init__(self, k, out_shape, fixed):
        super().__init__()
        archs = torch.rand(k, *out_shape)
        self.archs = nn.Parameter(0.02 * (archs - 0.5) if fixed else archs)

    def forward(self, subtypes):
        return torch.einsum("nk,k...->n...", subtypes, self.archs)


class ContextualizedRegression(nn.Module):
    def __init__(self, fixed, k=16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(CONTEXT, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, k))
        self.betas, self.mus = Explainer(k, (GENES,), fixed), Explainer(k, (), fixed)

    def forward(self, x):
        context, genes = x.split([CONTEXT, GENES], 1)
        subtypes = self.encoder(context).softmax(1)
        return (self.betas(subtypes) * genes).sum(1) + self.mus(subtypes)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = patients(4000, seed), patients(1000, seed + 100)
    model = ContextualizedRegression(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 32, 12, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
