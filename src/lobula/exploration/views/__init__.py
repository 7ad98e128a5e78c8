"""The study as people and agents read it: Markdown and text, rendered from a snapshot and never read back."""
