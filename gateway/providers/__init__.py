"""Upstreams behind one port."""
