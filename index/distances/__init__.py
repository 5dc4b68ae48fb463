"""The distances between the logos of an index: how far apart any two are, and which are nearly the same."""
