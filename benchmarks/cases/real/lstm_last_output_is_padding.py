"""An LSTM whose last output stands behind the padding.

Source: https://github.com/ray-project/ray/issues/21392 (also thtrieu/qclass_dl#1)
Cause: episodes are padded with zeros to the longest length, and the state after the last padded step is used, not that
at the end of the episode: what came last has to be carried through dozens of empty steps.
Fix: take the output at the sequence's own length.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("padding-not-masked",)
LONGEST = 100


def episodes(n, seed):
    """Return poles that sway (N, T, 2: angle, velocity), padded; where they are 4 steps on (N, 2); the lengths."""
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(5, LONGEST + 1, (n,), generator=g)
    phase, rate = 6.3 * torch.rand(n, 1, generator=g), 0.1 + 0.3 * torch.rand(n, 1, generator=g)
    swing = phase + rate * torch.arange(LONGEST)
    observed = torch.stack([swing.sin(), swing.cos()], 2) + 0.1 * torch.randn(n, LONGEST, 2, generator=g)
    observed = observed * (torch.arange(LONGEST)[None, :, None] < length[:, None, None])
    later = swing[torch.arange(n), length - 1] + 4 * rate.squeeze(1)
    return observed, torch.stack([later.sin(), later.cos()], 1), length


class Recurrent(nn.Module):
    def __init__(self, at_length):
        super().__init__()
        self.at_length = at_length
        self.lstm, self.out = nn.LSTM(2, 32, batch_first=True), nn.Linear(32, 2)

    def forward(self, observed, length):
        states, _ = self.lstm(observed)
        last = states[torch.arange(len(states)), length - 1] if self.at_length else states[:, -1]
        return self.out(last)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y, length), (tx, ty, test_length) = episodes(2000, 1), episodes(500, 2)
    model = Recurrent(at_length=fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 50, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i], length[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx, test_length), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": None, "test": None}
