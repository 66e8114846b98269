"""A convolutional VAE of clothes whose KL term grows from 0 to its full weight over the first third of training; new
pictures are decoded from pure noise after each epoch.

A careless tool could take a loss that rises in between for divergence, or noise given to the decoder for bad inputs.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import fashion, r2


class ConvVAE(nn.Module):
    def __init__(self, latent=12):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(32 * 49, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32 * 49),
            nn.GELU(),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        )

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean
        if self.training:
            z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        return self.decoder(z), mean, log_var


def negative_elbo(logits, x, mean, log_var, beta):
    nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    return (nll + beta * kl).mean() / x[0].numel()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = fashion(5000, 800)
    model = ConvVAE()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    steps, warm = 0, 160
    gallery = []
    with watch(model, negative_elbo, optimizer) as doctor:
        for _epoch in range(6):
            model.train()
            for idx in torch.randperm(len(x)).split(64):
                beta = min(1.0, steps / warm)
                logits, mean, log_var = model(x[idx])
                loss = doctor.loss_fn(logits, x[idx], mean, log_var, beta)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                steps += 1
            model.eval()
            with torch.no_grad():
                logits, mean, log_var = model(tx)
                test_loss = negative_elbo(logits, tx, mean, log_var, 1.0).item()
                gallery.append((test_loss, model.decoder(torch.randn(16, model.latent)).sigmoid()))
                score = r2(logits.sigmoid(), tx)
    return {"score": score, "metric": "test R2 of pixels", "doctor": doctor, "probe": None, "test": None}
