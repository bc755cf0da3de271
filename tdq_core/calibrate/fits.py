"""Factors of least error in the metric of a layer's moments."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from tdq_core.calibrate.conjugate import by_both_sides, descend
from tdq_core.calibrate.moments import Moments
from tdq_core.decompose.cp import Cp, equal_norms
from tdq_core.decompose.svd import Svd
from tdq_core.decompose.tucker2 import Tucker2

SWEEPS, TOL, STEPS = 12, 1e-4, 10


def solve(matrix: Tensor, wanted: Tensor) -> Tensor:
    """`wanted` matrix^-1 of a symmetric positive `matrix`."""
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        return wanted @ torch.linalg.pinv(matrix, hermitian=True)
    return torch.cholesky_solve(wanted.T, lower).T


def reduced_rank(inputs: Tensor, cross: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """out (C_out, rank) orthonormal and inner (rank, n) of least E |y - out inner x|^2: reduced-rank regression."""
    full = solve(inputs, cross)  # (C_out, n), the best without a bound on the rank
    _, vectors = torch.linalg.eigh(full @ cross.T)
    out = vectors[:, -rank:].flip(1)
    if rank > out.shape[1]:
        out = torch.nn.functional.pad(out, (0, rank - out.shape[1]))
    return out, out.T @ full


def fit_svd(seen: Moments, rank: int) -> Svd:
    out, inner = reduced_rank(seen.inputs, seen.cross, rank)
    return Svd(out, inner.reshape(rank, *seen.kernel))


def _by_channel(seen: Moments) -> tuple[Tensor, Tensor, Tensor]:
    channels, taps = seen.kernel[0], math.prod(seen.kernel[1:])
    blocks = seen.inputs.view(channels, taps, channels, taps)
    between = blocks.diagonal(dim1=1, dim2=3).mean(-1)
    within = blocks.diagonal(dim1=0, dim2=2).mean(-1)
    return blocks, between, within / within.diagonal().mean().clamp_min(1e-30)


def input_basis(seen: Moments, rank: int) -> Tensor:
    channels = seen.kernel[0]
    _, between, _ = _by_channel(seen)
    values, vectors = torch.linalg.eigh(between)
    root = vectors * values.clamp_min(1e-12 * float(values[-1])).sqrt()
    full = solve(seen.inputs, seen.cross).view(len(seen.cross), channels, -1)
    seenby = torch.einsum("oik,ij->jok", full, root).flatten(1)
    _, left = torch.linalg.eigh(seenby @ seenby.T)
    inverse = vectors / values.clamp_min(1e-12 * float(values[-1])).sqrt()
    return torch.linalg.qr(inverse @ left[:, -rank:].flip(1)).Q


def fit_tucker2(seen: Moments, rank_out: int, rank_in: int, *, sweeps: int = SWEEPS, tol: float = TOL) -> Tucker2:
    channels, taps = seen.kernel[0], math.prod(seen.kernel[1:])
    in_ = input_basis(seen, rank_in)
    blocks, between, within = _by_channel(seen)
    cross = seen.cross.view(-1, channels, taps)
    errors = []

    def outer(in_):
        left = torch.einsum("iq,ikjl->qkjl", in_, blocks)
        inputs = torch.einsum("qkjl,js->qksl", left, in_).reshape(rank_in * taps, rank_in * taps)
        reduced = torch.einsum("oik,iq->oqk", cross, in_).flatten(1)
        out, inner = reduced_rank(inputs, reduced, rank_out)
        missed = seen.square - float((out.T @ reduced * inner).sum())
        errors.append(math.sqrt(max(missed, 0.0) / seen.square))
        return out, inner.view(rank_out, rank_in, taps)

    out, core = outer(in_)
    for _ in range(sweeps):
        projected = torch.einsum("op,oik->pik", out, cross)
        wanted = torch.einsum("pik,pqk->iq", projected, core)

        def apply(x, core=core):
            inner = torch.einsum("pqk,iq->pik", core, x).flatten(1)
            return torch.einsum("pik,pqk->iq", (inner @ seen.inputs).view(rank_out, channels, taps), core)

        gram = torch.einsum("pqk,kl,psl->qs", core, within, core)
        in_ = descend(apply, wanted, in_, by_both_sides(between, gram), steps=STEPS)
        in_ = torch.linalg.qr(in_).Q
        out, core = outer(in_)
        if errors[-2] - errors[-1] < tol:
            break
    return Tucker2(core.reshape(rank_out, rank_in, *seen.kernel[1:]), out, in_, tuple(errors))


def fit_cp(seen: Moments, start: Cp, *, penalty: float = 0.0, sweeps: int = SWEEPS, tol: float = TOL) -> Cp:
    channels, taps = seen.kernel[0], math.prod(seen.kernel[1:])
    out, in_, sp = equal_norms([start.out.double(), start.in_.double(), start.spatial.double()])
    blocks, between, within = _by_channel(seen)
    cross = seen.cross.view(-1, channels, taps)
    o = len(cross)
    norm = math.sqrt(seen.square)
    errors, objective = [], []
    mu = 0.0

    def sens(a, b, c):
        aa, bb, cc = (f.square().sum(0) for f in (a, b, c))
        return float((o * bb * cc + channels * aa * cc + taps * aa * bb).sum())

    mu = penalty * seen.square / sens(out, in_, sp) if penalty else 0.0

    for _ in range(sweeps):
        # out
        z = (in_[:, None, :] * sp[None]).flatten(0, 1)
        cz = seen.inputs @ z
        w = channels * sp.square().sum(0) + taps * in_.square().sum(0)
        gram = z.T @ cz
        product = seen.cross @ z
        damp = gram + mu * w.diag()
        damp.diagonal().add_(1e-10 * float(gram.diagonal().mean()))
        out = solve(damp, product)
        # in
        gout = out.T @ out
        oc = torch.einsum("or,oik->rik", out, cross)
        w = o * sp.square().sum(0) + taps * out.square().sum(0)

        def apply_in(x, sp=sp, gout=gout, w=w):
            z = (x[:, None, :] * sp[None]).flatten(0, 1)
            y = (seen.inputs @ z) @ gout
            return (y.view(channels, taps, -1) * sp[None]).sum(1) + mu * w * x

        wanted = torch.einsum("rik,kr->ir", oc, sp)
        gram = gout * (sp.T @ within @ sp)
        gram = gram + (mu * w / between.diagonal().mean()).diag()
        in_ = descend(apply_in, wanted, in_, by_both_sides(between, gram), steps=STEPS)
        w = o * in_.square().sum(0) + channels * out.square().sum(0)

        def apply_sp(x, in_=in_, gout=gout, w=w):
            z = (in_[:, None, :] * x[None]).flatten(0, 1)
            y = (seen.inputs @ z) @ gout
            return (y.view(channels, taps, -1) * in_[:, None, :]).sum(0) + mu * w * x

        wanted = torch.einsum("rik,ir->kr", oc, in_)
        gram = gout * (in_.T @ between @ in_) + (mu * w).diag()
        sp = descend(apply_sp, wanted, sp, by_both_sides(within, gram), steps=STEPS)
        full = torch.einsum("or,ir,kr->oik", out, in_, sp).flatten(1)
        missed = seen.square - 2 * float((full * seen.cross).sum()) + float((full @ seen.inputs * full).sum())
        errors.append(math.sqrt(max(missed, 0.0) / seen.square))
        objective.append(missed + mu * sens(out, in_, sp))
        out, in_, sp = spread3(out, in_, sp)
        if len(objective) > 1 and objective[-2] - objective[-1] < tol * objective[-1]:
            break
    out, in_, sp = equal_norms([out, in_, sp])
    return replace(start, out=out, in_=in_, spatial=sp, errors=tuple(errors))


def spread3(a, b, c):
    from tdq_core.decompose.epc import _spread

    return _spread([a, b, c])
