"""Short words from a microphone: log spectrograms by torch.stft, standardized per frequency, and a 2-D CNN.

A careless tool could take quiet frequencies, or the logarithm of small numbers, for a fault of the inputs.
"""

import math

import torch
from torch import nn

RATE = 4000
WORDS = ["up", "down", "yes", "no", "go"]
# start and end of the first and second formant in Hz, and whether the word begins with a hiss
FORMANTS = torch.tensor([[700, 600, 1200, 1100, 0], [600, 350, 1100, 700, 0], [350, 500, 1700, 1500, 1]])
FORMANTS = torch.cat([FORMANTS, torch.tensor([[400, 450, 1500, 800, 0], [450, 350, 1000, 650, 1]])]).float()


def speak(labels, noise=0.6):
    n, t = len(labels), torch.linspace(0, 0.5, RATE // 2)
    f = FORMANTS[labels] * torch.cat([0.9 + 0.2 * torch.rand(n, 1).expand(n, 4), torch.ones(n, 1)], 1)
    start = 0.05 + 0.1 * torch.rand(n, 1)
    along = ((t - start) / 0.3).clamp(0, 1)
    voiced = torch.sigmoid(60 * (t - start)) * torch.sigmoid(60 * (start + 0.3 - t))
    wave = torch.zeros(n, len(t))
    for first, last, loud in ((0, 1, 1.0), (2, 3, 0.7)):
        pitch = f[:, first, None] + along * (f[:, last] - f[:, first])[:, None]
        wave += loud * torch.sin(2 * math.pi * pitch.cumsum(1) / RATE + 6.28 * torch.rand(n, 1))
    hiss = f[:, 4, None] * torch.sigmoid(60 * (start + 0.08 - t)) * voiced * torch.randn(n, len(t))
    return 0.3 * (0.5 + torch.rand(n, 1)) * (wave * voiced + hiss + noise * torch.randn(n, len(t)))


def log_spectrogram(wave, n_fft=128, hop=40):
    spec = torch.stft(wave, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True)
    return (spec.abs().pow(2) + 1e-6).log().unsqueeze(1)


class SpeechCNN(nn.Module):
    def __init__(self, n_words):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, (5, 3), stride=(2, 1), padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout2d(0.1),
        )
        self.fc = nn.Linear(16 * 8, n_words)

    def forward(self, spec):
        h = self.conv(spec).mean(dim=3)
        return self.fc(h.flatten(1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    labels = torch.randint(len(WORDS), (3000,))
    spec = log_spectrogram(speak(labels))
    train, test = slice(0, 2400), slice(2400, None)
    mean = spec[train].mean(dim=(0, 3), keepdim=True)
    std = spec[train].std(dim=(0, 3), keepdim=True)
    spec = (spec - mean) / std

    model = SpeechCNN(len(WORDS))
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with watch(model, loss_function, optimizer) as doctor:
        for _ in range(5):
            model.train()
            for batch in torch.randperm(2400).split(32):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(spec[train][batch]), labels[train][batch])
                loss.backward()
                optimizer.step()
    model.eval()
    with torch.no_grad():
        score = (model(spec[test]).argmax(1) == labels[test]).float().mean().item()
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (spec[train], labels[train]),
        "test": (spec[test], labels[test]),
    }
