"""What Dask runs in a worker: an order's runs, one after the other, in a measuring process beside it. No torch here."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from distributed import get_worker

from tdq_core.sweeps.child import TRIES, Child, Ended
from tdq_core.sweeps.messages import Answer, Ask, Order, Step, order_of, packed, unmeasured
from tdq_core.system import machine
from tdq_core.system.progress import Progress

_CHILDREN = "tdq_measuring"
"""The attribute of a Dask worker that holds its measuring processes: one for each sweep and thread."""


def carry_out(text: str) -> str:
    """Answer an order, each run as soon as it is measured (under the order's topic), and all of them at the end."""
    order, worker = order_of(text), get_worker()
    children, thread = worker.__dict__.setdefault(_CHILDREN, {}), threading.get_ident()
    folder = Path(worker.local_directory) / f"{order.sweep}-{thread}"
    child = children.setdefault((order.sweep, thread), Child(folder))
    answers = []
    for ask in order.asks:

        def on_progress(stage: str, done: int, total: int, run_id: str = ask.run_id) -> None:
            worker.log_event(order.sweep, packed(Step(f"{worker.name}", run_id, stage, done, total)))

        on_progress("start", 0, 0)
        answer = _answered(ask, order, child, on_progress)
        worker.log_event(order.sweep, packed(answer))
        answers.append(answer)
    return msgspec.json.encode(answers).decode()


def _answered(ask: Ask, order: Order, child: Child, on_progress: Progress) -> Answer:
    request = {"sweep": order.sweep, **msgspec.to_builtins(ask), "baselines": order.baselines}
    start = time.monotonic()
    for _ in range(TRIES):
        try:
            said = child.ask(request, timeout=order.timeout, memory=order.memory, on_progress=on_progress)
            break
        except Ended as end:
            reason = f"{end.reason} It was tried {TRIES} times." if end.again else end.reason
            said = {"record": unmeasured(ask, reason, _provenance()).to_json()}
            if not end.again:
                break
    took = round(time.monotonic() - start, 3)
    if complaint := said.get("complaint"):
        return Answer(ask.run_id, "complaint", complaint, took)
    return Answer(ask.run_id, "record", said["record"], took)


def _provenance() -> dict[str, object]:
    return machine.describe() | {"time": datetime.now(UTC).isoformat(timespec="seconds")}


def close_children(sweep: str) -> None:
    """End the measuring processes that this worker keeps for a sweep."""
    children = get_worker().__dict__.get(_CHILDREN, {})
    for key in [key for key in children if key[0] == sweep]:
        children.pop(key).give_up()
