"""The results of runs as one HTML page that opens offline."""
