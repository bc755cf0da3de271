"""Networks by name or in hand: factories, registered weights, preprocessing, attention taken apart."""
