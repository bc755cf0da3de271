"""The draft of a plan as a value, and what changes it: without Streamlit."""

import pytest
from made_up import layer_table

from dashboard.facts.draft import (
    DEFAULT_RATIO,
    MANUAL,
    Draft,
    Ranking,
    as_planned,
    goes_on_by_hand,
    in_effect,
    on_table,
    started_by_hand,
    with_bits,
    with_ranks,
)
from dashboard.facts.planning import hand_from
from tdq_core.errors import InputError
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.choices import POLICIES
from tdq_core.specs.run import defaults, fields

SUBJECT = RunSpec.of("digits_resnet", "digits", samples=100)
RANKS = {"a": (3, 2), "b": (5, 4)}
SHOWN = [f for f in fields() if f.option.label]


def drafted(**options: object) -> Draft:
    return on_table(Draft(subject=SUBJECT, options={"method": "tucker2", **options}), "layers.json")


def test_a_draft_is_the_run_that_it_says() -> None:
    ranking = Ranking(value=1.5, keep_ends=False, sharing={"policy": "later", "depth": 2.0})
    draft = Draft(subject=SUBJECT, options={"method": "cp", "epc": True, "precision": "int8"}, ranking=ranking)
    rule = RankRule("ratio", 1.5, keep_ends=False, policy="later", depth=2.0)
    assert draft.spec() == SUBJECT.changed(method="cp", rule=rule, epc=True, precision="int8")
    assert (draft.method, draft.precision, drafted().precision) == ("cp", "int8", "fp32")
    assert Draft(subject=SUBJECT, options={"method": "none"}).spec() == SUBJECT


def test_going_on_by_hand_starts_from_the_latest_plan_of_the_same_layers_and_method() -> None:
    draft = as_planned(drafted(), RANKS)
    by_hand = goes_on_by_hand(draft)
    assert by_hand.by_hand and by_hand.hand == RANKS and not draft.by_hand and draft.hand is None
    assert by_hand.spec().rule == RankRule(MANUAL, ranks=RANKS)
    for elsewhere in (on_table(draft, "others.json"), Draft(subject=SUBJECT, planned=draft.planned)):
        assert goes_on_by_hand(elsewhere).hand is None


def test_ranks_by_hand_change_one_layer_and_leave_the_others() -> None:
    draft = as_planned(drafted(), RANKS)
    moved = with_ranks(draft, {"a": (1, 1)})
    assert moved.by_hand and moved.hand == {"a": (1, 1), "b": (5, 4)}
    assert with_ranks(moved, {"b": None}).hand == {"a": (1, 1)}
    assert with_ranks(started_by_hand(drafted(), RANKS), {"a": (9, 9)}).hand == {"a": (9, 9)}, "a rule was in force"
    assert as_planned(drafted(), RANKS).planned == draft.planned and draft.hand is None, "nothing was changed in place"


def test_ranks_by_hand_of_another_method_are_kept_apart() -> None:
    first = with_ranks(as_planned(drafted(), RANKS), {})
    other = Draft(subject=SUBJECT, options={"method": "svd"}, table=first.table, hands=first.hands)
    assert other.hand is None and first.hand == RANKS
    both = started_by_hand(other, {"a": (7,)})
    assert both.hand == {"a": (7,)} and both.hands[first.place] == RANKS


def test_bits_by_hand_go_on_from_those_that_were_chosen_and_belong_to_the_network() -> None:
    draft = as_planned(drafted(precision="w4a8", bits="auto"), RANKS, {"a": 6, "b": 3})
    moved = with_bits(draft, {"b": 8})
    assert moved.hand_bits == {"a": 6, "b": 8} and moved.spec().precision.bits == {"a": 6, "b": 8}
    assert with_bits(moved, {"a": 2}).hand_bits == {"a": 2, "b": 8}
    assert draft.hand_bits is None and moved.hands == draft.hands, "nothing was changed in place"
    svd = Draft(subject=SUBJECT, options={**moved.options, "method": "svd"}, bits=moved.bits)
    assert svd.hand_bits == moved.hand_bits, "whatever the method"
    other = Draft(subject=SUBJECT.changed(model="resnet18"), options=moved.options, bits=moved.bits)
    assert other.hand_bits == {} and other.spec().precision.bits == {"*": 4}, "each as the precision has it"
    same = as_planned(drafted(precision="w4a8"), RANKS)
    assert with_bits(same, {"a": 5}).spec().precision.bits == {"a": 5}


