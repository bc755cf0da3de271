"""What Python users have: networks, images, and verbs that work on them. The command line and the page use these."""
