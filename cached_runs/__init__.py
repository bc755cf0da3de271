"""The runs that come with the project, and the command that measures them anew: `python -m cached_runs`.

digits   every method on the embedded default, and the table of the README
study    the study's networks on CIFAR-10 (JPEG copy)
rebuild  measures what is missing
"""
