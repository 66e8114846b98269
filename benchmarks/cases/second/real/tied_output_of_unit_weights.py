"""Language model whose output layer shares the weights of an embedding drawn from N(0, 1).

Source: https://github.com/Modalities/modalities/pull/456 (also pytorch/torchtitan#2342, where the loss began at 500)
Cause: the initializer draws the embedding with a standard deviation of 1, as is right for an embedding of its own. With
tied weights it is the output projection, too: the logits start huge, and confident in nonsense.
Fix: with tied weights, a standard deviation of 1 / sqrt(n_embd).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("init-too-large",)

VOCAB, CONTEXT, N_EMBD = 400, 20, 128


def corpus(n: int, seed: int):
    """Return tokens (N, CONTEXT + 1): each topic has its words, and some words call for others."""
    fixed = torch.Generator().manual_seed(0)
    topics, calls = torch.randint(VOCAB, (12, 40), generator=fixed), torch.randint(VOCAB, (VOCAB,), generator=fixed)
    g = torch.Generator().manual_seed(seed)
    topic = torch.randint(12, (n,), generator=g)
    rank = (torch.rand(n, CONTEXT + 1, generator=g).square() * 40).long()
    tokens = topics[topic[:, None], rank]
    follow = torch.rand(n, CONTEXT + 1, generator=g) < 0.5
    for t in range(1, CONTEXT + 1):
        tokens[:, t] = torch.where(follow[:, t], calls[tokens[:, t - 1]], tokens[:, t])
    return tokens


class Block(nn.Module):
    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim, bias=False), nn.SiLU(), nn.Linear(2 * dim, dim, bias=False))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, embedding_std: float, layers: int = 2):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, N_EMBD), nn.Embedding(CONTEXT, N_EMBD)
        self.blocks, self.norm = nn.Sequential(*[Block(N_EMBD) for _ in range(layers)]), nn.LayerNorm(N_EMBD)
        self.lm_head = nn.Linear(N_EMBD, VOCAB, bias=False)
        self.lm_head.weight = self.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.trunc_normal_(parameter, std=embedding_std if "wte" in name else 0.02)

    def forward(self, tokens):
        h = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        return self.lm_head(self.norm(self.blocks(h)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, test = corpus(1500, 1), corpus(300, 2)
    model = GPT(embedding_std=N_EMBD**-0.5 if fixed else 1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def clm_loss(logits, targets):
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    with watch(model, clm_loss, optimizer) as doctor:
        for i in batches(len(train), 15, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(train[i, :-1]), train[i, 1:])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    with torch.no_grad():
        score = -clm_loss(model(test[:, :-1]), test[:, 1:]).item()
    return {
        "score": score,
        "metric": "minus test loss for a token",
        "doctor": doctor,
        "probe": (train[:, :-1], train[:, 1:]),
        "test": (test[:, :-1], test[:, 1:]),
    }
