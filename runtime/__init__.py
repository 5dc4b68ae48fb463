"""What the service and the commands share: the engines, the startup, progress, logs."""
