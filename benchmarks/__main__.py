"""Every benchmark, one after the other: `python -m benchmarks`."""

from benchmarks import engine, live

live.main()
engine.main()
