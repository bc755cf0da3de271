"""Work that outlives a page: a folder a job, a worker process, turns."""
