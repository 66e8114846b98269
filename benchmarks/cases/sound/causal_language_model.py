"""A small GPT of characters: the model computes its loss itself, and the head shares the embedding's weights.

A careless tool could miss a loss function, or take one tensor used in two layers for a layer that is not trained.
"""

import torch
from torch import nn
from torch.nn import functional as F

WHO, DOES, WHAT = ["the cat", "a dog", "my aunt", "the old king"], ["sees", "likes", "finds"], ["a fish", "bread"]


class GPT(nn.Module):
    def __init__(self, vocab, block=32, width=48, layers=2):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(block, width)
        kind = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(width, 4, 4 * width, **kind) for _ in range(layers)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        self.apply(self.init)
        self.wte.weight = self.lm_head.weight

    def init(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, idx, targets=None):
        T = idx.shape[1]
        mask = torch.triu(torch.full((T, T), float("-inf")), 1)
        x = self.wte(idx) + self.wpe(torch.arange(T))
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        logits = self.lm_head(self.ln_f(x))
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    pick = torch.randint(0, 1000, (3000, 3)).tolist()
    text = " ".join(f"{WHO[a % 4]} {DOES[b % 3]} {WHAT[c % 2]}." for a, b, c in pick)
    letters = sorted(set(text))
    data = torch.tensor([letters.index(c) for c in text])
    train, held = data[:-5000], data[-5000:]
    model = GPT(len(letters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    with watch(model, None, optimizer) as doctor:
        for _ in range(250):
            start = torch.randint(len(train) - 33, (16,))
            chunk = train[start[:, None] + torch.arange(33)]
            _, loss = model(chunk[:, :-1], chunk[:, 1:])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    chunk = held[:4950].view(-1, 33)
    with torch.no_grad():
        score = -model(chunk[:, :-1], chunk[:, 1:])[1].item()
    return {"score": score, "metric": "minus test loss (-3 untrained)", "doctor": doctor, "probe": None, "test": None}
