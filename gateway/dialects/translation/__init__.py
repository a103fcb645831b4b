"""Requests and answers of one dialect put into the words of another. Pure: no I/O, no clock."""
