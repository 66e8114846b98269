"""Moods from voices, with the group of the speaker hidden: a second head looks for the group in the features, behind a
function that turns the sign of its gradient (Ganin et al. 2016).

A careless tool could take the loss of the second head, which does not fall, or the turned gradient for a fault.
"""

import math

import torch
from torch import nn

MOODS, BANDS = 4, 40


class ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.strength * grad, None


class VoiceModel(nn.Module):
    def __init__(self, hidden=64, code=16):
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(BANDS, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, code), nn.Tanh()
        )
        self.mood = nn.Linear(code, MOODS)
        self.group = nn.Sequential(nn.Linear(code, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x, strength=0.0):
        h = self.features(x)
        return self.mood(h), self.group(ReverseGradient.apply(h, strength)).squeeze(1)


def record(n, shape, pitch):
    """Return spectra (N, 40), moods (N,) and groups (N,); the group moves the pitch and bends the sound of moods."""
    mood, group = torch.randint(MOODS, (n,)), (torch.rand(n) < 0.5).float()
    bands = shape[mood] + (2 * group[:, None] - 1) * pitch + 0.3 * group[:, None] * shape[mood].roll(3, 1)
    return bands + 0.4 * torch.randn(n, 1) + 1.2 * torch.randn(n, BANDS), mood, group


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    shape, pitch = 0.6 * torch.randn(MOODS, BANDS), 0.5 * torch.randn(BANDS)
    x, y, z = record(4000, shape, pitch)
    tx, ty, tz = record(1000, shape, pitch)
    mean, std = x.mean(0), x.std(0)
    x, tx = (x - mean) / std, (tx - mean) / std

    model = VoiceModel()
    mood_loss, group_loss = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
    heads = [*model.mood.parameters(), *model.group.parameters()]
    optimizer = torch.optim.Adam(
        [{"params": model.features.parameters(), "lr": 1e-3}, {"params": heads, "lr": 3e-3}], betas=(0.5, 0.999)
    )
    epochs, size, step = 15, 64, 0
    total = epochs * len(x) / size
    with watch(model, mood_loss, optimizer) as doctor:
        for _epoch in range(epochs):
            model.train()
            for idx in torch.randperm(len(x)).split(size):
                strength = 2 / (1 + math.exp(-10 * step / total)) - 1
                mood, group = model(x[idx], strength)
                loss = doctor.loss_fn(mood, y[idx]) + group_loss(group, z[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            model.eval()
            with torch.no_grad():
                mood, group = model(tx)
                score = (mood.argmax(1) == ty).float().mean().item()
                leak = ((group > 0).float() == tz).float().mean().item()
    return {
        "score": score,
        "metric": f"test accuracy of moods (groups found: {leak:.2f})",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
