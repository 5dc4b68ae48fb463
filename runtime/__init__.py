"""What HTTP and the commands share: engines, the start, progress, logs."""
