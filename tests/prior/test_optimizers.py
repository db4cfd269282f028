"""Muon against explicit computations, and who gets which optimiser."""

import math

import pytest
import torch
from torch import nn

from napari_dip.prior.architecture import Architecture
from napari_dip.prior.optimizers import NEWTON_SCHULZ, Muon, make, orthogonalize
from napari_dip.prior.problem import Optimization
from napari_dip.prior.stopping import Iterations


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (20, 20)], ids=str)
def test_singular_values_end_near_one(shape, random):
    matrices = torch.randn((5, *shape), generator=random)
    singular = torch.linalg.svdvals(orthogonalize(matrices))
    assert singular.min() > 0.6
    assert singular.max() < 1.3


@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
def test_the_scale_of_a_matrix_does_not_matter(scale, random):
    matrices = torch.randn((2, 8, 30), generator=random)
    one, scaled = orthogonalize(matrices), orthogonalize(matrices * scale)
    torch.testing.assert_close(one, scaled, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
def test_singular_vectors_are_kept(shape, random):
    (matrix,) = torch.randn((1, *shape), generator=random)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    (found,) = orthogonalize(matrix[None])
    # Between its own singular vectors nearly diagonal, and nothing beside them.
    inner = left.T @ found @ right.T
    assert (inner - inner.diag().diag()).abs().max() < 0.1
    assert inner.diag().min() > 0.6
    assert (found - left @ inner @ right).abs().max() < 0.03
    aligned = (found * (left @ right)).sum() / (found.norm() * (left @ right).norm())
    assert aligned > 0.97


def test_matrices_of_a_batch_do_not_mix(random):
    matrices = torch.randn((3, 6, 20), generator=random)
    apart = torch.cat([orthogonalize(m[None]) for m in matrices])
    torch.testing.assert_close(orthogonalize(matrices), apart, rtol=0, atol=1e-4)


@pytest.mark.parametrize("weakest", [1, 1e-3, 1e-6])
def test_matrices_are_those_of_the_iteration_in_float64(weakest, random):
    matrices = torch.randn((3, 12, 40), generator=random)
    matrices *= torch.logspace(0, math.log10(weakest), 12)[:, None]
    x = matrices.double()
    x = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(NEWTON_SCHULZ):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    found = orthogonalize(matrices)
    torch.testing.assert_close(found, x.float(), rtol=0, atol=1e-3)
    assert found.dtype == torch.float32


def test_a_zero_matrix_stays_zero():
    assert torch.equal(orthogonalize(torch.zeros(1, 3, 9)), torch.zeros(1, 3, 9))


@pytest.mark.parametrize("shape", [(6, 9, 3, 3), (80, 4, 3, 3), (4, 5, 3, 3, 3)])
def test_steps_of_one_kernel_are_the_formula(shape, random):
    kernel = nn.Parameter(torch.randn(shape, generator=random))
    muon = Muon([kernel], lr=0.02, momentum=0.9)
    value, buffer = kernel.detach().clone(), torch.zeros(shape)
    rows, columns = shape[0], kernel[0].numel()
    for _ in range(3):
        grad = torch.randn(shape, generator=random)
        kernel.grad = grad.clone()
        muon.step()
        buffer = 0.9 * buffer + 0.1 * grad
        nesterov = 0.1 * grad + 0.9 * buffer
        (update,) = orthogonalize(nesterov.reshape(1, rows, columns))
        scale = max(1, rows / columns) ** 0.5
        value = value - 0.02 * scale * update.reshape(shape)
        torch.testing.assert_close(kernel.detach(), value, rtol=0, atol=2e-3 * 0.02)
        assert torch.equal(kernel.grad, grad)


def test_kernels_of_one_shape_step_as_if_alone(random):
    grads = torch.randn((2, 6, 9, 3, 3), generator=random)

    def after(together):
        kernels = [nn.Parameter(torch.zeros(6, 9, 3, 3)) for _ in range(2)]
        for kernel, grad in zip(kernels, grads, strict=True):
            kernel.grad = grad.clone()
        for group in [kernels] if together else [[k] for k in kernels]:
            Muon(group, lr=1.0).step()
        return torch.stack(kernels).detach()

    torch.testing.assert_close(after(True), after(False), rtol=0, atol=1e-4)


def test_muon_skips_kernels_without_gradient_and_calls_its_closure(random):
    kernels = [nn.Parameter(torch.ones(2, 9, 3, 3)) for _ in range(2)]
    kernels[0].grad = torch.randn((2, 9, 3, 3), generator=random)
    assert Muon(kernels, lr=0.1).step(lambda: 42) == 42
    assert not torch.equal(kernels[0], torch.ones(2, 9, 3, 3))
    assert torch.equal(kernels[1], torch.ones(2, 9, 3, 3))


def test_muon_takes_its_rate_from_a_tensor(random):
    moved = []
    for rate in (0.5, torch.tensor(0.5)):
        kernel = nn.Parameter(torch.zeros(4, 9, 3, 3))
        kernel.grad = torch.ones(4, 9, 3, 3)
        Muon([kernel], lr=rate).step()
        moved.append(kernel.detach())
    assert torch.equal(*moved)
    assert moved[0].abs().max() > 0


def chosen(optimizer, learning_rate):
    return Optimization(Iterations(1), optimizer, learning_rate)


@pytest.fixture
def network(random):
    return Architecture.uniform(16, 2, skip=3).build(8, 1, (32, 32), random)


def test_large_kernels_go_to_muon_and_the_rest_to_adam(network):
    muon, adam = make(network, chosen("muon", 0.03), on_gpu=False)
    assert isinstance(muon, Muon)
    assert isinstance(adam, torch.optim.Adam)
    kernels = {id(p) for p in muon.param_groups[0]["params"]}
    others = {id(p) for p in adam.param_groups[0]["params"]}
    assert kernels.isdisjoint(others)
    assert kernels | others == {id(p) for p in network.parameters()}
    for p in network.parameters():
        assert (id(p) in kernels) == (p.ndim == 4 and p[0].numel() > 64)
    assert muon.param_groups[0]["lr"] == 0.03
    assert adam.param_groups[0]["lr"] == 0.01


def test_adam_takes_all_parameters_at_its_rate(network):
    (adam,) = make(network, chosen("adam", 0.007), on_gpu=False)
    assert isinstance(adam, torch.optim.Adam)
    assert len(adam.param_groups[0]["params"]) == len(list(network.parameters()))
    assert adam.param_groups[0]["lr"] == 0.007
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)
    assert adam.param_groups[0]["weight_decay"] == 0


def test_frozen_parameters_go_to_none(network):
    network.head.weight.requires_grad_(False)
    for kind in ("adam", "muon"):
        for optimizer in make(network, chosen(kind, 0.01), on_gpu=False):
            for p in optimizer.param_groups[0]["params"]:
                assert p is not network.head.weight


def test_a_network_of_small_kernels_only_has_one_optimiser(random):
    network = Architecture.uniform(3, 2).build(4, 1, (32, 32), random)
    (adam,) = make(network, chosen("muon", 0.03), on_gpu=False)
    assert isinstance(adam, torch.optim.Adam)
