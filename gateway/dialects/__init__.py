"""The ways of asking that the data plane understands, one module each. Pure: no I/O, no clock."""
