"""What the service offers, told as an OpenAPI 3.1 document: written once here, served, and held to it by tests."""
