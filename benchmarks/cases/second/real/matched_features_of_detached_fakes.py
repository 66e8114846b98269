"""Vocoder GAN whose feature-matching loss compares the features of detached fakes.

Source: https://github.com/rishikksh20/TFGAN/issues/7
Cause: the discriminator sees the fake wave twice, detached for its own loss and attached for the generator's. Feature
matching takes disc_fake, the detached pass, instead of disc_fake_g: ten times its value is added, and no gradient.
Fix: use the features of disc_fake_g.
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("graph-cut",)

FRAMES, BANDS, HOP = 16, 7, 16


def recordings(n: int):
    """Return envelopes (N, BANDS, FRAMES) of seven tones and the waves (N, 1, FRAMES * HOP)."""
    mel = F.avg_pool1d(torch.rand(n, BANDS, FRAMES + 4), 5, 1)
    mel = (mel - 0.5).mul(6).sigmoid()
    t = torch.arange(FRAMES * HOP) / (FRAMES * HOP)
    tones = torch.sin(6.28 * FRAMES * torch.arange(1, BANDS + 1)[:, None] * t)
    wave = (F.interpolate(mel, scale_factor=HOP, mode="linear") * tones).sum(1, keepdim=True) / 3
    return mel, wave


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(BANDS, 48, 5, padding=2),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(48, 32, 8, 4, 2),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(32, 24, 8, 4, 2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(24, 1, 7, padding=3),
        )

    def forward(self, mel):
        return self.net(mel)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv1d(1, 16, 15, 1, 7), nn.Conv1d(16, 24, 21, 4, 10), nn.Conv1d(24, 32, 11, 4, 5)]
        )
        self.out = nn.Conv1d(32, 1, 3, padding=1)

    def forward(self, wave):
        features = []
        for layer in self.layers:
            wave = F.leaky_relu(layer(wave), 0.2)
            features.append(wave)
        return features, self.out(wave)


def log_spectrum(wave):
    frames = wave[:, 0].unfold(1, 64, 32) * torch.hann_window(64)
    return (torch.fft.rfft(frames).abs() + 0.05).log()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model_g, model_d = Generator(), Discriminator()
    optim_g = torch.optim.Adam(model_g.parameters(), lr=2e-3, betas=(0.5, 0.9))
    optim_d = torch.optim.Adam(model_d.parameters(), lr=1e-3, betas=(0.5, 0.9))
    with watch(model_g, None, optim_g) as doctor:
        for _ in range(350):
            mel, audio = recordings(8)
            fake = model_g(mel)
            feats_fake, disc_fake = model_d(fake.detach())
            feats_real, disc_real = model_d(audio)
            loss_d = (disc_real - 1).square().mean() + disc_fake.square().mean()

            feats_fake_g, disc_fake_g = model_d(fake)
            loss_g = (disc_fake_g - 1).square().mean()
            for ours, theirs in zip(feats_fake_g if fixed else feats_fake, feats_real, strict=True):
                loss_g = loss_g + 10 * F.l1_loss(ours, theirs.detach())
            optim_g.zero_grad()
            loss_g.backward(retain_graph=True)
            optim_g.step()

            optim_d.zero_grad()
            loss_d.backward()
            optim_d.step()
    with torch.no_grad():
        mel, audio = recordings(200)
        score = -(log_spectrum(model_g(mel)) - log_spectrum(audio)).abs().mean().item()
    return {"score": score, "metric": "minus log-spectral distance", "doctor": doctor, "probe": None, "test": None}
