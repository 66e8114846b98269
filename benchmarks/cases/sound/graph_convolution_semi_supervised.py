"""A graph convolutional network (Kipf, Welling 2017): 400 nodes in 4 groups, 10 labels of each, all nodes in each pass.

A careless tool could take nodes whose outputs depend on each other, or the same graph in each step, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F


class GraphConvolution(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(a, b)), nn.Parameter(torch.zeros(b))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, adjacency):
        return adjacency @ (x @ self.weight) + self.bias


class GCN(nn.Module):
    def __init__(self, features, hidden, classes):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(features, hidden), GraphConvolution(hidden, classes)

    def forward(self, x, adjacency):
        h = F.dropout(self.gc1(x, adjacency).relu(), 0.5, self.training)
        return F.log_softmax(self.gc2(h, adjacency), dim=1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    labels = torch.arange(400) % 4
    chance = torch.where(labels[:, None] == labels, 0.06, 0.008)
    edges = torch.bernoulli(chance).triu(1)
    adjacency = edges + edges.T + torch.eye(400)
    root = adjacency.sum(1).rsqrt()
    adjacency = root[:, None] * adjacency * root
    x = (torch.rand(400, 60) < 0.05 + 0.1 * (torch.arange(60) % 4 == labels[:, None])).float()
    train, test = torch.arange(40), torch.arange(40, 400)
    model = GCN(60, 16, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    with watch(model, F.nll_loss, optimizer) as doctor:
        for _ in range(200):
            model.train()
            optimizer.zero_grad()
            output = model(x, adjacency)
            loss = doctor.loss_fn(output[train], labels[train])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = (model(x, adjacency).argmax(1) == labels)[test].float().mean().item()
    return {"score": score, "metric": "accuracy of other nodes", "doctor": doctor, "probe": None, "test": None}
