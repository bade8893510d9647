"""Who reads while things happen: a client of a real server, whom no answer may ever mislead.

The values that it looks at count events since ever, so they only grow. Whatever happens to stores
and processes, an answer is as large as the one before, or it is none: a count that has become
smaller, or 0, was read from a store that was not whole. Only where state itself was lost may values
be older ones, once they are whole again.
"""

from __future__ import annotations

from tegula.engine.settings import Settings
from tegula.schemas.errors import TegulaError
from tegula.serving.client import Client
from tests.simulation.records import KEYS

VIEW, FEATURE = "ever", "ever:count_rows_ever"


class Witness:
    """Reads one feature for all keys, again and again."""

    def __init__(self, settings: Settings) -> None:
        self._client = Client(settings.url, timeout_s=10.0)
        self._seen: dict[str, int] = {}

    def look(self) -> bool:
        """Look once; whether every key was answered. Fails if a value has become smaller."""
        found = self.counts()
        for key, count in found.items():
            before = self._seen.get(key, 0)
            assert count is None or count >= before, f"{key!r}: {count} after {before}"
            self._seen[key] = count or before
        return bool(found) and None not in found.values()

    def forget(self) -> None:
        """State was lost: what is read next may be older than what was."""
        self._seen.clear()

    def counts(self, at_us: int | None = None) -> dict[str, int | None]:
        """Each key's value, None where its status says that there is none; {} without a server.

        As of now, or of `at_us`.
        """
        try:
            answer = self._client.features({"k": KEYS}, features=[FEATURE], as_of=at_us)
        except TegulaError:
            return {}
        values = answer["values"][FEATURE]
        statuses = answer.get("status", {}).get(FEATURE, ["PRESENT"] * len(KEYS))
        return {
            key: None if status == "ERROR" else value
            for key, value, status in zip(KEYS, values, statuses, strict=True)
        }

    def reasons(self) -> str:
        """Why the server is not ready; empty if it is."""
        try:
            return "; ".join(self._client.health()["reasons"])
        except TegulaError as fault:
            return str(fault)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()
