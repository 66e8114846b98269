"""A mixture of experts for digits and clothes together: the best two of six networks by a gate, a term for balance.

A careless tool could take experts that get few samples, or a small second loss that hardly falls, for a fault.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.data import fashion, mnist


class Expert(nn.Module):
    def __init__(self, d_in, d_hidden, d_out):
        super().__init__()
        self.fc1 = nn.Linear(d_in, d_hidden)
        self.fc2 = nn.Linear(d_hidden, d_out)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class MoEClassifier(nn.Module):
    def __init__(self, n_experts=6, k=2, d_model=64, n_classes=20):
        super().__init__()
        self.k = k
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(784, d_model), nn.ReLU())
        self.gate = nn.Linear(d_model, n_experts, bias=False)
        self.experts = nn.ModuleList([Expert(d_model, 48, d_model) for _ in range(n_experts)])
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_classes)
        self.aux_loss = torch.zeros(())

    def forward(self, x):
        h = self.stem(x)
        gate_logits = self.gate(h)
        if self.training:
            gate_logits = gate_logits + torch.randn_like(gate_logits) / len(self.experts)
        probs = gate_logits.softmax(dim=-1)
        top_p, top_i = probs.topk(self.k, dim=-1)
        top_p = top_p / top_p.sum(dim=-1, keepdim=True)

        out = torch.zeros_like(h)
        for e, expert in enumerate(self.experts):
            rows, slots = (top_i == e).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, top_p[rows, slots, None] * expert(h[rows]))

        # as in Switch Transformers: the share of samples times the mean probability of each expert
        load = F.one_hot(top_i[:, 0], len(self.experts)).float().mean(0)
        self.aux_loss = len(self.experts) * (load * probs.mean(0)).sum()
        return self.head(self.norm(h + out))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (ax, ay, atx, aty), (bx, by, btx, bty) = mnist(4000, 500), fashion(4000, 500)
    x, y = torch.cat([ax, bx]), torch.cat([ay, by + 10])
    tx, ty = torch.cat([atx, btx]), torch.cat([aty, bty + 10])
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    model = MoEClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _epoch in range(5):
            model.train()
            for images, labels in loader:
                logits = model(images)
                loss = doctor.loss_fn(logits, labels) + 0.01 * model.aux_loss
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    model.eval()
    with torch.no_grad():
        score = (model(tx).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
