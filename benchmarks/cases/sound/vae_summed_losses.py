"""A variational autoencoder of digits as in the PyTorch examples: BCE and KL divergence, both summed over the batch.

A careless tool could take a loss of ten thousand for one that is summed by mistake, or the noise for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist, r2


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 200), nn.Linear(200, 16), nn.Linear(200, 16)
        self.fc3, self.fc4 = nn.Linear(16, 200), nn.Linear(200, 784)

    def forward(self, x):
        h = self.fc1(x.flatten(1)).relu()
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar) if self.training else mu
        return torch.sigmoid(self.fc4(self.fc3(z).relu())), mu, logvar


def elbo(recon, x, mu, logvar):
    bce = F.binary_cross_entropy(recon, x.flatten(1), reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(6000, 1000)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, elbo, optimizer) as doctor:
        for i in batches(len(x), 64, 5, seed):
            optimizer.zero_grad()
            recon, mu, logvar = model(x[i])
            loss = doctor.loss_fn(recon, x[i], mu, logvar)
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = r2(model(tx)[0], tx)
    return {"score": score, "metric": "R2 of pixels", "doctor": doctor, "probe": None, "test": None}
