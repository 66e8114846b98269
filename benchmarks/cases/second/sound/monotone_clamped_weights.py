"""A credit score that may only rise with each column: weights are clamped at 0 or above after each step.

A careless tool could take the many weights that are exactly 0, or change outside of the optimizer, for a fault.
"""

from itertools import pairwise

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


class MonotoneNet(nn.Module):
    def __init__(self, n_inputs, hidden=(32, 32)):
        super().__init__()
        sizes = [n_inputs, *hidden]
        self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])
        self.out = nn.Linear(sizes[-1], 1)
        with torch.no_grad():
            for layer in [*self.hidden, self.out]:
                layer.weight.abs_()

    def forward(self, x):
        for layer in self.hidden:
            x = layer(x).tanh()
        return self.out(x)

    @torch.no_grad()
    def project(self):
        for layer in [*self.hidden, self.out]:
            layer.weight.clamp_(min=0)


def applicants(n):
    """Columns are turned so that more is better: income, years employed, minus debt, minus late payments, savings."""
    income = torch.randn(n).mul(0.5).add(10.4).exp()
    employed = torch.empty(n).exponential_() * 7
    debt = torch.rand(n) * income * 0.8
    late = torch.poisson(torch.full((n,), 0.8))
    savings = torch.empty(n).exponential_() * 9000
    score = 80 * torch.sigmoid((income - 35_000) / 12_000) + 60 * torch.sigmoid(employed - 4) - 0.0015 * debt
    score = score - 45 * (late > 1) - 10 * late + 25 * (savings / 4000).tanh() + 500 + 6 * torch.randn(n)
    return torch.stack([income, employed, -debt, -late, savings], 1), score.unsqueeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = applicants(4000), applicants(1000)
    x_mean, x_std, y_mean, y_std = x.mean(0), x.std(0), y.mean(), y.std()
    x, tx, y, ty = (x - x_mean) / x_std, (tx - x_mean) / x_std, (y - y_mean) / y_std, (ty - y_mean) / y_std
    net = MonotoneNet(x.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    with watch(net, nn.MSELoss(), optimizer) as doctor:
        for idx in batches(len(x), 64, 25, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(net(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            net.project()
    with torch.no_grad():
        better = net(tx + 0.5 * torch.rand_like(tx))
        assert (better >= net(tx) - 1e-5).all()
        score = r2(net(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
