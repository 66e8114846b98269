"""Pretraining of a small sequence-to-sequence transformer: restore sentences in which words were masked and swapped.

Source: https://github.com/ayaka14732/bart-base-jax/pull/6 (JAX; the same in PyTorch)
Cause: the input of the decoder and the labels are aligned wrongly: both begin at the same word, so the decoder need
only copy the word it is given, and the loss goes to almost nothing.
Fix: the decoder gets the labels one place later, behind a beginning-of-sentence token.
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("target-leak",)
BOS, MASK, FIRST, VOCAB, LENGTH = 0, 1, 2, 26, 8


def sentences(n, seed):
    """Return damaged sentences and whole ones (N, LENGTH): each word is the one before plus a step of its own."""
    g = torch.Generator().manual_seed(seed)
    words = VOCAB - FIRST
    start, step = torch.randint(words, (n, 1), generator=g), torch.randint(1, 5, (n, 1), generator=g)
    whole = (start + step * torch.arange(LENGTH)) % words + FIRST
    damaged = whole.clone()
    rows = torch.arange(n)
    at = torch.randint(LENGTH - 1, (n,), generator=g)
    damaged[rows, at], damaged[rows, at + 1] = whole[rows, at + 1], whole[rows, at]
    damaged[torch.rand(n, LENGTH, generator=g) < 0.25] = MASK
    return damaged, whole


class Bart(nn.Module):
    def __init__(self, d_model=48):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, d_model)
        self.positions = nn.Parameter(0.1 * torch.randn(LENGTH + 1, d_model))
        self.transformer = nn.Transformer(d_model, 4, 2, 2, 96, dropout=0.0, batch_first=True)
        self.lm_head = nn.Linear(d_model, VOCAB)

    def embed(self, ids):
        return self.tokens(ids) + self.positions[: ids.shape[1]]

    def forward(self, src, dst):
        causal = nn.Transformer.generate_square_subsequent_mask(dst.shape[1])
        return self.lm_head(self.transformer(self.embed(src), self.embed(dst), tgt_mask=causal, tgt_is_causal=True))


@torch.no_grad()
def generate(model, src):
    model.eval()
    dst = torch.full((len(src), 1), BOS)
    for _ in range(LENGTH):
        dst = torch.cat([dst, model(src, dst)[:, -1:].argmax(2)], 1)
    return dst[:, 1:]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (src, whole), (test, test_whole) = sentences(4000, seed), sentences(300, 1000 + seed)
    begin = torch.full((len(whole), 1), BOS)
    dst = torch.cat([begin, whole], 1)
    labels = whole
    dst = dst[:, :-1] if fixed else dst[:, 1:]

    model = Bart()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def loss_fn(logits, labels):
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    with watch(model, loss_fn, optimizer) as doctor:
        for _ in range(5):
            for i in torch.randperm(len(src)).split(50):
                loss = doctor.loss_fn(model(src[i], dst[i]), labels[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    score = (generate(model, test) == test_whole).float().mean().item()
    return {"score": score, "metric": "words restored", "doctor": doctor, "probe": None, "test": None}
