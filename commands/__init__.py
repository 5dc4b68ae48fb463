"""The operator's commands, thin: each reads the settings, calls one function of a room, and says what came of it."""
