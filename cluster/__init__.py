"""Puts work on machines: the command line, Ray sessions, jobs, and the doctor."""
