"""What was measured: a record, where it is kept, and the table that CSV and screen show. No torch."""
