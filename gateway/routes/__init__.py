"""HTTP routes: the data plane as raw ASGI, the control plane as FastAPI."""
