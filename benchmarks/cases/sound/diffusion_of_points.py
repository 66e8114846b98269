"""A diffusion model (DDPM) of points in eight heaps: the network predicts the noise that was added, MSE.

A careless tool could take targets that are pure noise, and a loss that stays around a third, for a fault.
"""

import math

import torch
from torch import nn

STEPS = 50
BETA = torch.linspace(1e-3, 0.2, STEPS)
ALPHA = (1 - BETA).cumprod(0)
HEAPS = torch.stack([torch.tensor([math.cos(a), math.sin(a)]) for a in torch.arange(8) * math.pi / 4]) * 1.4


class Denoiser(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.time = nn.Embedding(STEPS, 32)
        self.net = nn.Sequential(
            nn.Linear(34, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x, t):
        return self.net(torch.cat([x, self.time(t)], 1))


@torch.no_grad()
def generate(model, n):
    x = torch.randn(n, 2)
    for t in reversed(range(STEPS)):
        noise = model(x, torch.full((n,), t))
        x = (x - BETA[t] / (1 - ALPHA[t]).sqrt() * noise) / (1 - BETA[t]).sqrt()
        if t:
            x = x + BETA[t].sqrt() * torch.randn_like(x)
    return x


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    data = HEAPS[torch.randint(8, (4000,))] + 0.08 * torch.randn(4000, 2)
    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for _ in range(1000):
            x, t = data[torch.randint(len(data), (256,))], torch.randint(STEPS, (256,))
            noise, level = torch.randn_like(x), ALPHA[t][:, None]
            noisy = level.sqrt() * x + (1 - level).sqrt() * noise
            loss = doctor.loss_fn(model(noisy, t), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    distance, nearest = torch.cdist(generate(model, 1000), HEAPS).min(1)
    covered = (torch.bincount(nearest[distance < 0.35], minlength=8) > 30).float().mean().item()
    score = (distance < 0.35).float().mean().item() * covered
    return {"score": score, "metric": "points in heaps, all heaps", "doctor": doctor, "probe": None, "test": None}
