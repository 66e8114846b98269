"""Is a machine about to fail? An autoencoder learns spectra of sound machines alone; a large error tells the others.

A careless tool could take training data without the other class, or a bottleneck of four numbers, for a fault.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def spectra(n, worn=False):
    """Return log spectra (N, 64) of vibrations: harmonics of the speed, a resonance, and, if worn, side bands."""
    f = torch.arange(64).float()
    speed = 6 + 3 * torch.rand(n, 1)
    load = torch.rand(n, 1)
    power = 0.02 + torch.zeros(n, 64)
    for k in range(1, 7):
        power = power + (1 + load) / k**1.5 * torch.exp(-((f - k * speed) ** 2) / 1.5)
    power = power + (0.1 + 0.3 * load) * torch.exp(-((f - 40) ** 2) / 40)
    if worn:
        wear = 0.08 + 0.25 * torch.rand(n, 1)
        for k in (1.5, 2.5, 3.5, 4.5):
            power = power + wear * torch.exp(-((f - k * speed) ** 2) / 1.5)
    return power.log() + 0.15 * torch.randn(n, 64)


class Autoencoder(nn.Module):
    def __init__(self, n_in=64, code=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_in, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, code))
        self.decoder = nn.Sequential(nn.Linear(code, 32), nn.Tanh(), nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, n_in))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def auc(scores, labels):
    rank = scores.argsort().argsort().float()
    positive = labels.sum()
    return ((rank[labels == 1].sum() - positive * (positive - 1) / 2) / (positive * (len(labels) - positive))).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    normal = spectra(4400)
    mean, std = normal[:4000].mean(0), normal[:4000].std(0)
    train, held = (normal[:4000] - mean) / std, (normal[4000:] - mean) / std
    worn = (spectra(400, worn=True) - mean) / std

    model = Autoencoder()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-6)
    loader = DataLoader(TensorDataset(train), batch_size=64, shuffle=True)
    with watch(model, criterion, optimizer) as doctor:
        for _ in range(25):
            for (batch,) in loader:
                loss = doctor.loss_fn(model(batch), batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        both = torch.cat([held, worn])
        error = (model(both) - both).square().mean(1)
    labels = torch.cat([torch.zeros(400), torch.ones(400)])
    return {
        "score": auc(error, labels),
        "metric": "AUC of the error",
        "doctor": doctor,
        "probe": (train, train),
        "test": (held, held),
    }
