"""Three quantiles at once by the pinball loss: outputs (B, 3) are compared with targets (B, 1) on purpose.

A careless tool could take the different shapes of outputs and targets for a mistaken broadcast.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

QUANTILES = torch.tensor([0.1, 0.5, 0.9])


def pinball(outputs, targets):
    error = targets - outputs
    return torch.maximum(QUANTILES * error, (QUANTILES - 1) * error).mean()


def sample(n):
    x = torch.rand(n, 2) * 4 - 2
    noise = torch.distributions.Exponential(1.0).sample((n, 1)) * (0.2 + 0.3 * x[:, 1:].abs())
    return x, torch.sin(2 * x[:, :1]) + noise


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sample(4000), sample(1000)
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, pinball, optimizer) as doctor:
        for i in batches(len(x), 64, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        constant = pinball(torch.quantile(y, QUANTILES)[None], ty)
        score = 1 - (pinball(model(tx), ty) / constant).item()
    return {
        "score": score,
        "metric": "pinball skill over constants",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
