"""Where in an image the evidence sits: maps of what each place adds to the logit, high for the target.

`occluded`, the command line's choice, asks a plain question: what does the logit lose when a patch is blurred away. It
shows a damaged corner as one place that speaks against the target. `integrated` resolves single pixels and accounts for
all of the logit's difference to the blurred image; but in noise, where the gradient turns from pixel to pixel, its
terms of both signs stand side by side and are far larger than their sum.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from genat.ascent import Detector, frozen
from genat.detection.scores import logits


def integrated(
    detector: Detector,
    images: Tensor,
    *,
    reference: Tensor | None = None,
    steps: int = 64,
    batch_size: int = 256,
) -> Tensor:
    r"""Return integrated gradients along the straight path from a reference, by default the blurred image.

    .. math:: m_i = (x_i - b_i) \int_0^1 \frac{\partial f}{\partial x_i}\bigl(b + t (x - b)\bigr)\,dt

    They sum to :math:`f(x) - f(b)`; each is the i-th term of it where the logit is linear. The integral is taken by the
    midpoint rule, exact where the gradient changes linearly along the path.

    Args:
        detector: `(N, *) -> (N,)`, differentiable in its input.
        images: `(N, C, H, W)`.
        reference: b, as the images; None is `blurred`.
        steps: of the rule, at least 1; gradients for each image.
        batch_size: images at a time; the steps are taken one after another.

    Returns:
        `(N, H, W)`, summed over channels, in units of the logit.

    Raises:
        ValueError: where images or reference are of another shape, or an argument is too small.

    References:
        Axiomatic Attribution for Deep Networks (Sundararajan, Taly, Yan, 2017) https://arxiv.org/abs/1703.01365
        Attribution in Scale and Space (Xu, Venugopalan, Sundararajan, 2020) https://arxiv.org/abs/2004.03383, where
        paths begin from the blurred image

    Example:
        >>> image = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).view(1, 1, 2, 2)
        >>> integrated(lambda x: 3 * x[:, 0, 0, 1] - x[:, 0, 1, 1], image, reference=torch.zeros(1, 1, 2, 2))
        tensor([[[0., 3.],
                 [0., 0.]]])
    """
    _check(images)
    if steps < 1:
        raise ValueError(f"expected steps to be at least 1, got {steps}")
    if batch_size < 1:
        raise ValueError(f"expected batch_size to be at least 1, got {batch_size}")
    images = images.detach()
    base = blurred(images) if reference is None else reference.detach().to(images)
    if base.shape != images.shape:
        raise ValueError(f"expected a reference of shape {tuple(images.shape)}, got {tuple(base.shape)}")
    maps = []
    with frozen(detector), torch.enable_grad():
        for end, start in zip(torch.split(images, batch_size), torch.split(base, batch_size), strict=True):
            total = torch.zeros_like(end)
            for i in range(steps):
                point = (start + (end - start) * ((i + 0.5) / steps)).requires_grad_()
                (gradient,) = torch.autograd.grad(detector(point).sum(), point)
                total += gradient
            maps.append(((end - start) * total / steps).sum(1))
    return torch.cat(maps) if maps else images.sum(1)


def occluded(
    detector: Detector,
    images: Tensor,
    *,
    patch: int | None = None,
    stride: int | None = None,
    reference: Tensor | None = None,
    batch_size: int = 256,
) -> Tensor:
    r"""Return what the logit loses where a square patch is replaced by a reference, by default the blurred image.

    Patches lie on a grid that reaches every border. What a patch loses, :math:`f(x) - f(x_{\text{patch}})`, is spread
    over its pixels evenly, and a pixel's value is the mean over the patches on it: where the logit is linear and
    patches do not overlap, the map sums to :math:`f(x) - f(b)`.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, C, H, W)`.
        patch: side of a patch in pixels; None is a quarter of the shorter side, at least 1.
        stride: from patch to patch, at most `patch`; None is half a patch, at least 1.
        reference: as the images; None is `blurred`.
        batch_size: occluded images at a time.

    Returns:
        `(N, H, W)`, in units of the logit.

    Raises:
        ValueError: as `integrated`, or where patch or stride is out of range.

    References:
        Visualizing and Understanding Convolutional Networks (Zeiler, Fergus, 2014) https://arxiv.org/abs/1311.2901

    Example:
        >>> image = torch.ones(1, 1, 2, 4)
        >>> occluded(lambda x: x[:, 0, :, 3].sum(1), image, patch=2, stride=2, reference=torch.zeros(1, 1, 2, 4))
        tensor([[[0.0000, 0.0000, 0.5000, 0.5000],
                 [0.0000, 0.0000, 0.5000, 0.5000]]])
    """
    _check(images)
    shorter = min(images.shape[2:])
    patch = max(1, shorter // 4) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= shorter:
        raise ValueError(f"expected patch to be from 1 to {shorter} pixels, got {patch}")
    if not 1 <= stride <= patch:
        raise ValueError(f"expected stride to be from 1 to patch, {patch}, got {stride}")
    images = images.detach()
    base = blurred(images) if reference is None else reference.detach().to(images)
    if base.shape != images.shape:
        raise ValueError(f"expected a reference of shape {tuple(images.shape)}, got {tuple(base.shape)}")
    height, width = images.shape[2:]
    places = [(top, left) for top in _grid(height, patch, stride) for left in _grid(width, patch, stride)]
    maps = torch.zeros(len(images), height, width, dtype=images.dtype, device=images.device)
    for i, (image, fill) in enumerate(zip(images, base, strict=True)):
        changed = image.repeat(len(places), 1, 1, 1)
        for one, (top, left) in zip(changed, places, strict=True):
            one[:, top : top + patch, left : left + patch] = fill[:, top : top + patch, left : left + patch]
        whole, *rest = logits(detector, torch.cat([image[None], changed]), batch_size=batch_size).tolist()
        cover = torch.zeros_like(maps[i])
        for value, (top, left) in zip(rest, places, strict=True):
            maps[i, top : top + patch, left : left + patch] += (whole - value) / patch**2
            cover[top : top + patch, left : left + patch] += 1
        maps[i] /= cover
    return maps


def blurred(images: Tensor, *, sigma: float | None = None) -> Tensor:
    """Return images under a Gaussian blur that leaves their colours and large shapes, the borders repeated.

    Args:
        images: `(N, C, H, W)`.
        sigma: in pixels, above 0; None is an eighth of the shorter side.

    Raises:
        ValueError: where the images are no `(N, C, H, W)`, or sigma is out of range.

    Example:
        >>> blurred(torch.full((1, 1, 4, 4), 0.25)).unique()
        tensor([0.2500])
    """
    _check(images)
    sigma = min(images.shape[2:]) / 8 if sigma is None else sigma
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"expected sigma to be positive and finite, got {sigma}")
    reach = max(1, math.ceil(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = (-(at**2) / (2 * sigma**2)).exp()
    weights = (weights / weights.sum()).to(images)
    channels = images.shape[1]
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    for kernel in (weights.view(1, 1, -1, 1), weights.view(1, 1, 1, -1)):
        padded = functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return padded


def _grid(side: int, patch: int, stride: int) -> list[int]:
    return sorted({*range(0, side - patch + 1, stride), side - patch})


def _check(images: Tensor) -> None:
    if not images.is_floating_point() or images.ndim != 4:
        raise ValueError(f"expected images (N, C, H, W), floating point, got {tuple(images.shape)} {images.dtype}")
