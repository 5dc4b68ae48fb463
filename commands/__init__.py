"""The operator's commands. Each reads the settings, calls one function of a room, and prints the result."""
