"""The explorer: propose, gate, run in a slot, score, judge, note; over and over, and honestly."""
