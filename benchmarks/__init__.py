"""Benchmarks: each row times one job in Energax and in a peer, side by side, on the same numbers."""
