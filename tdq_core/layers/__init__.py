"""A model's layers as plain numbers, and the methods that factorise them, described without torch."""
