"""Table classifier that decides in steps; the layers that the steps share are shared with their batch norm.

Source: https://github.com/dreamquark-ai/tabnet/pull/76
Cause: the transformers of all steps hold the same shared blocks, as they should, and with them the same batch norm,
which should be one for each step: its running averages mix what the steps see, and fit none of them.
Fix: share the linear layers alone.
New cause: module-shared: one module stands in several places of the network that should each have one of their own.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("batchnorm-stats-stale", "module-shared")
COLUMNS, WIDTH, STEPS = 16, 24, 4


def table(n, seed):
    """Return rows (N, 16) of columns on unequal scales, and classes: which columns count depends on the first."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, COLUMNS, generator=g)
    left = x[:, 1] * x[:, 2] + x[:, 3]
    right = x[:, 4].abs() - 0.8 + x[:, 5] * x[:, 3]
    y = (torch.where(x[:, 0] > 0, left, right) + 0.1 * torch.randn(n, generator=g) > 0).long()
    scale = torch.logspace(-0.5, 0.7, COLUMNS)
    return x * scale + scale, y


class GLUBlock(nn.Module):
    def __init__(self, fc):
        super().__init__()
        self.fc, self.bn = fc, nn.BatchNorm1d(2 * WIDTH, momentum=0.1)

    def forward(self, x):
        a, b = self.bn(self.fc(x)).chunk(2, 1)
        return a * torch.sigmoid(b)


class FeatTransformer(nn.Module):
    def __init__(self, shared, fixed):
        super().__init__()
        self.shared = nn.ModuleList([GLUBlock(block.fc) if fixed else block for block in shared])
        self.own = GLUBlock(nn.Linear(WIDTH, 2 * WIDTH, bias=False))

    def forward(self, x):
        x = self.shared[0](x)
        x = (x + self.shared[1](x)) * 0.5**0.5
        return (x + self.own(x)) * 0.5**0.5


class TabNet(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.initial_bn = nn.BatchNorm1d(COLUMNS)
        shared = [GLUBlock(nn.Linear(n, 2 * WIDTH, bias=False)) for n in (COLUMNS, WIDTH)]
        self.feat = nn.ModuleList([FeatTransformer(shared, fixed) for _ in range(STEPS + 1)])
        self.att = nn.ModuleList(
            [nn.Sequential(nn.Linear(WIDTH // 2, COLUMNS), nn.BatchNorm1d(COLUMNS)) for _ in range(STEPS)]
        )
        self.final = nn.Linear(WIDTH // 2, 2)

    def forward(self, x):
        x = self.initial_bn(x)
        prior, total = torch.ones_like(x), 0
        a = self.feat[0](x)[:, WIDTH // 2 :]
        for step in range(STEPS):
            mask = torch.softmax(self.att[step](a) + prior.clamp(min=1e-3).log(), 1)
            prior = prior * (1.3 - mask)
            d, a = self.feat[step + 1](mask * x).chunk(2, 1)
            total = total + d.relu()
        return self.final(total)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = table(6000, seed), table(1500, seed + 100)
    model = TabNet(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 128, 10, seed):
            loss = doctor.loss_fn(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
