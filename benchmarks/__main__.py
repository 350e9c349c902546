"""Every benchmark, one after the other: `python -m benchmarks`."""

from benchmarks import engine, live, sweeps

live.main()
engine.main()
sweeps.main()
