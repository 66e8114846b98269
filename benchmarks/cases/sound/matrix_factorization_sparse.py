"""Ratings by dot products of users' and items' embeddings with biases: sparse gradients, SparseAdam, only known pairs.

A careless tool could take sparse gradients, or rows without any, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2


class Factors(nn.Module):
    def __init__(self, users, items, rank, mean):
        super().__init__()
        self.user, self.item = nn.Embedding(users, rank, sparse=True), nn.Embedding(items, rank, sparse=True)
        self.user_bias, self.item_bias = nn.Embedding(users, 1, sparse=True), nn.Embedding(items, 1, sparse=True)
        for table in (self.user, self.item, self.user_bias, self.item_bias):
            nn.init.normal_(table.weight, std=0.1)
        self.register_buffer("mean", mean)

    def forward(self, user, item):
        product = (self.user(user) * self.item(item)).sum(1)
        return self.mean + product + self.user_bias(user).squeeze(1) + self.item_bias(item).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    truth = torch.randn(300, 3) @ torch.randn(3, 200) * 0.5 + 0.4 * torch.randn(300, 1) + 0.4 * torch.randn(200) + 3
    pairs = torch.randperm(300 * 200)[:24_000]
    user, item = pairs // 200, pairs % 200
    rating = truth[user, item] + 0.2 * torch.randn(len(pairs))
    train = 20_000
    model = Factors(300, 200, 6, rating[:train].mean())
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=1e-2)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(train, 256, 8, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(user[i], item[i]), rating[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(user[train:], item[train:]), rating[train:])
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": None, "test": None}