def test_no_rank_by_hand_is_a_sentence_of_the_engine() -> None:
    with pytest.raises(InputError, match="at least one layer"):
        with_ranks(as_planned(drafted(), RANKS), {"a": None, "b": None}).spec()


@pytest.mark.parametrize("kind,value", [("ratio", 2.0), ("energy", 0.9), ("vbmf", 1.0), (MANUAL, None)])
@pytest.mark.parametrize("calibrated", [True, False])
def test_the_layers_are_read_on_images_exactly_where_ranks_follow_from_their_outputs(
    kind: str, value: float | None, calibrated: bool
) -> None:
    """With the planned run itself: no stand-in is made to reach a layer table."""
    for policy in POLICIES if kind == "ratio" else (None,):
        ranking = Ranking(kind=kind, value=value, sharing={"policy": policy} if policy else {})
        draft = started_by_hand(drafted(calibrated=calibrated), RANKS)
        draft = Draft(subject=SUBJECT, options=draft.options, ranking=ranking, table=draft.table, hands=draft.hands)
        spectral = kind in ("energy", "vbmf") or policy in ("energy", "vbmf", "global")
        assert ranking.by_spectrum == spectral
        assert draft.read_for() == (draft.spec() if spectral and calibrated else SUBJECT)


def test_a_plan_by_hand_from_a_draft_is_the_plan_that_it_started_from() -> None:
    table = layer_table()
    plan = make_plan(table, "tucker2", RankRule("ratio", DEFAULT_RATIO))
    by_hand = goes_on_by_hand(as_planned(drafted(), hand_from(plan)))
    assert make_plan(table, "tucker2", by_hand.rule()).params == plan.params


def test_what_needs_something_without_effect_has_none_either_whichever_stands_first() -> None:
    chosen = dict(defaults()) | {"method": "svd", "epc": True, "eta": 0.1, "calibrated": True, "symmetric": True,
                                 "precision": "fp16", "ranges": "mse", "solver": "tensorly"}  # fmt: skip
    for order in (SHOWN, SHOWN[::-1]):
        left = in_effect(order, chosen, defaults())
        assert not {"epc", "eta", "granularity", "ranges", "condition", "solver"} & set(left)
        assert left["symmetric"] and left["calibrated"] and left["finetune"] == 0
        dense = in_effect(order, chosen | {"method": "none", "precision": "w4"}, defaults())
        assert set(dense) == {
            "method", "precision", "backend", "granularity", "ranges", "quantization_aware", "bits"
        }  # fmt: skip


@pytest.mark.parametrize("method", ["none", "cp", "svd"])
@pytest.mark.parametrize("precision", ["fp32", "int8", "w4"])
def test_what_is_in_effect_can_be_asked_for(method: str, precision: str) -> None:
    """The page never makes a spec that the engine calls without effect."""
    chosen = dict(defaults()) | {"method": method, "precision": precision, "epc": True, "eta": 0.1, "ranges": "mse",
                                 "calibrated": True, "symmetric": True, "finetune": 9, "granularity": "tensor",
                                 "solver": "tensorly", "reestimate_bn": True, "condition": False}  # fmt: skip
    for calibrated in (True, False):
        options = in_effect(SHOWN, chosen | {"calibrated": calibrated, "epc": calibrated}, defaults())
        spec = Draft(subject=SUBJECT, options=options).spec()
        assert {key: spec.to_flat()[key] for key in options} == options
