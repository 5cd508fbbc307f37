"""One cooperative, end to end, on real data: what `scripts/demo` runs."""
