"""Types of arguments that several commands take."""


def parse_count(text: str) -> int:
    """Return *text* as a positive whole number."""
    count = int(text)
    if count < 1:
        raise ValueError("must be above 0")
    return count
