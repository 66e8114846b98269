"""House prices with a loss computed in NumPy.

Source: https://discuss.pytorch.org/t/sklearn-loss-function/149850 (PYSIASSIST, dataset.xlsx)
Cause: the loss is computed outside PyTorch, as scikit-learn does, and made a tensor with requires_grad=True: backward()
runs, but ends at this tensor. (Rebuilt from the address and the class of the root cause, a disrupted graph.)
Fix: compute the same loss with PyTorch.
"""

import numpy as np
import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("graph-cut",)


def houses(n: int, seed: int):
    """Return standardized size, age, rooms, distance and quality (N, 5), and the price (N, 1)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=g)
    log_price = 1.5 + 0.5 * x[:, 0] - 0.2 * x[:, 1] + 0.2 * x[:, 2] * x[:, 4] - 0.3 * x[:, 3].abs()
    return x, (log_price + 0.1 * torch.randn(n, generator=g)).exp()[:, None]


def mean_squared_log_error(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(np.mean((np.log1p(y_true) - np.log1p(y_pred)) ** 2))


def numpy_loss(outputs, targets):
    error = mean_squared_log_error(targets.numpy(), outputs.detach().numpy())
    return torch.tensor(error, requires_grad=True)


def torch_loss(outputs, targets):
    return (targets.log1p() - outputs.log1p()).square().mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = houses(3000, seed), houses(1000, seed + 100)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Softplus())
    criterion = torch_loss if fixed else numpy_loss
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 50, 10, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx).log1p(), ty.log1p())
    return {"score": score, "metric": "test R2 of log(1 + price)", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
