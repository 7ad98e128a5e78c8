"""Where the budget goes: tree searches, a race over seeds, certification."""
