"""Many jobs in an order, some of them the variants of a matrix, and the best one kept."""
