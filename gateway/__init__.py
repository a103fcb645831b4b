"""The shell: HTTP, streams, providers, wiring and the command line."""
