"""Training: what a run is, the loop that runs it, and the state that survives a killed one."""
