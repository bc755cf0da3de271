"""What may be read and chosen: records and tables from disk, offers of the server, choices in the address."""
