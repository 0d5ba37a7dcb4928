"""How examples are written in files: readers, the shapes of their records, writers."""
