"""Heartbeats of four kinds: a 1-D CNN that ends with log_softmax, trained with NLLLoss and RMSprop.

A careless tool could take the log_softmax for a softmax before cross-entropy.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def beats(n, length=120):
    """0 normal, 1 wide (bundle branch block), 2 early (atrial), 3 raised ST."""
    kind = torch.randint(4, (n,))
    t = torch.linspace(0, 1, length)
    jitter = lambda scale: scale * torch.randn(n, 1)  # noqa: E731
    wave = lambda at, width, height: height * torch.exp(-(((t - at) / width) ** 2))  # noqa: E731
    k = kind[:, None]
    r = 0.5 + jitter(0.015)
    wide = torch.where(k == 1, 1.6, 1.0)
    p = wave(r - torch.where(k == 2, 0.09, 0.17) + jitter(0.01), 0.025, 0.18 + jitter(0.03))
    q = wave(r - 0.035 * wide, 0.012 * wide, -0.15 + jitter(0.03))
    peak = wave(r, 0.016 * wide + jitter(0.001).abs(), 1.0 + jitter(0.1))
    s = wave(r + 0.04 * wide, 0.014 * wide, -0.25 + jitter(0.05))
    st = torch.where(k == 3, 0.18 + jitter(0.05), 0.0 * jitter(1)) * torch.sigmoid(60 * (t - r - 0.05))
    st = st * torch.sigmoid(60 * (r + 0.2 - t))
    tee = wave(r + 0.24 + jitter(0.015), 0.05, 0.3 + jitter(0.05))
    drift = 0.1 * torch.sin(6.28 * (t * torch.rand(n, 1) + torch.rand(n, 1)))
    return (p + q + peak + s + st + tee + drift + 0.04 * torch.randn(n, length)).unsqueeze(1), kind


class ECGNet(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 16, kernel_size=7, padding=3)
        self.conv2 = nn.Conv1d(16, 32, kernel_size=5, padding=2)
        self.conv3 = nn.Conv1d(32, 32, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(32 * 15, 64)
        self.fc2 = nn.Linear(64, num_classes)

    def forward(self, x):
        x = F.max_pool1d(F.relu(self.conv1(x)), 2)
        x = F.max_pool1d(F.relu(self.conv2(x)), 2)
        x = F.max_pool1d(F.relu(self.conv3(x)), 2)
        x = self.dropout(torch.flatten(x, 1))
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)


def train(model, loss_fn, optimizer, signals, labels, batch_size=64):
    model.train()
    for idx in torch.randperm(len(signals)).split(batch_size):
        optimizer.zero_grad()
        output = model(signals[idx])
        loss = loss_fn(output, labels[idx])
        loss.backward()
        optimizer.step()


def test(model, signals, labels):
    model.eval()
    with torch.no_grad():
        output = model(signals)
    return (output.argmax(dim=1) == labels).float().mean().item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    signals, labels = beats(4000)
    # one mean and one deviation for all: the amplitude within a beat matters
    mean, std = signals[:3000].mean(), signals[:3000].std()
    signals = (signals - mean) / std
    model = ECGNet()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)
    with watch(model, nn.NLLLoss(), optimizer) as doctor:
        for _epoch in range(8):
            train(model, doctor.loss_fn, optimizer, signals[:3000], labels[:3000])
            accuracy = test(model, signals[3000:], labels[3000:])
    return {
        "score": accuracy,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (signals[:3000], labels[:3000]),
        "test": (signals[3000:], labels[3000:]),
    }
