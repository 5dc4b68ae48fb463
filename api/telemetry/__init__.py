"""What operators see of requests: lines of the log, metrics, error reports."""
