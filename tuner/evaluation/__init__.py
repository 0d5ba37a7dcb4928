"""Evaluation of tuned models on held-out rows: metrics, judge, gate and comparison."""
