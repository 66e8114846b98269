"""Sound events: logits are compared with 0.5 as if they were probabilities.

Source: https://github.com/dr-costas/dnd-sed/issues/1 (also milesial/Pytorch-UNet#141, tensorflow/models#3269)
Cause: the loss is BCEWithLogitsLoss, so the model returns logits. The F1 score sets the threshold 0.5 on them, which is
a probability of 0.62: many events that the network finds count as missed. The harm is moderate, and only reported.
Fix: apply sigmoid before the threshold.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("metric-wrong",)
EVENTS, BANDS, FRAMES = 4, 16, 32


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.bands = nn.Sequential(nn.Conv1d(BANDS, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU())
        self.memory = nn.GRU(24, 16, batch_first=True, bidirectional=True)
        self.out = nn.Linear(32, EVENTS)

    def forward(self, spectrum):
        return self.out(self.memory(self.bands(spectrum).transpose(1, 2))[0])


def sounds(n, seed):
    """Return noisy spectra (N, BANDS, FRAMES) and, for each frame, which events sound (N, FRAMES, EVENTS)."""
    voice = torch.rand(EVENTS, BANDS, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(seed)
    start = torch.randint(0, 4 * FRAMES, (n, 1, EVENTS), generator=g)
    length = torch.randint(4, 16, (n, 1, EVENTS), generator=g)
    frame = torch.arange(FRAMES)[None, :, None]
    active = ((frame >= start) & (frame < start + length)).float()
    spectrum = active @ voice + 0.9 * torch.randn(n, FRAMES, BANDS, generator=g)
    return spectrum.transpose(1, 2), active


def f1(scores, active):
    found = scores > 0.5
    return (2 * (found & active.bool()).sum() / (found.sum() + active.sum())).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sounds(960, 1), sounds(400, 2)
    model = Detector()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for epoch in range(5):
            model.train()
            for i in batches(len(x), 24, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                outputs = model(tx)
                score = f1(outputs.sigmoid() if fixed else outputs, ty)
    return {"score": score, "metric": "test F1 as reported", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
