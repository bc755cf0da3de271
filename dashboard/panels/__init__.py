"""The parts of the Explore page, each a fragment: moving a slider redraws its own part only."""
