"""Local response normalisation: torch's numbers, in any memory layout, and a true derivative."""

from __future__ import annotations

import pytest
import torch

from methods.parts.local_norm import LocalResponseNorm


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_derivatives_are_those_of_torch(
    channels: int, layout: torch.memory_format
) -> None:
    x = 50 * torch.randn(2, channels, 5, 4, generator=torch.Generator().manual_seed(0))
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for norm in (LocalResponseNorm(), torch.nn.LocalResponseNorm(5)):
        leaf = x.clone(memory_format=layout).requires_grad_()
        y = norm(leaf)
        y.backward(upstream)
        found.append((y.detach(), leaf.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)


def test_derivative_agrees_with_differences() -> None:
    x = 50 * torch.randn(2, 7, 3, 2, dtype=torch.float64, generator=torch.manual_seed(0))
    assert torch.autograd.gradcheck(LocalResponseNorm(), x.requires_grad_())
