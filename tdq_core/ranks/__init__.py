"""From a rule to a plan: which layer takes which ranks, and what that costs. Arithmetic, no torch."""
