"""Types of what records hold: each says what values it takes, and a reader refuses all others. No torch here."""

from typing import Annotated

from msgspec import Meta

MOST = 2**53
"""The largest whole number that every reader of JSON keeps exactly."""
Positive = Annotated[int, Meta(ge=1, le=MOST)]
Natural = Annotated[int, Meta(ge=0, le=MOST)]
Share = Annotated[float, Meta(ge=0, le=1)]
Points = Annotated[float, Meta(ge=-1, le=1)]
Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
Amount = Annotated[float, Meta(ge=0, le=1e30)]
Ratio = Annotated[float, Meta(gt=0, le=1e30)]
Named = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
