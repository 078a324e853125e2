"""How fast dibs is, beside its peers and beside what the wire allows. `python -m benchmarks --help`."""
