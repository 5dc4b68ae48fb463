"""What Milvus needs for the logos of this service: measured on one server, and computed for many."""
