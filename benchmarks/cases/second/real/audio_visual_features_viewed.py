"""Separation of speakers: a mask of the spectrogram from sound and face, by dilated convolutions and an LSTM.

Source: https://github.com/vitrioil/Speech-Separation/issues/4
Cause: the output of the convolutions, (batch, channels, time, frequency), is brought into (batch, features, time) by
view, which does not move axes: what goes into the LSTM as one point in time is a mixture of times and frequencies.
Fix: permute(0, 2, 1, 3) before the view.
New cause: axes-scrambled: view or reshape takes the place of permute inside a sample, so that channels, time or place
are mixed up.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("axes-scrambled",)
TIME, FREQ = 20, 24


def mixtures(n, seed):
    """Return noisy mixtures of two voices (N, 1, T, F), the lips of the first (N, T, 2), and its mask (N, T, F)."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(TIME)[None, None]
    rate, phase = torch.rand(2, n, 2, 1, generator=g)
    pitch = 4 + 3 * torch.rand(n, 2, 1, generator=g) + 2 * torch.sin(0.5 * t * rate + 6 * phase)
    loud = (torch.sin(t * (0.4 + 0.6 * rate) + 2 * math.pi * phase) > -0.2).float()
    k = torch.arange(FREQ)[None, None, None]
    comb = sum((-(k - h * pitch[..., None]).square() / 1.5).exp() / h for h in (1, 2, 3))
    voices = comb * loud[..., None]
    mixture = voices.sum(1) + 0.1 * torch.rand(n, TIME, FREQ, generator=g)
    lips = torch.stack([loud[:, 0], pitch[:, 0] / 8], 2) + 0.1 * torch.randn(n, TIME, 2, generator=g)
    return mixture[:, None], lips, voices[:, 0] / mixture


class Separator(nn.Module):
    def __init__(self, fixed, channels=4):
        super().__init__()
        self.fixed = fixed
        self.audio = nn.Sequential(
            nn.Conv2d(1, 16, (1, 5), padding=(0, 2)), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, channels, 3, padding=(2, 1), dilation=(2, 1)), nn.BatchNorm2d(channels), nn.ReLU(),
        )  # fmt: skip
        self.face = nn.Sequential(nn.Conv1d(2, 16, 5, padding=2), nn.ReLU())
        self.lstm = nn.LSTM(channels * FREQ + 16, 48, batch_first=True, bidirectional=True)
        self.mask = nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, FREQ), nn.Sigmoid())

    def forward(self, sound, lips):
        h = self.audio(sound)
        n, _, height, _ = h.shape
        h = h.permute(0, 2, 1, 3).reshape(n, height, -1) if self.fixed else h.view(n, -1, height).transpose(1, 2)
        face = self.face(lips.transpose(1, 2)).transpose(1, 2)
        fused, _ = self.lstm(torch.cat([h, face], 2))
        return self.mask(fused)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    sound, lips, mask = mixtures(1200, seed)
    tsound, tlips, tmask = mixtures(300, seed + 100)
    model = Separator(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(sound), 30, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(sound[i], lips[i]), mask[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = r2(model(tsound, tlips), tmask)
    return {"score": score, "metric": "test R2 of the mask", "doctor": doctor, "probe": None, "test": None}
