"""What the routes do: the path of a query, an add or a deletion through the rooms."""
