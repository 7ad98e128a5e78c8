"""Where runs run: process groups here, or the scheduler of a cluster."""
