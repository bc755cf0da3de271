"""The machine and its files: written whole, downloaded, told apart by content; progress, versions, CPU flags."""
