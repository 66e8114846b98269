"""Mixture of experts whose balance loss has no gradient.

Source: https://github.com/laekov/fastmoe/issues/49
Cause: the balance losses of the layers are put together by torch.tensor(), which cuts them off the graph: the gate
goes on sending everything to few experts. (The accuracy of so small a network hardly suffers.)
Fix: torch.stack() (torch.cat() in the source).
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, fashion

TRUTH = ("graph-cut",)


class MoE(nn.Module):
    def __init__(self, dim: int, experts: int = 8, hidden: int = 8):
        super().__init__()
        self.gate = nn.Linear(dim, experts)
        self.w1 = nn.Parameter(torch.randn(experts, dim, hidden) / dim**0.5)
        self.w2 = nn.Parameter(torch.randn(experts, hidden, dim) / hidden**0.5)

    def forward(self, x):
        p = torch.softmax(self.gate(x), 1)
        top, index = p.max(1)
        share = nn.functional.one_hot(index, p.shape[1]).float().mean(0)
        self.balance_loss = p.shape[1] * (share * p.mean(0)).sum()
        self.used = share
        h = torch.relu(torch.bmm(x[:, None], self.w1[index]))
        return x + top[:, None] * torch.bmm(h, self.w2[index])[:, 0]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(784, 16))
        self.moe = nn.ModuleList([MoE(16), MoE(16)])
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.moe:
            x = layer(x)
        return self.head(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, _ = fashion(6000, 1000)
    model, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 64, 8, seed):
            outputs = model(x[i])
            loss_list = [layer.balance_loss for layer in model.moe]
            balance = torch.stack(loss_list) if fixed else torch.tensor([b.item() for b in loss_list])
            loss = doctor.loss_fn(outputs, y[i]) + 0.05 * balance.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        model(tx)
        used = torch.stack([layer.used for layer in model.moe])
        entropy = -(used * used.clamp(min=1e-9).log()).sum(1)
    score = entropy.exp().mean().item()
    return {"score": score, "metric": "experts in use, of 8", "doctor": doctor, "probe": None, "test": None}
