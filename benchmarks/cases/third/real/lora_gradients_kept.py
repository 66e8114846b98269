"""Language model adapted to another domain by low-rank matrices beside its frozen layers.

Source: https://github.com/tenstorrent/tt-blacksmith/pull/711
Cause: the trainer calls optimizer.step() for each batch and never zero_grad(): each step uses the sum of the gradients
of all batches so far.
Fix: clear the gradients after each step.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("gradients-not-zeroed",)
VOCAB, LENGTH = 24, 20


def sentences(n: int, language: int, seed: int):
    """Return sequences (N, LENGTH + 1) in which the two tokens before say which ones are likely to follow."""
    rules = torch.Generator().manual_seed(1000 + language)
    table = torch.randn(VOCAB, VOCAB, generator=rules)[:, None] + torch.randn(1, VOCAB, VOCAB, generator=rules)
    chances = (2 * table).softmax(-1)
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (n, LENGTH + 1), generator=g)
    for t in range(2, LENGTH + 1):
        tokens[:, t] = torch.multinomial(chances[tokens[:, t - 2], tokens[:, t - 1]], 1, generator=g)[:, 0]
    return tokens


class LoraLinear(nn.Module):
    def __init__(self, base: nn.Linear, r: int = 8, alpha: int = 16):
        super().__init__()
        self.base, self.scaling = base.requires_grad_(False), alpha / r
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x):
        return self.base(x) + self.scaling * F.linear(F.linear(x, self.lora_A), self.lora_B)


class Layer(nn.Module):
    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.up_proj, self.down_proj = nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = (
            proj(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(attended.transpose(1, 2).flatten(2))
        return x + self.down_proj(F.gelu(self.up_proj(self.norm2(x))))


class CausalLM(nn.Module):
    def __init__(self, dim: int = 48, layers: int = 2):
        super().__init__()
        self.embed_tokens, self.embed_places = nn.Embedding(VOCAB, dim), nn.Embedding(LENGTH, dim)
        self.layers = nn.ModuleList(Layer(dim) for _ in range(layers))
        self.norm, self.lm_head = nn.LayerNorm(dim), nn.Linear(dim, VOCAB)

    def forward(self, tokens):
        x = self.embed_tokens(tokens) + self.embed_places.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def causal_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def pretrained(seed: int) -> CausalLM:
    model, text = CausalLM(), sentences(2400, 0, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(2):
        for batch in text[torch.randperm(len(text))].split(32):
            loss = causal_loss(model(batch[:, :-1]), batch[:, 1:])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model


def apply_lora(model: CausalLM):
    model.requires_grad_(False)
    for layer in model.layers:
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.Linear):
                setattr(layer, name, LoraLinear(child))
    model.lm_head = LoraLinear(model.lm_head)
    return model


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model = apply_lora(pretrained(seed))
    train, test = sentences(3200, 1, seed + 1), sentences(400, 1, seed + 2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    with watch(model, causal_loss, optimizer) as doctor:
        for _epoch in range(2):
            for batch in train[torch.randperm(len(train))].split(32):
                model.train()
                logits = model(batch[:, :-1])
                loss = doctor.loss_fn(logits, batch[:, 1:])
                loss.backward()
                optimizer.step()
                if fixed:
                    optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        score = (model(test[:, :-1]).argmax(2) == test[:, 1:]).float().mean().item()
    return {
        "score": score,
        "metric": "next tokens that are right",
        "doctor": doctor,
        "probe": (train[:500, :-1], train[:500, 1:]),
        "test": (test[:, :-1], test[:, 1:]),
    }
