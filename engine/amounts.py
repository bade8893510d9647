"""Numbers, sizes and spans as people read them."""

from __future__ import annotations


def number(value: float | None, digits: int = 0) -> str:
    """A number as people read it.

    >>> number(336776), number(0.256, 2), number(None)
    ('336 776', '0.26', '-')
    """
    return "-" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def size(size_bytes: float) -> str:
    """A number of bytes as people read it.

    >>> size(999), size(1_234_567)
    ('999 B', '1.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def span(seconds: float) -> str:
    """A span as people read it.

    >>> span(0.25), span(12.34), span(75), span(7300)
    ('250 ms', '12.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
