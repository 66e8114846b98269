"""Mean and variance are both predicted, with the Gaussian likelihood of three arguments; the noise grows with x.

A careless tool could take the falling loss below 0 for a wrong sign, or the spread targets for noise in the labels.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.mean, self.spread = nn.Linear(48, 1), nn.Linear(48, 1)

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), F.softplus(self.spread(h)) + 1e-4


def sample(n):
    x = 4 * torch.rand(n, 1) - 2
    return x, torch.sin(2 * x) + (0.02 + 0.2 * (x > 0) * x) * torch.randn(n, 1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sample(3000), sample(1000)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, nn.GaussianNLLLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 14, seed):
            mean, variance = model(x[i])
            loss = doctor.loss_fn(mean, y[i], variance)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    with torch.no_grad():
        score = -nn.GaussianNLLLoss()(model(tx)[0], ty, model(tx)[1]).item()
    return {"score": score, "metric": "likelihood (one Gaussian: -0.1)", "doctor": doctor, "probe": None, "test": None}
