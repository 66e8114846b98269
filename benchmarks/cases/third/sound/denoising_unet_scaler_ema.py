"""A small U-Net learns the noise in pictures of clothes: noise drawn anew for each batch, two micro-batches to a step,
the loss divided by 2, a GradScaler, and averaged weights that are evaluated on noisy and on clean pictures.

A careless tool could take noisy inputs, backward passes without a step, or a loss times 1024 for faults.
"""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.cases.data import fashion


def block(c_in, c_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(4, c_out), nn.SiLU(), nn.Conv2d(c_out, c_out, 3, padding=1)
    )


class SmallUNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.enter = block(1, width)
        self.down = block(width, 2 * width)
        self.bottom = block(2 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, 2 * width, 2, stride=2)
        self.join1 = block(4 * width, 2 * width)
        self.up2 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join2 = block(2 * width, width)
        self.exit = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        a = self.enter(x).relu()
        b = self.down(nn.functional.avg_pool2d(a, 2)).relu()
        c = self.bottom(nn.functional.avg_pool2d(b, 2)).relu()
        b = self.join1(torch.cat([b, self.up1(c)], dim=1)).relu()
        a = self.join2(torch.cat([a, self.up2(b)], dim=1)).relu()
        return self.exit(a)


def psnr(picture, wanted):
    return (-10 * (picture.clamp(0, 1) - wanted).square().mean((1, 2, 3)).log10()).mean().item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = fashion(3000, 300)
    level = 0.25
    noise = level * torch.randn_like(tx)
    model = SmallUNet()
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
    criterion = nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    accumulate, history = 2, []
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(4):
            model.train()
            optimizer.zero_grad()
            for k, idx in enumerate(torch.randperm(len(x)).split(25)):
                clean = x[idx]
                added = level * torch.randn_like(clean)
                loss = doctor.loss_fn(model(clean + added), added / level) / accumulate
                scaler.scale(loss).backward()
                if (k + 1) % accumulate == 0:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
                    ema.update_parameters(model)
            model.eval()
            with torch.no_grad():
                restored = tx + noise - level * ema(tx + noise)
                untouched = psnr(tx - level * ema(tx), tx)  # clean pictures should stay what they are
                gain = psnr(restored, tx) - psnr(tx + noise, tx)
                history.append((gain, untouched))
    added = level * torch.randn_like(x[:1000])
    return {
        "score": history[-1][0],
        "metric": "PSNR gained in dB",
        "doctor": doctor,
        "probe": (x[:1000] + added, added / level),
        "test": (tx + noise, noise / level),
    }
