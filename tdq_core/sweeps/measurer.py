"""The process that measures, `python -m tdq_core.sweeps.measurer`: runs come on stdin, progress and records go to
stdout.

A process of its own can be ended when a run takes too long or too much memory, and what crashes in it harms nobody
else. It keeps what runs of one sweep share; it ends when its stdin closes, whatever it is at, and when nobody asks for
long.
"""

import contextlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

from tdq_core.errors import TDQError
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec

IDLE_S = 120.0
"""Nobody has asked for so long: whoever did has gone."""
_EVENT_EVERY_S = 0.5


class Measurer:
    """Measures runs of one sweep, each with what those before it have found."""

    def __init__(self, channel: IO[str], folder: Path) -> None:
        from tdq_core.pipeline.session import Session

        self.channel = channel
        self.store = RunStore(folder)
        self.session = Session()
        self.told = 0.0

    def measure(self, asked: dict[str, Any]) -> dict[str, str]:
        """The answer to one request: its 'record', or a 'complaint' where nothing was measured."""
        from tdq_core.pipeline.run import run_opened

        for baseline in asked["baselines"]:
            self.store.put(RunRecord.from_dict(json.loads(baseline)))
        try:
            inputs = self.session.open(RunSpec.from_dict(asked["spec"]), on_progress=self.tell)
            if found := _differences(asked["digests"], inputs.digests):
                return {"complaint": found}
            if inputs.run_id != asked["run_id"]:
                return {"complaint": "This worker names the run otherwise: it has another version of TDQ."}
            outcome = run_opened(inputs, store=self.store, session=self.session, on_progress=self.tell)
        except TDQError as error:
            return {"complaint": str(error)}
        return {"record": outcome.record.to_json()}

    def tell(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - self.told >= _EVENT_EVERY_S:
            self.told = now
            self.send({"stage": stage, "done": done, "total": total})

    def send(self, message: dict[str, Any]) -> None:
        self.channel.write(json.dumps(message) + "\n")
        self.channel.flush()


_WHAT = {"model": "weights or code", "data": "images", "calib": "calibration images"}


def _differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """A sentence where what lies on this machine is not what the client looks at."""
    differ = [role for role in sorted({*expected, *found}) if expected.get(role) != found.get(role)]
    if not differ:
        return ""
    parts = [
        f"{_WHAT.get(role, role)} {found.get(role, 'none')[:12]} instead of {expected.get(role, 'none')[:12]}"
        for role in differ
    ]
    return (
        f"This worker finds other contents under the same names ({'; '.join(parts)}): put the same files there, and "
        "the same version of TDQ."
    )


def _lines(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # whoever asked is gone: nobody wants what is being measured


def main() -> None:
    """Answer requests until nobody asks any more."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what models print is no answer
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_lines, args=(requests,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="tdq-sweep-") as folder:
        measurer, sweep = None, ""
        while True:
            with contextlib.suppress(queue.Empty):
                asked = json.loads(requests.get(timeout=IDLE_S))
                if measurer is None or asked["sweep"] != sweep:
                    measurer, sweep = Measurer(channel, Path(folder)), asked["sweep"]
                measurer.send(measurer.measure(asked))
                continue
            return


if __name__ == "__main__":
    main()
