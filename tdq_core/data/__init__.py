"""Images by name or in hand: sources, splits, subsets, decoding, batches, digests."""
