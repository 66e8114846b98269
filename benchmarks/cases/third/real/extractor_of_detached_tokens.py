"""Captions for pictures of clothes, by a transformer of images and text that learns to contrast and to describe.

Source: https://github.com/lucidrains/CoCa-pytorch/issues/6
Cause: the extractor, which takes the tokens of the image encoder from a hook, clones and detaches them: neither loss
reaches the image encoder, which stays as it was drawn.
Fix: clone the tokens, and do not detach them.
"""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cases.data import batches, fashion

TRUTH = ("graph-cut",)
WORDS = [
    *("<bos>", "shirt", "short", "trousers", "long", "pullover", "warm", "dress"),
    *("coat", "sandal", "open", "blouse", "shoe", "flat", "bag", "boot", "high"),
]
CAPTIONS = [
    *("shirt short", "trousers long", "pullover warm", "dress long", "coat warm"),
    *("sandal open", "blouse long", "shoe flat", "bag open", "boot high"),
]
TOKENS = torch.tensor([[0, *(WORDS.index(word) for word in caption.split())] for caption in CAPTIONS])


def transformer(dim, depth):
    layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class ViT(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.to_patch_embedding = nn.Conv2d(1, dim, 7, 7)
        self.pos_embedding = nn.Parameter(0.1 * torch.randn(16, dim))
        self.transformer = transformer(dim, 2)
        self.mlp_head = nn.Linear(dim, 1000)

    def forward(self, img):
        x = self.to_patch_embedding(img).flatten(2).transpose(1, 2) + self.pos_embedding
        return self.mlp_head(self.transformer(x).mean(1))


class Extractor(nn.Module):
    """Give the tokens behind the transformer of a ViT."""

    def __init__(self, vit, fixed):
        super().__init__()
        self.vit, self.fixed, self.latents = vit, fixed, None
        vit.transformer.register_forward_hook(self._hook)

    def _hook(self, _, inputs, output):
        self.latents = output.clone() if self.fixed else output.clone().detach()

    def forward(self, img):
        self.vit(img)
        latents, self.latents = self.latents, None
        return latents


class CoCa(nn.Module):
    def __init__(self, img_encoder, dim=48):
        super().__init__()
        self.img_encoder = img_encoder
        self.token_emb = nn.Embedding(len(WORDS), dim)
        self.text_pos = nn.Parameter(0.1 * torch.randn(3, dim))
        self.unimodal = transformer(dim, 1)
        self.queries = nn.Parameter(torch.randn(4, dim))
        self.pool = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.norm, self.to_logits = nn.LayerNorm(dim), nn.Linear(dim, len(WORDS))
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def embed_image(self, images):
        tokens = self.img_encoder(images)
        pooled = self.pool(self.queries.expand(len(images), -1, -1), tokens, tokens, need_weights=False)[0]
        return F.normalize(pooled[:, 0], dim=1), pooled[:, 1:]

    def embed_text(self, text):
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1])
        tokens = self.unimodal(self.token_emb(text) + self.text_pos[: text.shape[1]], mask=mask, is_causal=True)
        return F.normalize(tokens[:, -1], dim=1), tokens

    def describe(self, text, image_tokens):
        _, tokens = self.embed_text(text)
        tokens = tokens + self.cross(self.norm(tokens), image_tokens, image_tokens, need_weights=False)[0]
        return self.to_logits(tokens)

    def forward(self, text, images):
        image_embeds, image_tokens = self.embed_image(images)
        logits = self.describe(text[:, :-1], image_tokens)
        caption_loss = F.cross_entropy(logits.transpose(1, 2), text[:, 1:])
        sim = self.embed_text(text)[0] @ image_embeds.T * self.temperature.exp()
        same = (text[:, None] == text[None]).all(2).float()
        same = same / same.sum(1, keepdim=True)
        return caption_loss + (F.cross_entropy(sim, same) + F.cross_entropy(sim.T, same)) / 2


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(3000, 600)
    text, test_text = TOKENS[y], TOKENS[ty]
    coca = CoCa(Extractor(ViT(), fixed))
    optimizer = torch.optim.AdamW([p for n, p in coca.named_parameters() if "mlp_head" not in n], lr=1e-3)
    with watch(coca, None, optimizer) as doctor:
        for i in batches(len(x), 50, 6, seed):
            loss = coca(text[i], x[i])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        logits = coca.describe(test_text[:, :-1], coca.embed_image(tx)[1])
    score = (logits[:, 0].argmax(1) == test_text[:, 1]).float().mean().item()
    return {"score": score, "metric": "first word right", "doctor": doctor, "probe": None, "test": None}
