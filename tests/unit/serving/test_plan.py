"""What a version of the catalogue serves, compiled from rows of the registry."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tegula.schemas import agg
from tegula.schemas.codec import collect, dump
from tegula.schemas.definitions import Feature, FeatureService, FeatureView
from tegula.schemas.errors import UnknownFeature, UnknownService
from tegula.schemas.fingerprints import structural
from tegula.schemas.windows import sliding
from tegula.serving.plan import Resolved, resolve
from tegula.serving.protocol import FeatureRequest
from tegula.state.registry import BuildRow
from tests.support.serving import CARD, PAYMENTS

HOUR = sliding("1h")


def spend(features: Mapping[str, Feature], **more: str) -> FeatureView:
    return FeatureView("spend", entity=CARD, stream=PAYMENTS, features=features, **more)  # type: ignore[arg-type]


def services(view: FeatureView) -> list[FeatureService]:
    first = next(iter(view.features))
    return [
        FeatureService("fraud", version=2, features=[view]),
        FeatureService("fraud", version=1, features=[view[first]]),
    ]


def row(view: FeatureView, number: int) -> BuildRow:
    stored = dump(collect(services(view)))
    return BuildRow(number, view.name, number, structural(view), stored, "live", 0)


def resolved(applied: FeatureView, *built: FeatureView) -> Resolved:
    """What is served after `applied`, where the last of `built` is active."""
    rows = [row(view, number) for number, view in enumerate(built, 1)]
    active = {"spend": rows[-1].id} if rows else {}
    return resolve(3, 16, dump(collect(services(applied))), active, rows)


def asked(*features: str, service: str | None = None) -> FeatureRequest:
    return FeatureRequest(service, features if service is None else None, {}, 0)


BOTH = spend({"n": agg.count().over(HOUR), "total": agg.sum("amount").over(HOUR)})


def test_service_is_served_in_its_newest_version_and_in_any_that_is_named():
    found = resolved(BOTH, BOTH)
    assert found.plan_of(asked(service="fraud")).names == ("spend:n", "spend:total")
    assert found.plan_of(asked(service="fraud@1")).names == ("spend:n",)
    with pytest.raises(UnknownService, match="fraud, fraud@1, fraud@2"):
        found.plan_of(asked(service="fraud@3"))


def test_list_of_features_is_served_in_its_order_and_compiled_once():
    found = resolved(BOTH, BOTH)
    plan = found.plan_of(asked("spend:total", "spend:n", "spend:total"))
    assert plan.names == ("spend:total", "spend:n")
    assert [part.names for part in plan.parts] == [("spend:total", "spend:n")]
    assert found.plan_of(asked("spend:total", "spend:n", "spend:total")) is plan
    assert found.plan_of(asked()).names == ()


@pytest.mark.parametrize("name", ["spend:m", "spent:n", "n", ""])
def test_unknown_feature_is_refused_with_those_that_there_are(name):
    with pytest.raises(UnknownFeature, match="spend:"):
        resolved(BOTH, BOTH).plan_of(asked(name))


def test_view_without_an_active_build_is_unready():
    plan = resolved(BOTH).plan_of(asked(service="fraud"))
    assert (plan.parts, plan.unready) == ((), ("spend:n", "spend:total"))
    assert plan.columns == {"card_id"}


def test_view_goes_on_being_served_by_the_build_before_while_its_change_is_being_built():
    more = spend({**BOTH.features, "most": agg.max("amount").over(HOUR)})
    plan = resolved(more, BOTH).plan_of(asked(service="fraud"))
    assert plan.unready == ("spend:most",)
    assert [(part.build, part.names) for part in plan.parts] == [(1, ("spend:n", "spend:total"))]
    plan = resolved(more, BOTH, more).plan_of(asked(service="fraud"))
    assert (plan.parts[0].build, plan.unready) == (2, ())


def test_renamed_feature_is_served_under_its_new_name_by_the_build_that_it_had():
    renamed = spend({"count": agg.count().over(HOUR), "total": BOTH.features["total"]})
    plan = resolved(renamed, BOTH).plan_of(asked(service="fraud"))
    assert (plan.parts[0].build, plan.parts[0].names) == (1, ("spend:count", "spend:total"))


def test_feature_that_was_removed_is_unknown():
    found = resolved(spend({"n": agg.count().over(HOUR)}), BOTH)
    with pytest.raises(UnknownFeature):
        found.plan_of(asked("spend:total"))
