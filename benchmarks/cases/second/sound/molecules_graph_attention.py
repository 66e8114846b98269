"""Graph attention on molecules: many graphs in one batch by an edge list, softmax over neighbors, mean over atoms.

A careless tool could take graphs joined in one tensor, or attention over other rows of it, for mixed samples.
"""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cases.data import batches

ATOMS = 5  # C, N, O, S, F


def molecule():
    """Return kinds of atoms, bonds in both directions, and the log of solubility, which groups of atoms decide."""
    n = int(torch.randint(6, 16, (1,)))
    kinds = torch.multinomial(torch.tensor([0.6, 0.14, 0.14, 0.06, 0.06]), n, replacement=True)
    parents = [max(0, k - 1 - int(torch.randint(0, 3, (1,)))) for k in range(1, n)]
    bonds = [(k, p) for k, p in enumerate(parents, start=1)]
    if torch.rand(()) < 0.5:
        bonds.append((0, n - 1))
    edges = torch.tensor(bonds + [(b, a) for a, b in bonds]).T
    oxygen_next_to_carbon = ((kinds[edges[0]] == 2) & (kinds[edges[1]] == 0)).sum()
    nitrogen_next_to_oxygen = ((kinds[edges[0]] == 1) & (kinds[edges[1]] == 2)).sum()
    value = oxygen_next_to_carbon - 2.0 * nitrogen_next_to_oxygen - 1.5 * (kinds == 3).sum() - 0.1 * n
    return kinds, edges, value / n * 10 + 0.2 * torch.randn(())


def collate(graphs):
    kinds, edges, graph_of, values, offset = [], [], [], [], 0
    for k, (atoms, bonds, value) in enumerate(graphs):
        kinds.append(atoms)
        edges.append(bonds + offset)
        graph_of.append(torch.full((len(atoms),), k))
        values.append(value)
        offset += len(atoms)
    return F.one_hot(torch.cat(kinds), ATOMS).float(), torch.cat(edges, 1), torch.cat(graph_of), torch.stack(values)


class GATLayer(nn.Module):
    def __init__(self, in_dim, out_dim, heads=2):
        super().__init__()
        self.heads, self.out_dim = heads, out_dim
        self.lin = nn.Linear(in_dim, heads * out_dim, bias=False)
        self.att_src = nn.Parameter(torch.empty(heads, out_dim))
        self.att_dst = nn.Parameter(torch.empty(heads, out_dim))
        self.bias = nn.Parameter(torch.zeros(heads * out_dim))
        nn.init.xavier_uniform_(self.lin.weight)
        nn.init.xavier_uniform_(self.att_src)
        nn.init.xavier_uniform_(self.att_dst)

    def forward(self, x, edge_index):
        loops = torch.arange(len(x)).expand(2, -1)
        src, dst = torch.cat([edge_index, loops], dim=1)
        h = self.lin(x).view(-1, self.heads, self.out_dim)
        score = F.leaky_relu((h * self.att_src).sum(-1)[src] + (h * self.att_dst).sum(-1)[dst], 0.2)
        top = torch.full((len(x), self.heads), -torch.inf)
        top = top.scatter_reduce(0, dst[:, None].expand_as(score), score.detach(), "amax")
        weight = (score - top[dst]).exp()
        total = torch.zeros(len(x), self.heads).index_add(0, dst, weight)
        alpha = weight / total[dst]
        out = torch.zeros_like(h).index_add(0, dst, alpha[..., None] * h[src])
        return out.flatten(1) + self.bias


class GAT(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.conv1 = GATLayer(ATOMS, hidden)
        self.conv2 = GATLayer(2 * hidden, hidden)
        self.readout = nn.Sequential(nn.Linear(4 * hidden, 32), nn.ELU(), nn.Linear(32, 1))

    def forward(self, x, edge_index, batch):
        h1 = F.elu(self.conv1(x, edge_index))
        h2 = F.elu(self.conv2(h1, edge_index))
        h = torch.cat([h1, h2], 1)
        size = int(batch[-1]) + 1
        count = torch.bincount(batch, minlength=size)[:, None]
        pooled = torch.zeros(size, h.shape[1]).index_add(0, batch, h) / count
        return self.readout(pooled).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    graphs = [molecule() for _ in range(2200)]
    train, test = graphs[:1800], graphs[1800:]
    mean, std = torch.stack([g[2] for g in train]).mean(), torch.stack([g[2] for g in train]).std()
    model = GAT()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-5)
    with watch(model, criterion, optimizer) as doctor:
        for idx in batches(len(train), 36, 14, seed):
            x, edge_index, batch, value = collate([train[k] for k in idx.tolist()])
            optimizer.zero_grad()
            prediction = model(x, edge_index, batch)
            loss = doctor.loss_fn(prediction, (value - mean) / std)
            loss.backward()
            optimizer.step()
    model.eval()
    x, edge_index, batch, value = collate(test)
    with torch.no_grad():
        error = (model(x, edge_index, batch) * std + mean - value).square().mean()
    return {
        "score": (1 - error / value.var()).item(),
        "metric": "test R2",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
