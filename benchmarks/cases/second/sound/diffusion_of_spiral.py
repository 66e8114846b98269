"""Denoising diffusion (DDPM): a network finds the noise in points of a spiral; an average of the weights draws samples.

A careless tool could take a loss that ends far above 0, or the copied network that no optimizer holds, for a fault.
"""

import copy
import math

import torch
import torch.nn as nn


def spiral(n):
    angle = 3 * math.pi * torch.rand(n).sqrt()
    r = angle / (3 * math.pi)
    points = torch.stack([r * angle.cos(), r * angle.sin()], 1) * 2
    return points + 0.03 * torch.randn(n, 2)


class TimeEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.register_buffer("freqs", torch.exp(torch.linspace(0, -math.log(1000), dim // 2)))

    def forward(self, t):
        args = t[:, None].float() * self.freqs
        return torch.cat([args.sin(), args.cos()], dim=1)


class NoisePredictor(nn.Module):
    def __init__(self, hidden=128, t_dim=32):
        super().__init__()
        self.time = nn.Sequential(TimeEmbedding(t_dim), nn.Linear(t_dim, hidden), nn.SiLU())
        self.inp = nn.Linear(2, hidden)
        self.mid = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(3)])
        self.out = nn.Linear(hidden, 2)
        self.act = nn.SiLU()

    def forward(self, x, t):
        emb = self.time(t)
        h = self.inp(x)
        for layer in self.mid:
            h = h + layer(self.act(h + emb))
        return self.out(self.act(h))


class Diffusion:
    def __init__(self, steps=60):
        self.steps = steps
        self.betas = torch.linspace(1e-3, 0.12, steps)
        self.alphas = 1 - self.betas
        self.alpha_bars = self.alphas.cumprod(0)

    def add_noise(self, x0, t, noise):
        ab = self.alpha_bars[t][:, None]
        return ab.sqrt() * x0 + (1 - ab).sqrt() * noise

    @torch.no_grad()
    def sample(self, model, n):
        x = torch.randn(n, 2)
        for t in reversed(range(self.steps)):
            eps = model(x, torch.full((n,), t))
            x = (x - self.betas[t] / (1 - self.alpha_bars[t]).sqrt() * eps) / self.alphas[t].sqrt()
            if t > 0:
                x = x + self.betas[t].sqrt() * torch.randn_like(x)
        return x


@torch.no_grad()
def update_ema(ema, model, decay=0.995):
    for a, b in zip(ema.parameters(), model.parameters(), strict=True):
        a.lerp_(b, 1 - decay)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    data = spiral(5000)
    diffusion = Diffusion()
    model = NoisePredictor()
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = 2000
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for _ in range(steps):
            x0 = data[torch.randint(len(data), (256,))]
            t = torch.randint(0, diffusion.steps, (256,))
            noise = torch.randn_like(x0)
            loss = doctor.loss_fn(model(diffusion.add_noise(x0, t, noise), t), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            update_ema(ema, model)
    drawn, held = diffusion.sample(ema, 1000), spiral(1000)
    distance = torch.cdist(drawn, held)
    near = (distance.min(1).values < 0.15).float().mean()
    covered = (distance.min(0).values < 0.15).float().mean()
    return {
        "score": min(near, covered).item(),
        "metric": "samples near the spiral, or spiral near samples, the lesser",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
