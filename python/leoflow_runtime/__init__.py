"""Leoflow's Python side: warm parents ("zygotes") that fork a child per task, per parse and per small request."""
