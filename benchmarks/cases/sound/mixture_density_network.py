"""A mixture of five Gaussians for each input (Bishop 1994): the inverse of a function that is not one to one.

A careless tool could take targets that are not determined by the inputs for shuffled or noisy ones.
"""

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from benchmarks.cases.data import batches


class MDN(nn.Module):
    def __init__(self, hidden=48, parts=5):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.pi, self.mu, self.log_sigma = (nn.Linear(hidden, parts) for _ in range(3))

    def forward(self, x):
        h = self.body(x)
        return MixtureSameFamily(Categorical(logits=self.pi(h)), Normal(self.mu(h), self.log_sigma(h).exp()))


def negative_log_likelihood(mixture, y):
    return -mixture.log_prob(y.squeeze(1)).mean()


def sample(n):
    y = 2 * torch.rand(n, 1) - 1
    return y + 0.6 * torch.sin(2 * torch.pi * y) + 0.05 * torch.randn(n, 1), y


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sample(3000), sample(1000)
    model = MDN()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    with watch(model, negative_log_likelihood, optimizer) as doctor:
        for i in batches(len(x), 100, 18, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = -negative_log_likelihood(model(tx), ty).item()
    return {"score": score, "metric": "likelihood (one Gaussian: -0.9)", "doctor": doctor, "probe": None, "test": None}
