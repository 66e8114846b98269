"""Electric load of the next 6 hours from 48 hours before: a transformer encoder, MAE of scaled loads, split in time.

A careless tool could take windows that overlap for repeated samples, or the later months for another distribution.
"""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=500):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[:, : x.size(1)]


class LoadTransformer(nn.Module):
    def __init__(self, n_features=3, d_model=32, nhead=4, num_layers=2, horizon=6, dropout=0.05):
        super().__init__()
        self.input_projection = nn.Linear(n_features, d_model)
        self.positional = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, 64, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.decoder = nn.Linear(d_model, horizon)

    def forward(self, src):
        memory = self.encoder(self.positional(self.input_projection(src)))
        return self.decoder(memory[:, -1])


class WindowDataset(Dataset):
    def __init__(self, series, features, window=48, horizon=6):
        self.series, self.features, self.window, self.horizon = series, features, window, horizon

    def __len__(self):
        return len(self.series) - self.window - self.horizon + 1

    def __getitem__(self, i):
        j = i + self.window
        past = torch.cat([self.series[i:j, None], self.features[i:j]], dim=1)
        return past, self.series[j : j + self.horizon]


def hourly_load(hours):
    t = torch.arange(hours).float()
    day, week = 2 * math.pi * t / 24, 2 * math.pi * t / 168
    weather = torch.zeros(hours)
    shocks = torch.randn(hours)
    for k in range(1, hours):
        weather[k] = 0.97 * weather[k - 1] + 0.24 * shocks[k]
    weekend = ((t // 24) % 7 >= 5).float()
    shape = torch.sin(day - 2) + 0.4 * torch.sin(2 * day)
    load = 420 + 90 * shape * (1 - 0.5 * weekend) - 60 * weekend + 35 * weather + 8 * torch.randn(hours)
    return load, torch.stack([torch.sin(week), torch.cos(week)], dim=1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    load, calendar = hourly_load(2800)
    split = 2200
    mean, std = load[:split].mean(), load[:split].std()
    load = (load - mean) / std
    train_set = WindowDataset(load[:split], calendar[:split])
    test_set = WindowDataset(load[split:], calendar[split:])
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)

    model = LoadTransformer()
    criterion = nn.L1Loss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(5):
            model.train()
            for past, future in train_loader:
                optimizer.zero_grad()
                forecast = model(past)
                loss = doctor.loss_fn(forecast, future)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            scheduler.step()
    model.eval()
    tx, ty = (torch.stack(part) for part in zip(*(test_set[i] for i in range(len(test_set))), strict=True))
    with torch.no_grad():
        error = (model(tx) - ty).abs().mean()
    yesterday = (tx[:, -24:-18, 0] - ty).abs().mean()
    x, y = (torch.stack(part) for part in zip(*(train_set[i] for i in range(len(train_set))), strict=True))
    return {
        "score": (1 - error / yesterday).item(),
        "metric": "share of the error of 'as yesterday' that is gone",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
