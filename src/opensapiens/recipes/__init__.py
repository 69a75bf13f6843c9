"""Recipes: functions that return a `training.run.Run`; their docstrings give the command, hardware and result."""
