"""What is applied in a project, with the user's own aggregates."""

from __future__ import annotations

from contextlib import closing

from ...engine.own import OwnAggregates
from ...engine.settings import Settings
from ...schemas.codec import load
from ...schemas.definitions import Definitions
from ...schemas.errors import RegistryMissing
from ...state.registry import Registry


def applied_definitions(settings: Settings) -> Definitions | None:
    """What is applied, with the user's own aggregates; None where nothing is."""
    try:
        with closing(Registry(settings.registry_url_or_default)) as registry:
            head = registry.head()
    except RegistryMissing:
        return None
    return None if head is None else load(head.definitions, OwnAggregates(settings.project))
