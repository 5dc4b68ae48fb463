"""What operators see of requests: log lines, metrics and error reports."""
