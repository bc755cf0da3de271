"""What numbers bear: intervals of proportions and of paired differences, Pareto fronts. Knows nothing else of TDQ."""
