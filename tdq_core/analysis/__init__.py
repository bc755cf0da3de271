"""What runs say together: whether drops add up, what the components of a CP look like."""
