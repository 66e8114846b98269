"""Forecast of the next half day from two days by an encoder and a decoder with attention.

Source: https://github.com/zhouhaoyi/Informer2020/issues/59
Cause: queries, keys and values (batch, time, heads, width) are brought into (batch, heads, time, width) by view, which
does not move axes: a head gets a stretch of time with all heads in it, and attends within that stretch alone.
Fix: transpose(1, 2).
New cause: axes-scrambled: view or reshape takes the place of permute inside a sample, so that channels, time or place
are mixed up.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("axes-scrambled",)
SEQ, LABEL, PRED = 48, 12, 12


def loads(n, seed):
    """Return what is known (N, 60, 3), hourly load and hour with zeros for the loads to come, and those (N, PRED)."""
    g = torch.Generator().manual_seed(seed)
    profile = torch.randn(n, 24, generator=g)
    profile = (profile + profile.roll(1, 1) + profile.roll(-1, 1)) / 3**0.5
    hours = (torch.randint(24, (n, 1), generator=g) + torch.arange(SEQ + PRED)) % 24
    load = profile.gather(1, hours) + 0.3 * torch.randn(n, SEQ + PRED, generator=g)
    clock = 2 * math.pi * hours / 24
    known = torch.cat([load[:, :SEQ], torch.zeros(n, PRED)], 1)
    return torch.stack([known, clock.sin(), clock.cos()], 2), load[:, SEQ:]


class AttentionLayer(nn.Module):
    def __init__(self, d_model, n_heads, fixed):
        super().__init__()
        self.n_heads, self.fixed = n_heads, fixed
        self.query_projection, self.key_projection = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.value_projection, self.out_projection = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, queries, keys):
        B, L, _ = queries.shape
        S, H = keys.shape[1], self.n_heads
        q = self.query_projection(queries).view(B, L, H, -1)
        k = self.key_projection(keys).view(B, S, H, -1)
        v = self.value_projection(keys).view(B, S, H, -1)
        if self.fixed:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        else:
            q, k, v = q.view(B, H, L, -1), k.view(B, H, S, -1), v.view(B, H, S, -1)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        out = scores.softmax(-1) @ v
        out = out.transpose(1, 2).reshape(B, L, -1) if self.fixed else out.reshape(B, L, -1)
        return self.out_projection(out)


class Feed(nn.Sequential):
    def __init__(self, d_model):
        super().__init__(nn.Linear(d_model, 2 * d_model), nn.GELU(), nn.Linear(2 * d_model, d_model))


class Informer(nn.Module):
    def __init__(self, fixed, d_model=32, n_heads=4):
        super().__init__()
        self.enc_embedding, self.dec_embedding = nn.Linear(3, d_model), nn.Linear(3, d_model)
        self.encoder, self.enc_feed = AttentionLayer(d_model, n_heads, fixed), Feed(d_model)
        self.self_attention = AttentionLayer(d_model, n_heads, fixed)
        self.cross_attention, self.dec_feed = AttentionLayer(d_model, n_heads, fixed), Feed(d_model)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(5))
        self.projection = nn.Linear(d_model, 1)

    def forward(self, x):
        enc = self.enc_embedding(x[:, :SEQ])
        enc = self.norms[0](enc + self.encoder(enc, enc))
        enc = self.norms[1](enc + self.enc_feed(enc))
        dec = self.dec_embedding(x[:, SEQ - LABEL :])
        dec = self.norms[2](dec + self.self_attention(dec, dec))
        dec = self.norms[3](dec + self.cross_attention(dec, enc))
        dec = self.norms[4](dec + self.dec_feed(dec))
        return self.projection(dec)[:, -PRED:, 0]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = loads(4000, seed), loads(500, seed + 100)
    model = Informer(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 32, 6, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
