"""A ratio of sizes as people read it, on the screen and on the command line. Standard library only."""


def both_ways(ratio: float, *, space: str = " ") -> str:
    """original / compressed, said both ways: 2.0 as '2.00x smaller, 50.0 % kept'; 0.5 as '2.00x larger, 200.0 % of it'.

    Args:
        space: what stands before the per cent sign, so that a screen can keep the two together.
    """
    if f"{ratio:.2f}" == "1.00":
        return "same size"
    share = f"{100 / ratio:.1f}{space}%"
    return f"{ratio:.2f}x smaller, {share} kept" if ratio > 1 else f"{1 / ratio:.2f}x larger, {share} of it"
