"""The runs that come with the project, and the command that measures them anew: `python -m cached_runs`.

digits     every method on the embedded default, and the table of the README
study      the study's networks on CIFAR-10 (JPEG copy)
pipelines  the study's pipeline against TDQ's own, and which file a rule chooses of each
headlines  what the pages say of these choices; tables, costs: what they say of the runs; pages: writes it into them
rebuild    measures what is missing
recipes    writes reports anew from the outcomes of their runs
"""
