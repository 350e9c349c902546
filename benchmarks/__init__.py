"""What is timed. Each file prints one table: `python -m benchmarks.live`, `python -m benchmarks.engine`."""
