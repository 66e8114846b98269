"""The level of a river three hours ahead: a GRU learns blocks of two weeks in order and forecasts each before it learns
it, as a service would.

A careless tool could take batches in chronological order for data not shuffled, or training data used in evaluation.
"""

import torch
from torch import nn


def river(hours):
    """Rain comes in showers, soil holds it back, the level rises and drains; return columns (T, 2): rain and level."""
    rain, level = torch.zeros(hours), torch.zeros(hours)
    soil, stage, wet = 1.0, 1.5, 0.0
    draws, sizes, noise = torch.rand(hours).tolist(), torch.rand(hours).tolist(), torch.randn(hours).tolist()
    for t in range(hours):
        wet = 0.88 * wet + (2.5 * sizes[t] ** 2 if draws[t] < 0.07 else 0.0)
        soil += 0.25 * wet - 0.06 * soil
        stage += 0.05 * soil * wet**0.5 + 0.02 * soil - 0.06 * (stage - 0.6)
        rain[t], level[t] = wet, stage + 0.02 * noise[t]
    return torch.stack([rain, level], dim=1)


def windows(series, past=24, ahead=3):
    """Return windows (N, past, 2) and the level `ahead` hours after each, less the level now (N, 1)."""
    x = series[: len(series) - ahead].unfold(0, past, 1).transpose(1, 2)
    y = series[past - 1 + ahead :, 1] - series[past - 1 : len(series) - ahead, 1]
    return x.contiguous(), y.unsqueeze(1)


class LevelGRU(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(2, hidden, batch_first=True)
        self.head = nn.Sequential(nn.Linear(hidden, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        _, h = self.gru(x)
        return self.head(h[-1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    series = river(24 * 14 * 16)
    first = series[: 24 * 14 * 2]
    series = (series - first.mean(0)) / first.std(0)
    x, y = windows(series)
    y = y / y[: len(first)].std()
    block = 24 * 14
    starts = list(range(0, 13 * block, block))
    future = slice(13 * block, 15 * block)  # is never learned

    model = LevelGRU()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    forecasts = []
    with watch(model, criterion, optimizer) as doctor:
        for start in starts:
            model.eval()
            with torch.no_grad():
                forecasts.append(model(x[start : start + block]))
            model.train()
            for _pass in range(5):
                # the last four blocks, oldest hours first, so that the newest count most
                for k in range(max(0, start - 3 * block), start + block, 42):
                    optimizer.zero_grad()
                    loss = doctor.loss_fn(model(x[k : k + 42]), y[k : k + 42])
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
            model.eval()
            with torch.no_grad():
                ahead = model(x[future])
    late = slice(starts[-4], starts[-1] + block)
    error = (torch.cat([*forecasts[-4:], ahead]) - torch.cat([y[late], y[future]])).square().mean()
    return {
        "score": (1 - error / torch.cat([y[late], y[future]]).square().mean()).item(),
        "metric": "share of the error of 'no change' that is gone",
        "doctor": doctor,
        "probe": (x[late], y[late]),
        "test": (x[future], y[future]),
    }
