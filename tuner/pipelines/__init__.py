"""Pipelines: many jobs in one file, their order, their variants, and which variant is selected."""
