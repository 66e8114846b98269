"""Energies of small clusters of atoms by a graph network that passes messages between all pairs.

Source: https://github.com/IntelLabs/matsciml/pull/347
Cause: the readout of the graph gives one number per structure (N,), the labels leave the pipeline as (N, 1): the
squared error compares each structure with each other one.
Fix: bring outputs and labels to one shape before the loss.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("shape-broadcast",)
ATOMS = 6


def structures(n, seed):
    """Return atoms (N, ATOMS, 4), place and charge, and standardized energies (N, 1)."""
    g = torch.Generator().manual_seed(seed)
    place = torch.rand(n, ATOMS, 3, generator=g) * 2.5
    charge = torch.randint(1, 4, (n, ATOMS, 1), generator=g).float()
    apart = torch.cdist(place, place) + 3 * torch.eye(ATOMS)
    pull = (charge - 2) @ (charge - 2).transpose(1, 2) / (apart + 0.5) - torch.exp(-apart)
    energy = (pull * (1 - torch.eye(ATOMS))).sum((1, 2))[:, None] + 0.5 * charge.sum(1)
    return torch.cat([place, charge - 2], 2), (energy - 2.0) / 3.0


class MessageLayer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.edge = nn.Sequential(nn.Linear(2 * dim + 8, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())
        self.node = nn.Sequential(nn.Linear(2 * dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, h, rbf):
        n = h.shape[1]
        pair = torch.cat([h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1), rbf], -1)
        message = self.edge(pair) * (1 - torch.eye(n))[None, :, :, None]
        return h + self.node(torch.cat([h, message.sum(2)], -1))


class GraphRegressor(nn.Module):
    def __init__(self, dim=32, layers=2):
        super().__init__()
        self.embed = nn.Linear(1, dim)
        self.register_buffer("centers", torch.linspace(0, 4, 8))
        self.layers = nn.ModuleList(MessageLayer(dim) for _ in range(layers))
        self.readout = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 1))

    def forward(self, atoms):
        apart = torch.cdist(atoms[..., :3], atoms[..., :3])
        rbf = (-4 * (apart[..., None] - self.centers).square()).exp()
        h = self.embed(atoms[..., 3:])
        for layer in self.layers:
            h = layer(h, rbf)
        return self.readout(h).squeeze(-1).sum(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = structures(3000, 100 + seed), structures(500, 200 + seed)
    model = GraphRegressor()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def compute_loss(output, label):
        if fixed and output.shape != label.shape:
            output = output.reshape(label.shape)
        return nn.functional.mse_loss(output, label)

    with watch(model, compute_loss, optimizer) as doctor:
        for i in batches(len(x), 32, 10, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "R2 of the energy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
