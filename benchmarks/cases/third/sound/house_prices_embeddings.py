"""Prices of houses from five numbers and two categories, embedded: the model learns standardized logarithms of prices.

A careless tool could take the errors in dollars that the evaluation computes, after exp(), for targets not scaled.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DISTRICTS, KINDS, NUMBERS = 25, 4, 5


def make_table(n, worth):
    """Return rows (N, 7) of five numbers, district and kind, and prices (N,)."""
    area = 60 + 50 * torch.rand(n) ** 2 * 4
    rooms = (area / 28 + 0.7 * torch.randn(n)).round().clamp(1, 9)
    age = 90 * torch.rand(n) ** 1.5
    garden = torch.where(torch.rand(n) < 0.4, torch.zeros(n), 300 * torch.rand(n))
    center = 0.5 + 14 * torch.rand(n)
    district, kind = torch.randint(DISTRICTS, (n,)), torch.randint(KINDS, (n,))
    log_price = (
        7.9
        + 0.85 * area.log()
        + 0.04 * (rooms - area / 28)
        - 0.006 * age
        + 0.00012 * (age - 55).clamp(min=0) ** 2
        + 0.001 * garden
        - 0.22 * (1 + center).log()
        + worth[district]
        + torch.tensor([0.0, 0.12, 0.3, -0.15])[kind]
        + 0.08 * torch.randn(n)
    )
    rows = torch.stack([area, rooms, age, garden, center, district.float(), kind.float()], dim=1)
    return rows, log_price.exp()


class PriceModel(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.district = nn.Embedding(DISTRICTS, 6)
        self.kind = nn.Embedding(KINDS, 2)
        self.layers = nn.Sequential(
            nn.Linear(NUMBERS + 8, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )

    def forward(self, rows):
        numbers, categories = rows[:, :NUMBERS], rows[:, NUMBERS:].long()
        joined = torch.cat([numbers, self.district(categories[:, 0]), self.kind(categories[:, 1])], dim=1)
        return self.layers(joined)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    rows, prices = make_table(4000, 0.25 * torch.randn(DISTRICTS))
    order = torch.randperm(len(rows))
    train, test = order[:3200], order[3200:]
    mean, std = rows[train, :NUMBERS].mean(0), rows[train, :NUMBERS].std(0)
    rows = torch.cat([(rows[:, :NUMBERS] - mean) / std, rows[:, NUMBERS:]], dim=1)
    log_mean, log_std = prices[train].log().mean(), prices[train].log().std()
    targets = ((prices.log() - log_mean) / log_std).unsqueeze(1)
    loader = DataLoader(TensorDataset(rows[train], targets[train]), batch_size=64, shuffle=True)

    model = PriceModel()
    criterion = nn.SmoothL1Loss(beta=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=1e-5)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(30):
            model.train()
            for features, target in loader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(features), target)
                loss.backward()
                optimizer.step()
            scheduler.step()
            model.eval()
            with torch.no_grad():
                dollars = (model(rows[test]).squeeze(1) * log_std + log_mean).exp()
            wanted = prices[test]
            rmse = (dollars - wanted).square().mean().sqrt()
            score = 1 - (rmse / wanted.std()).square().item()
    return {
        "score": score,
        "metric": "test R2 in dollars",
        "doctor": doctor,
        "probe": (rows[train], targets[train]),
        "test": (rows[test], targets[test]),
    }
