"""Many runs from one file: which they are, what is measured already, and workers that measure the rest.

spec      the file: options of `tdq run`, lists for axes, tables for what goes together
grid      its combinations as runs, and those that are left out
planned   what is there already, which runs share factors, how long it will take
opened    every run by the contents of its network and images
messages  what a client and a worker say to each other: plain JSON
measurer  the process that measures; child: the worker's end of it
worker    what Dask runs; cluster: where it runs it; engine: the client
sweep     all of it
"""
