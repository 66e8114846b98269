"""A sparse autoencoder: the decoder is the encoder transposed, an L1 penalty keeps most codes at 0.

A careless tool could take the many zeros for dead units, or the penalty for over-regularization.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, r2


class Tied(nn.Module):
    def __init__(self, inputs=48, codes=64):
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(codes, inputs), dim=1))
        self.bias, self.center = nn.Parameter(torch.zeros(codes)), nn.Parameter(torch.zeros(inputs))

    def forward(self, x):
        codes = F.relu(F.linear(x - self.center, self.weight, self.bias))
        return F.linear(codes, self.weight.t()) + self.center, codes


def mixtures(n, atoms):
    """Return sums of two or three atoms of 40."""
    used = torch.rand(n, len(atoms)).argsort(1)[:, :3]
    strength = 0.5 + torch.rand(n, 3)
    strength[:, 2] *= torch.rand(n) < 0.5
    return (strength[:, :, None] * atoms[used]).sum(1) + 0.02 * torch.randn(n, atoms.shape[1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    atoms = F.normalize(torch.randn(40, 48), dim=1)
    x, tx = mixtures(6000, atoms), mixtures(1000, atoms)
    model = Tied()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 7, seed):
            recon, codes = model(x[i])
            loss = doctor.loss_fn(recon, x[i]) + 1e-4 * codes.abs().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx)[0], tx)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": None, "test": None}
