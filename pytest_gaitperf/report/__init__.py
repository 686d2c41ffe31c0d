"""What people and programs see: the table, a failure's text, progress, JSON."""
