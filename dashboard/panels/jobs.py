"""What is being measured now: progress, cancel, and the outcome. Finds work again after a refresh or a restart.

Nobody is asked who they are: every visitor sees every job, and may cancel it.
"""

from typing import Any

import streamlit as st

from dashboard.facts.chance import at_chance
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import show
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.errors import TDQError
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Job, JobState
from tdq_core.jobs.swept import MEASURED
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec
from tdq_core.specs.formats import FORMATS

EVERY_S, OTHERS_EVERY_S = 1.0, 3.0
"""How often a page asks how jobs stand: its own, and those of others alone."""


def watched() -> list[Job]:
    """Jobs that this page shows: its own until their outcome was told, and others' as long as they are active. What is
    active when a visit begins counts as its own, for it may be what this very visitor has left."""
    active = [job.id for job in jobs.running()]
    own: list[str] = st.session_state.setdefault("jobs", list(active))
    return [Job(jobs.jobs_folder() / job_id) for job_id in dict.fromkeys([*own, *active])]


def _is_own(job: Job) -> bool:
    return job.id in st.session_state.get("jobs", ())


def submit(request: jobs.Request) -> None:
    """Start a job and follow it; what an earlier job left on the page goes away."""
    st.session_state["outcome"] = None
    own: list[str] = st.session_state.setdefault("jobs", [])
    try:
        job = jobs.submit(request)  # or the one that is at work on the same already
        if job.id not in own:
            own.append(job.id)
    except TDQError as error:
        st.session_state["outcome"] = JobState("failed", reason=str(error))


def start_button(label: str, spec: RunSpec, offers: Offers, *, images: bool = True, **button: Any) -> bool:
    """A button that starts a job on `spec`; where that cannot work here it cannot be pressed, and says why beside it.
    `images`: whether the job looks at any; `button`: what `st.button` takes."""
    why_not = offers.why_not(spec, images=images)
    pressed: bool = st.button(label, **{**button, "disabled": bool(why_not) or button.get("disabled", False)})
    if why_not:
        st.caption(f":material/block: {plain(why_not)}")
    return pressed


def job_panel(runs: Runs) -> None:
    """Outcome of the latest own job, and progress of all that are under way; asks again while there is one. The page is
    drawn anew when an own one has come to something: others' runs are seen at the next look."""
    _outcome(runs)
    if found := watched():
        st.fragment(_progress, run_every=EVERY_S if any(map(_is_own, found)) else OTHERS_EVERY_S)(found)


def _progress(found: list[Job]) -> None:
    ended = False
    for job in found:
        state = jobs.poll(job)
        if state.active:
            _bar(job, state)
            ended |= _is_own(job) and _came(job, state)
        elif _is_own(job):
            ended = True
            _tell(job, state)
    if ended:
        st.rerun()


def _came(job: Job, state: JobState) -> bool:
    """Whether a sweep has measured more runs since the last look: charts show them as they come."""
    if state.stage != MEASURED:
        return False
    before: int = st.session_state.get(f"came-{job.id}", 0)
    st.session_state[f"came-{job.id}"] = state.done
    return state.done > before


def _bar(job: Job, state: JobState) -> None:
    with st.container(border=True):
        label, button = st.columns([5, 1], vertical_alignment="center")
        label.markdown(_what(job))
        button.button("Cancel", key=f"cancel-{job.id}", icon=":material/stop_circle:", on_click=_cancel, args=(job,))
        st.progress(_share(state), text=_line(state))


def _what(job: Job) -> str:
    """What it is about, in Markdown."""
    try:
        request = job.request
    except TDQError as error:
        return plain(error)
    what = {"layers": "Reading the layers", "components": "Looking into the components",
            "sensitivity": "Measuring what each layer does to the answers",
            "layer_times": "Timing each layer in every form"}.get(request.kind)  # fmt: skip
    if request.kind == "run":
        what = text.treatment(request.spec)
    if request.kind == "sweep":
        what = f"Measuring a curve of {text.treatment(request.spec)} and others like it"
    if request.kind == "bench":
        what = f"Timing {text.treatment(request.spec)}"
    if request.kind == "export":
        what = f"Writing {text.treatment(request.spec)} as {FORMATS[request.format].label}"
    if request.kind == "recipe":
        what = f"Looking for a recipe that meets {plain(request.target)}"
    return f"**{what}** ({plain(request.spec.model.name)}, {plain(request.spec.images.data)})"


def _share(state: JobState) -> float:
    return min(1.0, state.done / state.total) if state.total else 0.0


def _line(state: JobState) -> str:
    if state.state == "queued":
        return "Waiting for its turn: another run is at work."
    stage = "starting the engine" if state.stage == "start" else plain(state.stage)
    done = f" {state.done:,} of {state.total:,}" if state.total else ""
    return f"{stage}{done}, {text.seconds(state.elapsed)} so far"


def _tell(job: Job, state: JobState) -> None:
    """Keep how it ended for the next rerun, and turn to its run."""
    st.session_state["jobs"].remove(job.id)
    st.session_state["outcome"] = state
    if state.made:
        show(state.made)


def _cancel(job: Job) -> None:
    """Anybody's: who can open the page may end what is at work on it."""
    try:
        jobs.cancel(job)
    except TDQError as error:
        st.session_state["outcome"] = JobState("failed", reason=str(error))


def _outcome(runs: Runs) -> None:
    state: JobState | None = st.session_state.get("outcome")
    if state is None:
        return
    record = runs.get(state.made.id) if state.made else None
    if state.state == "cancelled":
        st.info(
            "Cancelled: nothing was recorded. A run with fine-tuning goes on where it was when it is asked for again.",
            icon=":material/stop_circle:",
        )
    elif state.state != "done":
        st.error(plain(text.on_screen(state.reason or "The run failed.")), icon=":material/error:")
    elif record and record.state != "complete":
        st.error(plain(text.on_screen(record.reason or "The run failed.")), icon=":material/error:")
    else:
        _success(state, record)


def _success(state: JobState, record: RunRecord | None) -> None:
    how = "Measured before, nothing was run again" if state.reused else f"Done in {text.seconds(state.elapsed)}"
    icon = ":material/history:" if state.reused else ":material/check_circle:"
    if state.reason:
        st.warning(plain(text.on_screen(state.reason)), icon=":material/block:")
    if record is None or record.metrics is None:
        st.success(f"{how}.", icon=icon)
        return
    if warning := at_chance(record.spec, record.baseline):
        st.warning(f"{how}. {plain(warning)}", icon=":material/casino:")
        return
    drop, low, high = record.drop()
    st.success(
        f"{how}: drop {text.points(drop)} points {text.interval(low, high)}, {text.file_size(record.metrics.bytes)} "
        f"({text.both_ways(record.bytes_ratio())}). The orange ring in the chart marks it.",
        icon=icon,
    )
