"""A recipe: the ranks and the precision that meet a target at the smallest size, found by measuring.

target  what is asked for            search  from a target to the runs that answer it
arms    the pipelines that are tried  report  what was found, as plain values
kept    reports in files
"""
