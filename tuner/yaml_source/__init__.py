"""YAML files that know where each of their values stands."""
