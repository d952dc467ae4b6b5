"""What may be learnt: one file for each objective, each of which sets up a trainer for the same loop."""
