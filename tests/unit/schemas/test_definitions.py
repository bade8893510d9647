from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

import tegula as tg
from tegula import agg, sliding
from tegula.schemas.definitions import FeatureRef

CARD = tg.Entity("card", keys={"card_id": tg.String})
PAYMENTS = tg.Stream("payments", schema={"card_id": tg.String, "at": tg.Timestamp}, event_time="at")


def spend(**features):
    return tg.FeatureView("spend", entity=CARD, stream=PAYMENTS, features=features)


def test_definition_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CARD.name = "driver"
    with pytest.raises(TypeError):
        PAYMENTS.schema["amount"] = tg.Float64


def test_definition_keeps_a_copy_of_what_it_was_given():
    schema = {"card_id": tg.String, "at": tg.Timestamp}
    stream = tg.Stream("payments", schema=schema, event_time="at")
    schema["amount"] = tg.Float64
    assert set(stream.schema) == {"card_id", "at"}


def test_entities_and_streams_are_equal_by_what_they_say():
    assert tg.Entity("card", keys={"card_id": tg.String}) == CARD
    assert tg.Entity("card", keys={"card_id": tg.Int64}) != CARD


def test_view_refers_to_its_features_by_name():
    view = spend(n=agg.count().over(sliding("1h")))
    assert isinstance(view["n"], FeatureRef)
    assert str(view["n"]) == "spend:n"


def test_constructors_never_raise_for_what_their_arguments_mean():
    tg.Entity(None, keys=None)
    tg.Stream(7, schema=[], event_time=None, disorder=object())
    tg.FeatureView("v", entity=None, stream=None, features=None, where="?")["x"]
    tg.FeatureService("s", version=None, features=None)
    tg.FeatureService("s", version=1, features="spend:n")
    agg.sum(None).over(None)
    sliding(-1, resolution=None)
    tg.tumbling(None, current=None)
    tg.Timestamp.of("fortnights")
