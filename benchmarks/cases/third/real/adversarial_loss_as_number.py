"""Reconstruction of images from a part of their frequencies, at a hospital without references, by adaptation.

Source: https://github.com/guopengf/FL-MRCM/issues/10
Cause: the adversarial loss, which should bring the features of the two sites together, is turned into a number, to save
memory in the log, before it is added to the loss: it has no gradient.
Fix: call detach().item() for the log alone.
"""

import torch
from torch import nn

from benchmarks.cases.data import fashion

TRUTH = ("graph-cut",)


def undersample(images):
    """Keep the low frequencies, and every third of the others, along one axis."""
    k = torch.fft.fft2(images)
    rows = torch.fft.fftfreq(images.shape[-2]).abs() < 0.12
    rows[::3] = True
    return torch.fft.ifft2(k * rows[:, None]).real


def source_site(images):
    return images


def target_site(images):
    """Return the images as another scanner shows them: other contrast, less sharp, brighter on one side."""
    images = images.pow(0.5) * 0.7
    images = (images + images.roll(1, 2) + images.roll(1, 3)) / 3
    return images + torch.linspace(0, 0.5, images.shape[3])


class UnetModel(nn.Module):
    """Return the reconstruction, and the features at the bottom."""

    def __init__(self, c=12):
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, c, 3, padding=1), nn.LeakyReLU(0.2))
        self.down2 = nn.Sequential(nn.Conv2d(c, 2 * c, 3, 2, 1), nn.LeakyReLU(0.2))
        self.latent = nn.Sequential(nn.Conv2d(2 * c, 2 * c, 3, 2, 1), nn.LeakyReLU(0.2))
        self.up2 = nn.Sequential(nn.ConvTranspose2d(2 * c, 2 * c, 2, 2), nn.LeakyReLU(0.2))
        self.up1 = nn.Sequential(nn.ConvTranspose2d(2 * c, c, 2, 2), nn.LeakyReLU(0.2))
        self.out = nn.Conv2d(2 * c, 1, 3, padding=1)

    def forward(self, x):
        a = self.down1(x)
        z = self.latent(self.down2(a))
        return self.out(torch.cat([self.up1(self.up2(z)), a], 1)), z


class DomainIdentifier(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(c, 24, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(24 * 16, 32), nn.LeakyReLU(0.2),
            nn.Linear(32, 2),
        )  # fmt: skip

    def forward(self, z):
        return self.net(z)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    images, _, test, _ = fashion(3000, 400)
    source, target = source_site(images[:1500]), target_site(images[1500:])
    source_input, target_input = undersample(source), undersample(target)
    test_source, test_target = undersample(source_site(test)), undersample(target_site(test))

    net, net_fd = UnetModel(), DomainIdentifier()
    loss_func, adv_loss = nn.L1Loss(), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    optimizer_fd = torch.optim.Adam(net_fd.parameters(), lr=1e-3)
    batch_loss_adv_g = []
    with watch(net, loss_func, optimizer) as doctor:
        for _ in range(3):
            for i, j in zip(torch.randperm(1500).split(25), torch.randperm(1500).split(25), strict=True):
                net.zero_grad()
                net_fd.zero_grad()
                output, z = net(source_input[i])
                _, z_t = net(target_input[j])
                src_domain_code = torch.tensor([[1.0, 0.0]]).repeat(len(i), 1)
                tgt_domain_code = torch.tensor([[0.0, 1.0]]).repeat(len(j), 1)

                net_fd.requires_grad_(True)
                df_loss_src = adv_loss(net_fd(z.detach()), 1 - src_domain_code)
                df_loss_tgt = adv_loss(net_fd(z_t.detach()), 1 - tgt_domain_code)
                df_loss = (df_loss_src + df_loss_tgt) / 2
                df_loss.backward()
                optimizer_fd.step()

                net_fd.requires_grad_(False)
                df_loss_src = adv_loss(net_fd(z), src_domain_code)
                df_loss_tgt = adv_loss(net_fd(z_t), tgt_domain_code)
                loss_adv_g = (df_loss_src + df_loss_tgt) / 2
                if fixed:
                    batch_loss_adv_g.append(loss_adv_g.detach().item())
                else:
                    loss_adv_g = loss_adv_g.detach().item()
                    batch_loss_adv_g.append(loss_adv_g)

                loss = doctor.loss_fn(output, source[i]) + loss_adv_g
                loss.backward()
                optimizer.step()
    net.eval()
    net_fd.eval()
    with torch.no_grad():
        told = [net_fd(net(part)[1]).softmax(1)[:, 1] for part in (test_source, test_target)]
    score = 1 - (told[0].mean() - told[1].mean()).abs().item()
    return {"score": score, "metric": "sites not told apart", "doctor": doctor, "probe": None, "test": None}
