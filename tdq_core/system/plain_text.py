"""Text from outside, made fit to be shown on one line: names, paths and others' errors may hold anything."""


def printable(text: object) -> str:
    """`str(text)` with an escape (`\\x1b`, `\\n`, `\\u202e`) for everything that does not print as a sign of its own:
    control characters, line breaks, changes of direction, halves of pairs; nothing of it can move a cursor or hide."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
