"""Whether an accuracy could be that of guessing. Standard library only."""

ROOM = 1.5
"""Times the share that guessing gets right: whoever is right less often than that has learnt next to nothing."""


def near_chance(low: float, classes: int) -> bool:
    """Whether an accuracy (share 0-1), of which `low` is the lower end of its interval, is near that of guessing among
    `classes` equally frequent classes."""
    return low <= ROOM / classes
