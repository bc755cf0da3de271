"""How long networks take, against each other on the same clock, and where in them the time goes."""
