"""What is claimed of the service, measured beside named rivals in the same run."""
