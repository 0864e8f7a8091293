"""measure: start the real engine without weights, and hold its figures against the plan."""
