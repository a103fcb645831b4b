"""Rows become figures, figures become pages."""
