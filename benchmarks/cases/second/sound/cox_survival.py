"""Survival of patients, many of them censored: the negative log of Cox's partial likelihood in each batch (DeepSurv).

A careless tool could take a loss that compares samples of a batch, and that falls by a tenth only, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches


def cohort(n):
    age = 62 + 11 * torch.randn(n)
    marker = torch.randn(n).exp() * 40
    stage = torch.randint(1, 5, (n,)).float()
    treated = torch.randint(0, 2, (n,)).float()
    size = 20 + 12 * torch.rand(n) * stage
    noise = torch.randn(n, 3)
    log_hazard = 0.05 * (age - 62) + 0.6 * (marker / 40).log() + 0.7 * (stage - 2.5) - 0.9 * treated * (stage > 2)
    time = torch.empty(n).exponential_() * 40 * torch.exp(-1.3 * log_hazard)
    censored = torch.rand(n) * 120
    observed = torch.minimum(time, censored)
    x = torch.stack([age, marker, stage, treated, size], 1)
    return torch.cat([x, noise], 1), observed, (time <= censored).float()


class DeepSurv(nn.Module):
    def __init__(self, in_features):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_features, 32),
            nn.SELU(),
            nn.AlphaDropout(0.1),
            nn.Linear(32, 32),
            nn.SELU(),
            nn.Linear(32, 1, bias=False),
        )
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")

    def forward(self, x):
        return self.net(x).squeeze(-1)


def cox_ph_loss(log_h, durations, events):
    order = durations.argsort(descending=True)
    log_h, events = log_h[order], events[order]
    log_risk = torch.logcumsumexp(log_h, dim=0)
    return -((log_h - log_risk) * events).sum() / events.sum().clamp(min=1)


def concordance(log_h, durations, events):
    earlier = (durations[:, None] < durations[None]) & events[:, None].bool()
    right = (log_h[:, None] > log_h[None]) & earlier
    return (right.sum() / earlier.sum()).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, durations, events = cohort(4000)
    mean, std = x[:3200].mean(0), x[:3200].std(0)
    x = (x - mean) / std
    train = x[:3200], durations[:3200], events[:3200]
    test = x[3200:], durations[3200:], events[3200:]
    model = DeepSurv(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    with watch(model, cox_ph_loss, optimizer) as doctor:
        model.train()
        for idx in batches(3200, 128, 25, seed):
            log_h = model(train[0][idx])
            loss = doctor.loss_fn(log_h, train[1][idx], train[2][idx])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = concordance(model(test[0]), test[1], test[2])
    return {"score": score, "metric": "concordance (0.5 by chance)", "doctor": doctor, "probe": None, "test": None}
