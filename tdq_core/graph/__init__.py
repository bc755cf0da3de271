"""How a network is wired: the only room that watches, walks and replaces modules."""
