"""One subject: its name leads back to it, wherever the images lie, and what cannot work is not offered."""

import pytest
from made_up import four_cells, recipe, record, study
from msgspec.structs import replace

from dashboard.facts.chance import at_chance
from dashboard.facts.groups import group_runs
from dashboard.facts.subject import (
    belongs,
    find_subject,
    name_of,
    not_measured,
    old_name,
    subject_name,
    subjects_of,
    why_not_on,
)
from dashboard.shelf.offers import DataOffer, ModelOffer, Offers
from tdq_core.models.registry import MODELS
from tdq_core.specs import ModelSpec, RunSpec

NAMES = ("digits_resnet", "resnet20_cifar10", "resnet18")
OFFERS = Offers(
    (*(ModelOffer(ModelSpec(name)) for name in NAMES), ModelOffer(ModelSpec("nets.py:make", weights="a/b/own.pt"))),
    (DataOffer("digits"), DataOffer("cifar10-jpeg"), DataOffer("cifar10-jpeg:/here"), DataOffer("folder:/photos")),
)
OFFERED = OFFERS.subjects()


def known(*records):  # type: ignore[no-untyped-def]
    return subjects_of(group_runs(records or four_cells()), OFFERED)


def test_every_subject_has_a_name_of_its_own_that_leads_back_to_it() -> None:
    subjects = known(*four_cells(), record("0", data="2" * 64))
    assert len({s.key for s in subjects}) == len(subjects)
    assert all(find_subject(s.key, subjects, OFFERED) == s for s in subjects)
    twice = [s for s in subjects if s.group]
    assert len(twice) == 2, "one name, two contents: both can be named"
    assert find_subject("digits_resnet@digits", subjects, OFFERED) == max(twice, key=lambda s: len(s.runs))


@pytest.mark.parametrize("count,there", [("100", True), ("2", True), ("1", False), ("0", False), ("01", False),
                                         ("-5", False), ("1e3", False), ("9" * 40, False), ("", False)])  # fmt: skip
def test_so_many_images_of_what_is_offered_can_be_named(count: str, there: bool) -> None:
    found = find_subject(f"resnet20_cifar10@cifar10-jpeg@{count}", known(), OFFERED)
    assert (found is not None) == there
    if found:
        assert found.spec.images.samples == int(count) and found.spec.images.data == "cifar10-jpeg:/here"
        assert not found.runs and subject_name(found.spec) == found.key


@pytest.mark.parametrize("name", ["", "digits_resnet", "resnet20_cifar10@digits", "a.py:make@digits", "@", "x@y@5"])
def test_nothing_else_can_be_named(name: str) -> None:
    assert find_subject(name, known(), OFFERED) is None


def test_a_network_brings_its_own_images() -> None:
    assert all(MODELS[name].images for name in MODELS), "everyone that is registered says which"
    offered = {(s.model.name, s.images.data.partition(":")[0]) for s in OFFERED}
    assert offered == {
        ("digits_resnet", "digits"), ("digits_resnet", "folder"), ("resnet20_cifar10", "cifar10-jpeg"),
        ("resnet20_cifar10", "folder"), ("resnet18", "folder"),
        *(("nets.py:make", kind) for kind in ("digits", "cifar10-jpeg", "folder")),
    }  # fmt: skip
    assert "not for those of digits" in why_not_on(ModelSpec("resnet20_cifar10"), "digits")


@pytest.mark.parametrize(
    "query,name",
    [
        ({}, None),
        ({"model": "resnet20_cifar10"}, "resnet20_cifar10@cifar10-jpeg"),
        ({"model": "digits_resnet"}, "digits_resnet@digits"),
        ({"samples": "50"}, "digits_resnet@digits@50"),
        (
            {"model": "resnet20_cifar10", "data": "cifar10-jpeg:/there", "samples": "50"},
            "resnet20_cifar10@cifar10-jpeg@50",
        ),
        ({"model": "resnet20_cifar10", "data": "digits"}, "resnet20_cifar10@digits"),
        ({"model": "nobody"}, "nobody"),
        ({"network": "resnet18_cifar10"}, "resnet18_cifar10@cifar10-jpeg@1000"),
        ({"network": "../etc"}, "../etc"),
        ({"group": "zzz", "run": "a" * 16}, "zzz"),
        ({"run": "d" * 16}, "digits_resnet@digits"),
        ({"run": "9" * 16}, None),
    ],
)
def test_addresses_of_before_name_the_same_subject(query: dict[str, str], name: str | None) -> None:
    assert old_name(query, known(), OFFERED) == name


def test_the_group_of_an_old_address_is_found_by_its_contents() -> None:
    subjects = known(*four_cells(), record("0", data="2" * 64))
    for subject in (s for s in subjects if s.group):
        assert subject.group and old_name({"group": subject.group.key}, subjects, OFFERED) == subject.key


def test_images_have_the_name_of_their_kind_wherever_they_lie() -> None:
    own = ModelSpec("nets.py:make", weights="a/b/own.pt")
    assert name_of(own, "cifar10-jpeg:/x", 7) == "nets.py:make (own.pt)@cifar10-jpeg@7"
    assert name_of(own, "folder:/x", None) != name_of(own, "folder:/y", None), "folders of one's own are told apart"


def test_a_measured_subject_is_planned_where_its_images_are() -> None:
    runs = [replace(r, spec=r.spec.changed(model="resnet20_cifar10", data="cifar10-jpeg", samples=90))
            for r in four_cells()]  # fmt: skip
    (found,) = (s for s in known(*runs) if s.group)
    assert found.spec.images.data == "cifar10-jpeg:/here" and found.spec.images.samples == 90
    assert OFFERS.why_not(found.spec) and not OFFERS.why_not(found.spec, images=False), "there is no such folder"


def test_what_cannot_work_is_said() -> None:
    assert not OFFERS.why_not(RunSpec.of("digits_resnet", "digits"))
    assert "not for those of digits" in OFFERS.why_not(RunSpec.of("resnet20_cifar10", "digits"))
    assert "weights are not on this machine" in OFFERS.why_not(RunSpec.of("vit_b_16", "folder:/x"))
    assert "not named at the start" in OFFERS.why_not(RunSpec.of("other.py:make", "digits"))
    assert "are not on this machine" in OFFERS.why_not(RunSpec.of("resnet20_cifar10", "cifar10-jpeg:/nowhere"))


def test_a_recipe_or_a_study_belongs_to_one_subject() -> None:
    subject, fewer = known()[0], not_measured(RunSpec.of("digits_resnet", "digits", samples=50))
    report, looked = recipe(), study()
    assert belongs(report.spec, report.digests, subject) and not belongs(report.spec, report.digests, fewer)
    assert belongs(looked.spec, looked.digests, fewer, images=False), "it looks at calibration images"
    assert not belongs(report.spec, {**report.digests, "data": "9" * 64}, subject), "other images of that name"
    assert not belongs(looked.spec, {**looked.digests, "model": "9" * 64}, subject, images=False)
    assert not belongs(report.spec.changed(model="resnet18"), report.digests, subject)


def test_a_network_that_guesses_is_told() -> None:
    good = four_cells()[0]
    assert good.baseline and not at_chance(good.spec, good.baseline) and not at_chance(good.spec, None)
    guess = record("a", right=20)
    assert "it does not know these images" in at_chance(guess.spec, guess.metrics)
    nobody_knows = guess.spec.changed(model="nets.py:make", data="folder:/x")
    assert not at_chance(nobody_knows, guess.metrics)
    assert at_chance(nobody_knows.changed(data="digits"), guess.metrics)
