"""A weighted sampler that gets one weight for each class instead of one for each sample.

Source: https://github.com/deep-voice/soundbay/pull/49
Cause: WeightedRandomSampler draws indices of its weights. With one weight for each of two classes it draws nothing but
the samples 0 and 1, in all epochs.
Fix: give each sample the weight of its class.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from benchmarks.cases.data import accuracy

TRUTH = ("repeated-samples",)


def recordings(n, seed):
    """Return sound of 200 samples (N, 1, 200) with or, in three of four cases, without a short rising call."""
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, generator=g) < 0.25).long()
    time = torch.arange(200) - torch.randint(0, 140, (n, 1), generator=g)
    pitch = 0.3 + 0.2 * torch.rand(n, 1, generator=g)
    call = torch.sin(pitch * time + 0.01 * time**2) * ((time >= 0) & (time < 60))
    sound = 0.7 * torch.randn(n, 200, generator=g) + call * labels[:, None]
    return sound[:, None], labels


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = recordings(3000, 1), recordings(1000, 2)
    class_weights = 1 / y.bincount().float()
    sampler = WeightedRandomSampler(class_weights[y] if fixed else class_weights, num_samples=len(y))
    loader = DataLoader(TensorDataset(x, y), batch_size=32, sampler=sampler)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 15, 2),
        nn.ReLU(),
        nn.Conv1d(16, 32, 9, 2),
        nn.ReLU(),
        nn.AdaptiveMaxPool1d(1),
        nn.Flatten(),
        nn.Linear(32, 2),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seen = []
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(5):
            for sound, labels in loader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(sound), labels)
                loss.backward()
                optimizer.step()
                seen.append((sound, labels))
    rare, common = ((ty == label) for label in (1, 0))
    score = (accuracy(model, tx[rare], ty[rare]) + accuracy(model, tx[common], ty[common])) / 2
    probe = tuple(torch.cat(part) for part in zip(*seen[-64:], strict=True))
    return {"score": score, "metric": "test balanced accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
