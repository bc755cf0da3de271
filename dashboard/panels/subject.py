"""The subject: which network, with which weights, on which images. It is chosen here and nowhere else."""

from collections.abc import Sequence

import streamlit as st

from dashboard.facts.subject import (
    DEPENDENT,
    LEAST_IMAGES,
    Subject,
    find_subject,
    images_name,
    model_name,
    name_of,
    old_name,
)
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import address_speaks, forget, has_moved, record_choice, tell, to_address
from dashboard.words.markup import plain
from tdq_core.specs import RunSpec

KEY = "subject"
OLD = ("group", "network", "model", "data", "samples")
"""What named it in addresses of before."""
_WHOLE = "all"


def current_subject(known: Sequence[Subject], offers: Offers) -> Subject:
    """What the address names, else what was chosen in this session, else the first; nothing is drawn."""
    offered = offers.subjects()
    for key, text in _asked(known, offered):
        if found := find_subject(text, known, offered):
            if st.session_state.get(KEY) != found.key:
                for dependent in DEPENDENT:  # the address alone says what of the new one is shown
                    st.session_state.pop(dependent, None)
            st.session_state[KEY] = found.key
            to_address(KEY, found.key, None)
            break
        tell(key, text)
    for key in OLD:
        to_address(key, None, None)
    held = find_subject(st.session_state.get(KEY, ""), known, offered) or known[0]
    st.session_state[KEY] = held.key
    return held


def _asked(known: Sequence[Subject], offered: Sequence[RunSpec]) -> list[tuple[str, str]]:
    """(key, name) of the subject that the address names, where it has changed since this page was left."""
    query = dict(st.query_params)
    if not address_speaks():
        return []
    if query.get(KEY):
        return [(KEY, query[KEY])] if has_moved(KEY) else []
    old = old_name(query, known, offered)
    said = next((key for key in (*OLD, "run") if query.get(key)), KEY)
    return [(said, old)] if old else []


def choose_subject(subject: Subject, known: Sequence[Subject], offers: Offers) -> None:
    """The list of subjects, and other images of the same network."""
    labels = {s.key: s.label for s in known} | {subject.key: subject.label}
    left, right = st.columns([5, 1], vertical_alignment="bottom", gap="small")
    left.selectbox(
        "Network and images", list(labels), format_func=labels.__getitem__, label_visibility="collapsed",
        on_change=_other_subject, **record_choice(KEY, list(labels)),
    )  # fmt: skip
    with right.popover("Other", icon=":material/image_search:", help="Other images, fewer or more of them"):
        _other_images(subject, offers)
        _about_the_others(offers)


def _other_subject() -> None:
    forget(*DEPENDENT)


def _other_images(subject: Subject, offers: Offers) -> None:
    """The same network on other images that it was made for, or on fewer or more of them."""
    refs = [spec.images.data for spec in offers.subjects() if spec.model == subject.spec.model]
    names = list(dict.fromkeys(images_name(ref) for ref in refs))
    if not names:
        st.caption(plain(offers.why_not(subject.spec)))
        return
    st.markdown(f"**{plain(model_name(subject.spec.model))} on**")
    here = images_name(subject.spec.images.data)
    data = st.selectbox("Images", names, index=names.index(here) if here in names else 0, key=f"images-{subject.key}")
    own = f"count-{subject.key}"
    st.session_state.setdefault(own, subject.spec.images.samples)  # with a default of its own a box cannot be emptied
    count = st.number_input(
        "Number of images", LEAST_IMAGES, None, value=None, step=100, placeholder=_WHOLE,
        help="A seeded, class-balanced subset; empty: all of them.", key=own,
    )  # fmt: skip
    st.button(
        "Look at these", icon=":material/arrow_forward:", on_click=_take,
        args=(name_of(subject.spec.model, data, int(count) if count else None),),
    )  # fmt: skip


def _take(key: str) -> None:
    st.session_state[KEY] = key
    _other_subject()


def _about_the_others(offers: Offers) -> None:
    st.markdown(
        "Only what was at hand when the server started can be chosen. Name more after `--`:\n\n"
        "```bash\ntdq dashboard -- \\\n"
        "  --model NAME --weights FILE \\\n  --data folder:DIR\n```\n"
        "`--model` also takes `path/to/file.py:factory`; `--weights random` is for cost studies."
    )
    if offers.without_weights:
        st.caption(f"Known, but their weights are not here: {', '.join(offers.without_weights)}.")
