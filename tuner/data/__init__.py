"""Tuning examples: reading, checking and preparing them."""
