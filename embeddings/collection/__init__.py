"""Collections: stores of their own, with vectors of any dimension and metric."""
