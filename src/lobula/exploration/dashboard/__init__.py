"""A page on a study: live while it runs, or exported to one file that holds everything."""
