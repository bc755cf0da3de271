"""Ways to round the factors of CP layers: error of a layer's outputs on patches that no fit has seen, way by way.

    python -m benchmarks.low_bits_ways --model resnet20_cifar10 --weights FILE --data folder:TEST --calib folder:CALIB

Without arguments the embedded model. Weights alone are rounded; inputs are those of the network in floats.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import moments
from tdq_core.compression.calibrate.sample import Sample
from tdq_core.compression.condition.chain import Chain
from tdq_core.compression.quantize.aware.feedback import round_with_feedback
from tdq_core.compression.quantize.aware.inner_chains import InnerChain, inner_chains
from tdq_core.compression.quantize.aware.quadratic import RIDGE, Quadratic, quadratic
from tdq_core.compression.quantize.aware.whole_layer import round_inner
from tdq_core.compression.quantize.fold import folded
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.compression.quantize.weight_grid import round_weight
from tdq_core.graph.modules import plain_layers
from tdq_core.graph.observe import Call
from tdq_core.pipeline.build import Clock, Work, compress
from tdq_core.pipeline.session import Session
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.progress import silent

LAYERS = 3
SEEN = 0.75
"""Share of the sampled patches that fits look at."""
One = Callable[[Quadratic, Tensor, Scheme], Tensor]
Data = tuple[Tensor, Tensor]
"""Patches (n, C_in K) and outputs (n, C_out)."""


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    model, example, images = _decomposed(options)
    chains, data = _data(model, example, images)
    names = [chain.names[0].rpartition(".")[0] for chain in chains]
    print(f"| bits | way | {' | '.join(f'`{name}`' for name in names)} |\n|---|---|{'---|' * len(chains)}")
    for bits in options.bits:
        for text, way in WAYS.items():
            cells = [f"{way(chain, *each, Scheme(bits, None)):.3f}" for chain, each in zip(chains, data, strict=True)]
            print(f"| {bits} | {text} | {' | '.join(cells)} |", flush=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.low_bits_ways", description=__doc__)
    parser.add_argument("--model", default="digits_resnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--calib")
    parser.add_argument("--weights")
    parser.add_argument("--kept", type=float, default=0.6)
    parser.add_argument("--bits", nargs="+", type=int, default=(4, 3))
    return parser.parse_args(list(arguments))


def _decomposed(options: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor]:
    """The network in CP + EPC, calibrated and balanced for W4A8, batch norms folded; images."""
    spec = RunSpec.of(
        options.model, options.data, calib=options.calib, weights=options.weights, method="cp", epc=True,
        calibrated=True, rule=RankRule("ratio", 1 / options.kept), precision="w4a8", quantization_aware=True,
    )  # fmt: skip
    session = Session()
    inputs = session.open(spec)
    plan = make_plan(inputs.table(spectra=False), spec.method, spec.rule)
    made, *_ = compress(Work(inputs, plan, session, Clock(), silent), Scheme(4, 8))
    images = torch.cat(list(inputs.calibration()))[:256]
    return folded(made.module, inputs.example())[0], inputs.example(), images


def _data(model: nn.Module, example: Tensor, images: Tensor) -> tuple[list[InnerChain], list[tuple[Data, Data]]]:
    """Of layers spread over the depth: what they see and make, to fit on and to measure on."""
    layers = plain_layers(model)
    every = list(inner_chains(model, layers, dict.fromkeys(layers, Scheme(4, None))).values())
    spread = torch.linspace(0, len(every) - 1, LAYERS).round().int().unique().tolist()
    chains = {every[at].names[0]: every[at] for at in spread}
    lasts = {chain.last: first for first, chain in chains.items()}
    sample = Sample.of(model, [*chains, *lasts], images[:1], len(images))
    rows: dict[str, dict[str, Tensor]] = {"patches": {}, "outputs": {}}

    def keep(call: Call) -> None:
        if chain := chains.get(call.name):
            rows["patches"][call.name] = sample.inputs(chain.last, call.index, call.input, of=chain.dense)
        else:
            rows["outputs"][lasts[call.name]] = sample.outputs(call)

    sample.show(model, lambda: [images], keep, after=lambda _: None)
    data = []
    for first in chains:
        patches, outputs = rows["patches"][first], rows["outputs"][first]
        cut = int(SEEN * len(patches))
        data.append(((patches[:cut], outputs[:cut]), (patches[cut:], outputs[cut:])))
    return list(chains.values()), data


def _each_by_itself(one: One) -> Callable[[InnerChain, Data, Data, Scheme], float]:
    """Factors rounded one after another: to what each makes in floats, of what the rounded ones before it send."""

    def way(chain: InnerChain, seen: Data, unseen: Data, scheme: Scheme) -> float:
        first, middle, last = (stage.float().flatten(1) for stage in chain.chain.stages)
        (patches, outputs), shape = seen, (-1, first.shape[1], middle.shape[1])
        centre = patches.view(shape)[:, :, shape[2] // 2].contiguous()
        rounded = _rounded(one, centre, centre @ first.T, first, 1, scheme, centred=False)
        sent, meant = (torch.einsum("mck,rc->mrk", patches.view(shape), f) for f in (rounded, first))
        inner = _rounded(one, sent.flatten(1), (meant * middle).sum(2), middle, len(middle), scheme, centred=False)
        outer = _rounded(one, (sent * inner).sum(2), outputs, last, 1, scheme, centred=True)
        return _missed(torch.einsum("or,rc,rk->ock", outer, rounded, inner).flatten(1), seen, unseen)

    return way


def _rounded(
    one: One, rows: Tensor, wanted: Tensor, weight: Tensor, groups: int, scheme: Scheme, *, centred: bool
) -> Tensor:
    error, _ = quadratic(rows, wanted, weight, groups, centred=centred, name="it")
    return one(error, weight, scheme).float().reshape(weight.shape)


def _whole(turns: int) -> Callable[[InnerChain, Data, Data, Scheme], float]:
    def way(chain: InnerChain, seen: Data, unseen: Data, scheme: Scheme) -> float:
        kernel = chain.chain.merged().view(chain.dense.weight.shape)
        found = round_inner(chain.chain, [moments(*seen, kernel, ridge=RIDGE)], [scheme] * 3, turns=turns)
        stages = [each.to_weight().view_as(s) for each, s in zip(found, chain.chain.stages, strict=True)]
        return _missed(Chain(tuple(stages), chain.chain.gain).merged().flatten(1).float(), seen, unseen)

    return way


def _missed(weight: Tensor, seen: Data, unseen: Data) -> float:
    """Relative root mean square error on `unseen`, the bias being that of `seen`."""
    bias = (seen[1] - seen[0] @ weight.T).mean(0)
    off, spread = unseen[0] @ weight.T + bias - unseen[1], unseen[1] - unseen[1].mean(0)
    return float(off.square().sum() / spread.square().sum()) ** 0.5


def _as_it_is(error: Quadratic, weight: Tensor) -> Quadratic:
    return Quadratic(error.hessian, weight.double().view_as(error.best))


WAYS: dict[str, Callable[[InnerChain, Data, Data, Scheme], float]] = {
    "nearest points": _each_by_itself(lambda e, w, s: round_weight(w, s).to_weight()),
    "nearest points, ranges of least squared error": _each_by_itself(
        lambda e, w, s: round_weight(w, Scheme(s.weight_bits, None, ranges="mse")).to_weight()
    ),
    "feedback and descent": _each_by_itself(lambda e, w, s: round_with_feedback(_as_it_is(e, w), s).to_weight()),
    "refitted, feedback and descent": _each_by_itself(lambda e, w, s: round_with_feedback(e, s).to_weight()),
    "in the metric of the whole layer": _whole(0),
    "the same, taking turns": _whole(5),
}

if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
