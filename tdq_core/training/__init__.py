"""Train a registered model from scratch: seeded, resumable, the best weights chosen on validation images.

One-cycle learning rate (Smith 2018), progressive resizing, label smoothing, shifted crops, mirrored images where a
mirrored object is still the same object. Test images are looked at once, for the card.
"""
