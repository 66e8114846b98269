"""Language model whose parameters are made empty and filled later, module by module, as for models too large to build.

Source: https://github.com/pytorch-tpu/transformers/pull/26
Cause: the tensors are filled by torch.randn_like, with a standard deviation of 1 whatever their shape: states and
logits are huge.
Fix: a uniform distribution in a narrow range.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("init-too-large", "exploding-gradient")
VOCAB, LENGTH, DIM = 40, 24, 48


def documents(n, seed):
    """Return sequences (N, LENGTH + 1) of words: what follows depends on a word and on the topic of the document."""
    rules = torch.Generator().manual_seed(21)
    follow = (2.5 * torch.randn(3, VOCAB, VOCAB, generator=rules)).softmax(2)
    g = torch.Generator().manual_seed(seed)
    topic, words = torch.randint(3, (n,), generator=g), torch.randint(VOCAB, (n, LENGTH + 1), generator=g)
    for t in range(1, LENGTH + 1):
        words[:, t] = torch.multinomial(follow[topic, words[:, t - 1]], 1, generator=g)[:, 0]
    return words


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class DecoderLayer(nn.Module):
    def __init__(self, heads=4):
        super().__init__()
        self.heads, self.input_norm, self.post_norm = heads, RMSNorm(DIM), RMSNorm(DIM)
        self.qkv_proj, self.o_proj = nn.Linear(DIM, 3 * DIM, bias=False), nn.Linear(DIM, DIM, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(DIM, 2 * DIM, bias=False), nn.Linear(DIM, 2 * DIM, bias=False)
        self.down_proj = nn.Linear(2 * DIM, DIM, bias=False)

    def forward(self, x):
        qkv = self.qkv_proj(self.input_norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv, is_causal=True)
        x = x + self.o_proj(mixed.transpose(1, 2).flatten(2))
        h = self.post_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class LlamaLike(nn.Module):
    def __init__(self, layers=2):
        super().__init__()
        self.embed_tokens, self.embed_places = nn.Embedding(VOCAB, DIM), nn.Embedding(LENGTH, DIM)
        self.layers = nn.Sequential(*[DecoderLayer() for _ in range(layers)])
        self.norm, self.lm_head = RMSNorm(DIM), nn.Linear(DIM, VOCAB, bias=False)

    def forward(self, tokens):
        x = self.embed_tokens(tokens) + self.embed_places.weight[: tokens.shape[1]]
        return self.lm_head(self.norm(self.layers(x)))


def materialize(module, fixed):
    """Give each parameter on the meta device its memory and its values."""
    for child in module.modules():
        for name, param in list(child.named_parameters(recurse=False)):
            real = torch.empty(param.shape)
            if fixed:
                nn.init.uniform_(real, a=-0.05, b=0.05)
            else:
                real = torch.randn_like(real)
            setattr(child, name, nn.Parameter(real))


def shifted_loss(logits, labels):
    return F.cross_entropy(logits.reshape(-1, VOCAB), labels.reshape(-1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, test = documents(4000, seed + 1), documents(400, seed + 2)
    with torch.device("meta"):
        model = LlamaLike()
    materialize(model, fixed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    x, y, tx, ty = train[:, :-1], train[:, 1:], test[:, :-1], test[:, 1:]
    with watch(model, shifted_loss, optimizer) as doctor:
        for i in batches(len(x), 32, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        score = -F.cross_entropy(model(tx).flatten(0, 1), ty.flatten()).item()
    return {"score": score, "metric": "minus test loss", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
