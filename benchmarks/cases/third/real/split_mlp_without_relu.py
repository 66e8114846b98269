"""Tables: a multilayer perceptron whose widths and dropout come from the configuration.

Source: https://github.com/YujiaBao/ls/issues/1
Cause: the loop that builds the network puts linear layers and dropout one after the other and no activation, though the
paper says ReLU: the whole is one linear layer.
Fix: a ReLU after each hidden layer.
"""

from itertools import pairwise

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("no-nonlinearity",)


def table(n, seed):
    """Return measurements (N, 12), half of them heavy-tailed, and one of three groups that depends on pairs of them."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=g)
    a = x[:, 0] * x[:, 1] + x[:, 2].abs() - 0.8
    b = x[:, 3] * x[:, 4] - x[:, 5].square() + 1 + 0.5 * x[:, 6]
    noise = 0.3 * torch.randn(n, 3, generator=g)
    labels = (torch.stack([torch.zeros(n), a, b], 1) + noise).argmax(1)
    return torch.cat([x[:, :6], x[:, 6:].sinh() / 2], 1), labels


class MLP(nn.Module):
    def __init__(self, include_last_layer, cfg):
        super().__init__()
        sizes = [cfg["input_dim"], *cfg["hidden_dims"]]
        layers = []
        for a, b in pairwise(sizes):
            layers.append(nn.Linear(a, b))
            if cfg["relu"]:
                layers.append(nn.ReLU())
            layers.append(nn.Dropout(cfg["dropout"]))
        if include_last_layer:
            layers.append(nn.Linear(sizes[-1], cfg["num_classes"]))
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return self.net(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    cfg = {"input_dim": 12, "hidden_dims": [128, 128], "num_classes": 3, "dropout": 0.1, "relu": fixed}
    x, y = table(5000, seed)
    tx, ty = table(1000, seed + 100)
    mean, std = x.mean(0), x.std(0)
    x, tx = (x - mean) / std, (tx - mean) / std
    model = MLP(True, cfg)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        model.train()
        for i in batches(len(x), 64, 15, seed):
            logit = model(x[i])
            loss = doctor.loss_fn(logit, y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
