"""One spelling for every JSON value, and its digest.

Fingerprints are digests of canonical JSON: keys sorted, no spaces, UTF-8, numbers as Python writes
them. Two values have the same spelling exactly if they are equal as JSON.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value (dicts with text keys, lists, text, numbers, bools, None).

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """32 hex digits of BLAKE2b over the canonical JSON; equal values, equal digests."""
    return blake2b(canonical_json(value), digest_size=16).hexdigest()
