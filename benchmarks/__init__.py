"""The figures that this package promises, measured: ``python -m benchmarks [NAME ...]``."""
