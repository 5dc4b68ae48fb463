"""What the routes do: the way of a query, an add or a deletion through the rooms."""
