"""Mathematics: weights -> factors -> plain layers."""
